"""Whether the net uses what is called structure: rows are edited, and the net is asked."""

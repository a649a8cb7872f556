"""The stages of a fit: loss, course, supports, choice of k."""

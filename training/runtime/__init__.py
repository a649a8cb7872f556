"""What surrounds a fit: run folder, checkpoints, signals, processes, settings of the command line."""

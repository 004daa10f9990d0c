"""Arms the signals, then imports and runs the command line."""

"""What became of a run, for people: ``explain`` and the list of reasons."""

"""Inputs: from `inputs.pb` to a directory a task can read."""

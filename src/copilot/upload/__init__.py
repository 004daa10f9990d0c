"""Outputs: from a directory a task wrote to `outputs.pb`."""

"""Models and migrations."""

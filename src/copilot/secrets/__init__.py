"""Secrets: references, providers, and the ways a value reaches a task."""

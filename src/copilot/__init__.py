"""Copilot carries a task's data and secrets in and out of its pod."""

__version__ = "0.1.0"

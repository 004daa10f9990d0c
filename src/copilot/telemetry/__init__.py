"""Logs, metrics, traces and progress."""

"""Adapters: the witnesses of how a task ended."""

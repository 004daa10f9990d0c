"""Adapters: one family of stores a file, opened through the registry."""

"""Adapters: one secret manager a file."""

"""Flyte's Connect services, one file each."""

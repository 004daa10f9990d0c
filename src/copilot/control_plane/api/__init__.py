"""The Connect services, one file each."""

"""The commands that run in pods, read without click."""

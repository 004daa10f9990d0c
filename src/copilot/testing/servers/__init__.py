"""Launchers of real servers, for tests, benchmarks and the demo: each a context manager that leaves nothing behind.

They listen on 127.0.0.1 on free ports, keep their data in a throwaway directory, are killed at the end, and die with the
process that started them. A server counts as started when an object of our own was written to it and read back.
"""

"""Secret managers for tests: OpenBao as it is, and servers of our own where none is to be had, each on a free loopback port.

Their control methods (``put``, ``deny`` …) go past the client libraries under test.
"""

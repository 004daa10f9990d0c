"""The SIGTERM latch. Imports only ``os`` and ``signal``, so that it is armed before anything else is loaded."""

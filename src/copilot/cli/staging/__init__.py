"""Data staged by hand: ``run``, ``show`` and ``stores``, and the values they read and print."""

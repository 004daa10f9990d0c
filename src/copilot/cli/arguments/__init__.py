"""The tables of flags, how they are read, and what their texts mean."""

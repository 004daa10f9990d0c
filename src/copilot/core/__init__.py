"""Pure rules and values: no I/O, no SDK, no clock."""

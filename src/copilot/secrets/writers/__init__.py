"""Secrets written to a manager, beside the ``providers`` that read them: one file a manager, the same client and identity."""

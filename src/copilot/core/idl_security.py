"""Flyte's message for a task's secrets. Apart from ``core.idl``, since only a task with secrets needs it."""

from __future__ import annotations

from flyteidl2.core.security_pb2 import Secret, SecurityContext

__all__ = ["Secret", "SecurityContext"]

"""What managers' errors mean where something is written: the readers' classes, in a writer's words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, SecretDenied, SecretExists, SecretNotFound
from copilot.core.secret_refs import describe_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from copilot.core.secret_ports import SecretRef


@contextmanager
def told(
    op: str, ref: SecretRef, rights: str, classify: Callable[[Exception, str, str], CopilotError] | None = None
) -> Iterator[None]:
    """Turns whatever the body raises into one of ours.

    Args:
        op: ``create``, ``update``, ``describe``, ``delete`` or ``list``.
        ref: what it was about.
        rights: what the identity needs, for who lacks them.
        classify: the reader's own table, for what is no ``CopilotError`` yet.
    """
    subject = describe_ref(ref)
    try:
        yield
    except Exception as cause:
        error = cause if isinstance(cause, CopilotError) else None
        if error is None and classify is not None:
            error = classify(cause, op, subject)
        if isinstance(error, SecretDenied):
            raise SecretDenied(
                f"the identity may not {op} secrets there", op=op, subject=subject, hint=f"Grant it {rights}."
            ) from cause
        if error is None:
            raise
        if error is cause:
            raise
        raise error from cause


def exists(ref: SecretRef) -> SecretExists:
    """There is one of this name."""
    return SecretExists(
        "there is a secret of this name already",
        op="create",
        subject=describe_ref(ref),
        hint="Delete it first, or give it another value instead.",
    )


def not_there(op: str, ref: SecretRef) -> SecretNotFound:
    """There is none of this name."""
    return SecretNotFound(
        "there is no secret of this name", op=op, subject=describe_ref(ref), hint="Create it first, or correct its name."
    )

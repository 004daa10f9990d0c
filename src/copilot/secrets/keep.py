"""From what init handed over to a rotator that keeps it fresh, also in a sidecar that was started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, Interrupted
from copilot.core.secret_refs import describe_ref
from copilot.secrets.handover import HandOver, Taken
from copilot.secrets.providers.grouping import address
from copilot.secrets.rotate import Rotator
from copilot.secrets.values import Payload, Secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.inject import Delivery
    from copilot.secrets.notify import Notify
    from copilot.secrets.resolver import Resolver
    from copilot.secrets.values import Lease


def keep_secrets(
    hand_over: Path,
    resolver: Resolver,
    *,
    interval_s: float | None = None,
    notify: Notify | None = None,
    clock: Clock,
    log: Log,
    cancel: CancelToken,
) -> Rotator | None:
    """A rotator over what init handed over; None if it handed nothing over. Drive it with ``run``, and ``finish`` it.

    A sidecar that was started again finds where secrets were placed, but no values: they are read anew, and files that hold
    others are rewritten. What cannot be read is left as it is, with a warning. What was lent before is given back at the end;
    until then it goes on being renewed, and is not replaced unless a template holds it.

    Args:
        hand_over: the file that init leaves.
        resolver: reads, lends and gives back.
        interval_s: how often values without a lease are read again; None for never.
        notify: tells the app of changes; None for nobody.
        clock: time.
        log: hears of everything but values.
        cancel: stops the reading.

    Raises:
        LocalIOError: what was handed over cannot be read.
    """
    taken = HandOver(hand_over, clock).take(resolver)
    if taken is None:
        return None
    placed: Sequence[Delivery] = taken.placed
    templates = taken.templates
    if taken.again:
        log.event("secrets.read_again", level="warning", secrets=len(placed), why="this is not the sidecar's first start")
        _adopt(taken, resolver)
        placed = [each for each in placed if _readable(resolver, [each.candidates[0]], log, cancel)]
        templates = tuple(each for each in templates if _readable(resolver, each.refs(), log, cancel))
    return Rotator(
        resolver,
        placed,
        clock=clock,
        log=log,
        templates=templates,
        interval_s=interval_s,
        notify=notify,
        allow_disk=taken.allow_disk,
        stale=taken.again,
    )


def _adopt(taken: Taken, resolver: Resolver) -> None:
    """Takes what was lent before. An account stays the one it is where that can be: its values are in its files."""
    templated = {address(ref) for template in taken.templates for ref in template.refs()}
    for lent, lease in taken.lent:
        resolver.adopt(lent, _value(b"", lease))
        users = [each for each in taken.placed if address(each.candidates[0]) == address(lent)]
        try:
            # Whoever only renews and gives back does without the value itself: a variable's is nowhere.
            found = {
                each.candidates[0]: each.files[0].path.read_bytes() if each.files else b"" for each in sorted(users, key=_files)
            }
        except OSError:
            continue  # one is gone: all are read anew
        if address(lent) not in templated:
            for ref, content in found.items():
                resolver.remember(ref, _value(content, lease))


def _value(content: bytes, lease: Lease) -> Secret:
    return Secret(content, Payload(raw=content, lease=lease))


def _files(delivery: Delivery) -> int:
    return len(delivery.files)


def _readable(resolver: Resolver, refs: Sequence[SecretRef], log: Log, cancel: CancelToken) -> bool:
    try:
        resolver.resolve(refs, cancel)
    except Interrupted:
        raise
    except CopilotError as error:
        log.event("secret.not_kept", level="warning", ref=describe_ref(refs[0]), reason=error.reason, error=error.message)
        return False
    return True

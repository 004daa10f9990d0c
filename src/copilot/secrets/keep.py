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

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.custody import KeepRequest
    from copilot.secrets.inject import Delivery
    from copilot.secrets.resolver import Resolver


def keep_secrets(request: KeepRequest, resolver: Resolver, *, clock: Clock, log: Log, cancel: CancelToken) -> Rotator | None:
    """A rotator over what init handed over; None if it handed nothing over. Drive it with ``run``, and ``finish`` it.

    A sidecar that was started again finds where secrets were placed, but no values: they are read anew, and files that hold
    others are rewritten. What cannot be read is left as it is, with a warning. What was lent before is given back at the end;
    accounts that are only in variables stay those that they are, and go on being renewed.

    Raises:
        LocalIOError: what was handed over cannot be read.
    """
    taken = HandOver(request.hand_over, clock).take(resolver)
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
        interval_s=request.interval_s,
        notify=request.notify,
        allow_disk=taken.allow_disk,
        stale=taken.again,
    )


def _adopt(taken: Taken, resolver: Resolver) -> None:
    written = {address(each.candidates[0]) for each in taken.placed if each.files}
    written |= {address(ref) for template in taken.templates for ref in template.refs()}
    for lent, lease in taken.lent:
        value = Secret(b"", Payload(raw=b"", lease=lease))  # nobody needs the value itself, who only renews and gives back
        resolver.adopt(lent, value)
        for each in taken.placed:
            ref = each.candidates[0]
            if address(ref) == address(lent) and address(ref) not in written:
                resolver.remember(ref, value)


def _readable(resolver: Resolver, refs: Sequence[SecretRef], log: Log, cancel: CancelToken) -> bool:
    try:
        resolver.resolve(refs, cancel)
    except Interrupted:
        raise
    except CopilotError as error:
        log.event("secret.not_kept", level="warning", ref=describe_ref(refs[0]), reason=error.reason, error=error.message)
        return False
    return True

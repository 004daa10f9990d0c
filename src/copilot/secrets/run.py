"""The two use-cases of a pod: ``deliver_secrets`` in its init container, ``keep_secrets`` in its sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError
from copilot.core.flyte_secrets import FlyteSecrets, SecretMessage
from copilot.secrets.files import check_memory
from copilot.secrets.handover import HandOver
from copilot.secrets.inject import Delivery, Injected, flyte_deliveries, inject
from copilot.secrets.rotate import Rotator

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.secrets.notify import Notify
    from copilot.secrets.render import Template
    from copilot.secrets.resolver import Resolver


@dataclass(frozen=True, slots=True)
class SecretRequest:
    """What a pod's task needs.

    Attributes:
        deliveries: what goes where.
        templates: files rendered from several secrets.
        flyte: the task's ``core.Secret`` messages.
        platform: how the platform keeps those.
        allow_disk: also on volumes that are not memory.
        hand_over: a file on a memory volume for the sidecar; None: nobody keeps anything fresh, or gives leases back.
    """

    deliveries: Sequence[Delivery] = ()
    templates: Sequence[Template] = ()
    flyte: Sequence[SecretMessage] = ()
    platform: FlyteSecrets = field(default_factory=FlyteSecrets)
    allow_disk: bool = False
    hand_over: Path | None = None


def deliver_secrets(
    request: SecretRequest, resolver: Resolver, *, clock: Clock, log: Log, cancel: CancelToken, grace: CancelToken
) -> Injected:
    """Everything of ``request``, or nothing: after a failure no file is there and what was lent is given back under ``grace``.

    The result's environment has Flyte's constant variables as well; they are no secrets.
    """
    done = Injected()
    try:
        if request.hand_over is not None:
            check_memory(request.hand_over)
        flyte, constants = flyte_deliveries(request.flyte, request.platform)
        done = inject(
            [*request.deliveries, *flyte], resolver, cancel, templates=request.templates, allow_disk=request.allow_disk
        )
        if request.hand_over is not None:
            HandOver(request.hand_over, clock).give(resolver, done.placed)
    except BaseException:
        for path in done.files:  # everything was written, but could not be handed over
            path.unlink(missing_ok=True)
        _close(resolver, log, grace)
        raise
    log.event("secrets.delivered", files=len(done.files), variables=len(done.environment))
    return replace(done, environment={**constants, **done.environment})


def keep_secrets(
    hand_over: Path,
    resolver: Resolver,
    *,
    clock: Clock,
    log: Log,
    templates: Sequence[Template] = (),
    interval_s: float | None = 300.0,
    notify: Notify | None = None,
    allow_disk: bool = False,
) -> Rotator | None:
    """A rotator over what init handed over; None if it handed nothing over. Drive it with ``run``, and ``finish`` it."""
    placed = HandOver(hand_over, clock).take(resolver)
    if placed is None:
        return None
    return Rotator(
        resolver,
        placed,
        clock=clock,
        log=log,
        templates=templates,
        interval_s=interval_s,
        notify=notify,
        allow_disk=allow_disk,
    )


def _close(resolver: Resolver, log: Log, grace: CancelToken) -> None:
    """Gives everything back without hiding why we are here."""
    try:
        resolver.close(grace)
    except CopilotError as error:
        log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)

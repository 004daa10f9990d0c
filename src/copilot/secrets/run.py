"""What a pod's init container does with secrets: ``deliver_secrets``, and ``take_back`` when the rest of its work fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError
from copilot.core.flyte_secrets import FlyteSecrets, SecretMessage
from copilot.secrets.environment import environment_file
from copilot.secrets.files import SecretFile, SecretFiles, check_memory, check_paths
from copilot.secrets.handover import HandOver
from copilot.secrets.inject import Delivery, Injected, flyte_deliveries, inject

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.secrets.render import Template
    from copilot.secrets.resolver import Resolver

_ON_A_DISK = "Mount the control directory from an emptyDir with medium: Memory, or leave the sidecar out: --secrets-once."


@dataclass(frozen=True, slots=True)
class SecretRequest:
    """What a pod's task needs.

    Attributes:
        deliveries: what goes where.
        templates: files rendered from several secrets.
        flyte: the task's ``core.Secret`` messages.
        platform: how the platform keeps those.
        allow_disk: also on volumes that are not memory.
        environment: the file that brings the variables to ``copilot exec``; None: they are only in the result.
        hand_over: a file on a memory volume for the sidecar; None: nobody keeps anything fresh, or gives leases back.
    """

    deliveries: Sequence[Delivery] = ()
    templates: Sequence[Template] = ()
    flyte: Sequence[SecretMessage] = ()
    platform: FlyteSecrets = field(default_factory=FlyteSecrets)
    allow_disk: bool = False
    environment: SecretFile | None = None
    hand_over: Path | None = None


def deliver_secrets(
    request: SecretRequest, resolver: Resolver, *, clock: Clock, log: Log, cancel: CancelToken, grace: Callable[[], CancelToken]
) -> Injected:
    """All of ``request``, or nothing: after a failure no file is there, and what was lent is given back under ``grace()``.

    What an earlier run handed over and nobody took is taken up again, so that nothing stays lent twice. The result's
    environment has Flyte's constant variables as well; they are no secrets.
    """
    done = Injected()
    try:
        if request.hand_over is not None:
            check_memory(request.hand_over, hint=_ON_A_DISK)
            HandOver(request.hand_over, clock).take(resolver, to_deliver=True)
        flyte, constants = flyte_deliveries(request.flyte, request.platform)
        deliveries = [*request.deliveries, *flyte]
        _check_own_files(request, deliveries)
        done = inject(deliveries, resolver, cancel, templates=request.templates, allow_disk=request.allow_disk)
        done = _bring_variables(request, done, constants)
        if request.hand_over is not None:
            HandOver(request.hand_over, clock).give(
                resolver, done.placed, templates=request.templates, allow_disk=request.allow_disk
            )
            done = replace(done, files=(*done.files, request.hand_over))
    except BaseException:
        take_back(done, resolver, log=log, grace=grace())
        raise
    log.event("secrets.delivered", files=len(done.files), variables=len(done.environment))
    if request.hand_over is None and resolver.lends():
        log.event("secrets.nobody_keeps", level="warning", hint="What was lent ends by itself, maybe before the task does.")
    return replace(done, environment={**constants, **done.environment})


def take_back(done: Injected, resolver: Resolver, *, log: Log, grace: CancelToken) -> None:
    """Undoes ``done``: its files go, and what was lent is given back. Raises nothing: there is a reason for being here."""
    for path in done.files:
        with suppress(OSError):
            path.unlink()
    try:
        resolver.close(grace)
    except CopilotError as error:
        log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)


def _check_own_files(request: SecretRequest, deliveries: Sequence[Delivery]) -> None:
    """The two files of the control directory are written after the task's: nobody else's place may be theirs."""
    own = [] if request.environment is None else [request.environment]
    own += [] if request.hand_over is None else [SecretFile(request.hand_over)]
    check_paths([file for each in deliveries for file in each.files] + [each.file for each in request.templates] + own)
    if request.environment is not None and not request.allow_disk and any(each.variables for each in deliveries):
        check_memory(request.environment.path)


def _bring_variables(request: SecretRequest, done: Injected, constants: dict[str, str]) -> Injected:
    if request.environment is None or not (done.environment or constants or done.files):
        return done
    content = environment_file(constants, done.environment, done.files)
    # Without a secret variable there is nothing in it that a disk must not hold.
    with SecretFiles(allow_disk=request.allow_disk or not done.environment) as files:
        files.stage(request.environment, content)
        files.publish()
    return replace(done, files=(*done.files, request.environment.path))

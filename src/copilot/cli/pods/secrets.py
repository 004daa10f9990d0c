"""``copilot init --secret``: from flags to ``secrets.run``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.values import message_of
from copilot.core import podfiles
from copilot.core.errors import BadFlag
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.secret_refs import format_ref, parse_ref
from copilot.engine.atomic import local_errors
from copilot.secrets.hardening import forbid_core_dumps
from copilot.secrets.inject import flyte_deliveries, parse_delivery, parse_target
from copilot.secrets.render import Template
from copilot.secrets.resolver import Resolver, open_resolver
from copilot.secrets.run import SecretRequest, deliver_secrets, take_back
from copilot.secrets.settings import settings_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot.cli.arguments.pflag import Parsed
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.files import SecretFile

GRACE_S: Final = 10.0
"""Seconds for giving everything back, once the reason for it is known."""

_MODE: Final = re.compile(r"^0?[0-7]{3}(:\d+){0,2}$")


@contextmanager
def delivered(session: Session, parsed: Parsed, cancel: CancelToken) -> Iterator[None]:
    """Delivers what the flags ask for; if the body fails, everything is taken back, so that nothing is there at all.

    Raises:
        BadFlag: the flags cannot be understood.
        SecretError, LocalError, Interrupted: why nothing was delivered.
    """
    request = requested(session, parsed)
    if request is None:
        yield
        return
    forbid_core_dumps()
    resolver = resolver_of(session)

    def grace() -> CancelToken:
        return session.token().grace(GRACE_S)

    done = deliver_secrets(request, resolver, clock=session.clock, log=session.log, cancel=cancel, grace=grace)
    try:
        yield
    except BaseException:
        take_back(done, resolver, log=session.log, grace=grace())
        raise
    if request.hand_over is None and not resolver.lends():
        resolver.close(grace())


def requested(session: Session, parsed: Parsed) -> SecretRequest | None:
    """What the flags of ``init`` ask for; None for no secrets.

    Raises:
        BadFlag: they cannot be understood.
        BadSecretRef: a reference is none.
        LocalError: a template cannot be read.
    """
    if not any(parsed.given(flag.name) for flag in flags.SECRETS_OF_INIT):
        return None
    control = session.configuration.control_dir
    request = SecretRequest(
        deliveries=[parse_delivery(text) for text in parsed.values.get("secret", ())],
        templates=_templates(parsed),
        flyte=_flyte(parsed),
        platform=_platform(parsed.values.get("secrets-platform", ())),
        allow_disk=parsed.last("secrets-allow-disk") == "true",
        environment=None if control is None else _environment_file(control, parsed.last("secrets-env-mode") or "0440"),
        hand_over=None if control is None or parsed.last("secrets-once") == "true" else control / podfiles.SECRETS,
    )
    if control is None and _variables(request):
        raise BadFlag(
            f"the variable {_variables(request)[0]} needs a control directory, where copilot exec finds it",
            op="flags",
            subject="--secret",
            hint="Set COPILOT_CONTROL_DIR to a memory volume that both containers mount, or ask for a file: /path=REFERENCE.",
        )
    return request


def planned(request: SecretRequest) -> list[dict[str, object]]:
    """What would be delivered where, for ``--dry-run``: references, never values."""
    flyte, _ = flyte_deliveries(request.flyte, request.platform)
    found: list[dict[str, object]] = [
        {
            "refs": [format_ref(ref) for ref in each.candidates],
            "files": [str(file.path) for file in each.files],
            "variables": list(each.variables),
        }
        for each in (*request.deliveries, *flyte)
    ]
    return found + [
        {"template": each.name, "refs": list(map(format_ref, each.refs())), "files": [str(each.file.path)]}
        for each in request.templates
    ]


def _variables(request: SecretRequest) -> list[str]:
    flyte, _ = flyte_deliveries(request.flyte, request.platform)
    return [name for each in (*request.deliveries, *flyte) for name in each.variables]


def _templates(parsed: Parsed) -> list[Template]:
    names: dict[str, SecretRef] = {}
    for text in parsed.values.get("secrets-name", ()):
        name, equals, reference = text.partition("=")
        if not equals or not name.isidentifier():
            raise BadFlag("--secrets-name takes NAME=REFERENCE", op="flags", subject="--secrets-name")
        ref = parse_ref(reference)
        if names.setdefault(name, ref) != ref:
            raise BadFlag(f"--secrets-name gives {name} twice", op="flags", subject=name, hint="Give each a name of its own.")
    templates = []
    for text in parsed.values.get("secrets-template", ()):
        target, equals, source = text.partition("=")
        if not equals or not source:
            raise BadFlag(
                "--secrets-template takes PATH=TEMPLATE",
                op="flags",
                subject="--secrets-template",
                hint="For example /run/secrets/app.conf:0440=/templates/app.conf.j2.",
            )
        path = Path(source)
        with local_errors(path, op="read"):
            content = path.read_text("utf-8")
        templates.append(Template(source, content, parse_target(target), names))
    return templates


def _flyte(parsed: Parsed) -> list[Any]:
    texts = parsed.values.get("secrets-flyte", ())
    if not texts:
        return []
    from copilot.core.idl_security import SecurityContext  # noqa: PLC0415 - only Flyte's tasks pay for it

    return [secret for text in texts for secret in message_of(SecurityContext, text, "--secrets-flyte").secrets]


def _platform(texts: Sequence[str]) -> FlyteSecrets:
    known = {field.name.replace("_", "-"): field.name for field in fields(FlyteSecrets)}
    given: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise BadFlag(
                f"--secrets-platform knows no {key!r}",
                op="flags",
                subject="--secrets-platform",
                hint=f"Write KEY=VALUE; the keys are {', '.join(known)}.",
            )
        given[known[key]] = value
    return replace(FlyteSecrets(), **given)


def _environment_file(control: Path, mode: str) -> SecretFile:
    if not _MODE.match(mode):
        raise BadFlag(
            "--secrets-env-mode takes MODE[:UID[:GID]]",
            op="flags",
            subject="--secrets-env-mode",
            hint="The mode is octal: 0440.",
        )
    return replace(parse_target(f"/environment:{mode}"), path=control / podfiles.ENVIRONMENT)


def resolver_of(session: Session) -> Resolver:
    """The managers as this process's environment leads to them; every value is masked in the session's log."""
    return open_resolver(
        settings_from(session.configuration.environ),
        clock=session.clock,
        log=session.log,
        known=session.redactor.register,
    )

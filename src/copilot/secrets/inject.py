"""Secrets into a task: as files and as variables, everything resolved and checked before the first byte is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import BadFlag, CopilotError, SecretPathTaken, SecretTooLarge
from copilot.core.flyte_secrets import FlyteSecrets, SecretMessage, map_secret
from copilot.core.secret_refs import describe_ref, is_ref, parse_ref
from copilot.secrets.files import SecretFile, SecretFiles, check_memory, check_paths
from copilot.secrets.values import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef, SecretValue
    from copilot.secrets.render import Template
    from copilot.secrets.resolver import Resolver

LONGEST_VARIABLE_BYTES = 32 * os.sysconf("SC_PAGE_SIZE")
"""Linux's MAX_ARG_STRLEN: one ``NAME=value`` with its closing NUL."""

_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_TARGET = re.compile(r"^(?P<path>/[^:]*)(?::(?P<mode>0?[0-7]{3})(?::(?P<uid>\d+)(?::(?P<gid>\d+))?)?)?$")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One secret and where it goes.

    Attributes:
        candidates: references in the order to try; nearly always one.
        files: the files that get the value.
        variables: the variables that get it.
    """

    candidates: tuple[SecretRef, ...]
    files: tuple[SecretFile, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Injected:
    """What ``inject`` did.

    Attributes:
        files: every file written, templates included.
        environment: variables for the task; holds values, so it is never printed.
        placed: each delivery with the one reference its value came from, for whoever keeps it fresh.
    """

    files: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    placed: tuple[Delivery, ...] = ()


def parse_delivery(text: str) -> Delivery:
    """``TARGET=REFERENCE``: a target that begins with ``/`` is a file, anything else a variable.

    A file's mode, owner and group may follow its path: ``/run/secrets/db:0440:1000:1000=aws://prod/db#password``.

    Raises:
        BadFlag: it is not of that form.
        BadSecretRef: the reference is none.
    """
    target, equals, reference = text.partition("=")
    if not equals or not reference:
        raise BadFlag(
            "a secret is asked for as TARGET=REFERENCE", op="parse", hint="For example DB_PASSWORD=aws://prod/db#password."
        )
    ref = parse_ref(reference)
    if not target.startswith("/"):
        if not _VARIABLE.match(target):
            raise BadFlag(
                "the target is neither an absolute path nor a variable's name",
                op="parse",
                subject=target,
                hint="Write /path or NAME.",
            )
        return Delivery((ref,), variables=(target,))
    return Delivery((ref,), files=(parse_target(target),))


def parse_target(text: str) -> SecretFile:
    """``/path[:mode[:uid[:gid]]]``; the mode is ``0400`` without one. Raises ``BadFlag``."""
    match = _TARGET.match(text)
    if match is None:
        raise BadFlag(
            "a file is written as /path[:mode[:uid[:gid]]]", op="parse", subject=text, hint="The mode is octal: 0440."
        )
    mode, uid, gid = match["mode"], match["uid"], match["gid"]
    return SecretFile(
        Path(match["path"]),
        mode=0o400 if mode is None else int(mode, 8),
        uid=None if uid is None else int(uid),
        gid=None if gid is None else int(gid),
    )


def flyte_deliveries(
    secrets: Iterable[SecretMessage],
    platform: FlyteSecrets,
    *,
    mode: int = 0o444,
    uid: int | None = None,
    gid: int | None = None,
) -> tuple[list[Delivery], dict[str, str]]:
    """Flyte's ``core.Secret`` messages as deliveries, and the constant variables that tell a task where they are.

    The files are readable by everybody in the container, as Flyte's are: the task's user is not known here. One secret that is
    asked for in several ways is one delivery: some of its names are the same in all of them.
    """
    files: dict[tuple[SecretRef, ...], dict[SecretFile, None]] = {}
    variables: dict[tuple[SecretRef, ...], dict[str, None]] = {}
    constants: dict[str, str] = {}
    for secret in secrets:
        mapped = map_secret(secret, platform)
        places = (SecretFile(Path(path), mode, uid, gid) for path in mapped.files)
        files.setdefault(mapped.candidates, {}).update(dict.fromkeys(places))
        variables.setdefault(mapped.candidates, {}).update(dict.fromkeys(mapped.variables))
        constants |= mapped.constants
    return [Delivery(each, tuple(files[each]), tuple(variables[each])) for each in files], constants


def inject(
    deliveries: Sequence[Delivery],
    resolver: Resolver,
    cancel: CancelToken,
    *,
    templates: Sequence[Template] = (),
    allow_disk: bool = False,
) -> Injected:
    """Resolves everything, then writes every file; either all of them or none.

    Args:
        deliveries: what goes where; one that is repeated word for word counts once.
        resolver: gives the values.
        cancel: when to stop.
        templates: files rendered from several secrets.
        allow_disk: also on volumes that are not memory.

    Raises:
        SecretPathTaken: two secrets want one path or one variable.
        NotTmpfs: a file would be on a disk.
        SecretTooLarge, SecretNotText: a value does not fit into a variable.
        BadSecretTemplate: a template cannot be rendered.
    """
    deliveries = list(dict.fromkeys(deliveries))
    targets = [file for delivery in deliveries for file in delivery.files] + [template.file for template in templates]
    check_paths(targets)
    _check_variables(deliveries)
    if not allow_disk:
        for file in targets:
            check_memory(file.path)
    placed = _place(deliveries, resolver, cancel)
    values = resolver.resolve([delivery.candidates[0] for delivery in placed], cancel)
    environment = {
        name: as_variable(name, values[delivery.candidates[0]], delivery.candidates[0])
        for delivery in placed
        for name in delivery.variables
    }
    contents = [(file, values[delivery.candidates[0]].reveal()) for delivery in placed for file in delivery.files]
    contents += [(template.file, template.render(resolver, cancel)) for template in templates]
    with SecretFiles(allow_disk=allow_disk) as files:
        for file, data in contents:
            cancel.check()
            files.stage(file, data)
        try:
            files.publish()
        except CopilotError:
            files.withdraw()
            raise
    return Injected(tuple(file.path for file, _ in contents), environment, placed)


def resolve_environment(
    environ: Mapping[str, str], resolver: Resolver, cancel: CancelToken, *, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """``environ`` with every variable that is a reference replaced by its value, and ``extra`` on top.

    In ``environ`` only a manager's scheme or ``secret+…`` counts as a reference; every variable of ``extra`` is one.
    """
    refs = {name: parse_ref(text) for name, text in environ.items() if is_ref(text)}
    refs |= {name: parse_ref(text) for name, text in (extra or {}).items()}
    values = resolver.resolve(refs.values(), cancel)
    return {**environ, **{name: as_variable(name, values[ref], ref) for name, ref in refs.items()}}


def as_variable(name: str, value: SecretValue, ref: SecretRef) -> str:
    """The value as the content of a variable.

    Raises:
        SecretNotText: it is binary.
        SecretTooLarge: Linux would refuse to start a process with it.
    """
    text = text_of(value, ref, place=f"the variable {name}")
    if len(name) + 1 + len(value.reveal()) + 1 > LONGEST_VARIABLE_BYTES:
        raise SecretTooLarge(
            f"the secret is too long for the variable {name}: {len(value.reveal())} bytes, and {LONGEST_VARIABLE_BYTES} fit",
            op="inject",
            subject=describe_ref(ref),
            hint="Hand it over as a file.",
        )
    return text


def _place(deliveries: Sequence[Delivery], resolver: Resolver, cancel: CancelToken) -> tuple[Delivery, ...]:
    """Each delivery with the one candidate that exists. Those with a single one are read together first."""
    resolver.resolve([delivery.candidates[0] for delivery in deliveries if len(delivery.candidates) == 1], cancel)
    return tuple(
        delivery
        if len(delivery.candidates) == 1
        else replace(delivery, candidates=(resolver.first(delivery.candidates, cancel)[0],))
        for delivery in deliveries
    )


def _check_variables(deliveries: Sequence[Delivery]) -> None:
    seen: set[str] = set()
    for delivery in deliveries:
        for name in delivery.variables:
            if name in seen:
                raise SecretPathTaken(
                    f"two secrets are to be the variable {name}", op="inject", subject=name, hint="Give each a name of its own."
                )
            seen.add(name)

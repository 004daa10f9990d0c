"""``copilot secrets``: values for people and scripts, by the same code as in a pod."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.people import Invocation, PeopleCommand
from copilot.cli.remote import secrets as remote
from copilot.cli.staging.child import become, run_child
from copilot.core.errors import BadFlag, CopilotError, ExitCode, Interrupted, SecretPathTaken
from copilot.core.secret_refs import format_ref, is_ref, parse_ref
from copilot.engine.atomic import local_errors
from copilot.secrets.files import SecretFile
from copilot.secrets.hardening import forbid_core_dumps
from copilot.secrets.inject import Delivery, inject, parse_delivery, resolve_environment
from copilot.secrets.render import Template
from copilot.secrets.renewing import renewing
from copilot.secrets.resolver import Checked, Resolver, open_resolver
from copilot.secrets.settings import settings_from

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken

_CLOSE_S = 20.0


@dataclass(frozen=True, slots=True)
class Opened:
    """What a command works with."""

    session: Session
    resolver: Resolver
    cancel: CancelToken
    environ: Mapping[str, str]


@contextmanager
def _opened(invocation: Invocation) -> Iterator[Opened]:
    """A session and a resolver whose leases are given back at the end, also after a failure or when we are asked to stop.

    What cannot be given back is told by the log: it changes nothing of what was done before.
    """
    forbid_core_dumps()
    session = invocation.open()
    resolver = open_resolver(
        settings_from(invocation.environ), clock=session.clock, log=session.log, known=session.redactor.register
    )
    try:
        yield Opened(session, resolver, session.token(), invocation.environ)
    finally:
        with suppress(CopilotError):  # told by then
            resolver.close(session.token().grace(_CLOSE_S))
        session.close()


@click.pass_obj
def _get(invocation: Invocation, *, reference: str, to: str | None, allow_disk: bool) -> None:
    with _opened(invocation) as opened:
        if to is not None:
            inject([_file(f"{to}={reference}", "--to")], opened.resolver, opened.cancel, allow_disk=allow_disk)
            return
        ref = parse_ref(reference)
        value = opened.resolver.resolve([ref], opened.cancel)[ref].reveal()
        sys.stdout.buffer.write(value)
        if sys.stdout.isatty() and not value.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


@click.pass_obj
def _render(invocation: Invocation, *, template: str, to: str | None, names: tuple[str, ...], allow_disk: bool) -> None:
    path = Path(template)
    with local_errors(path, op="read"):
        text = path.read_text("utf-8")
    target = SecretFile(Path(os.devnull)) if to is None else _file(f"{to}=env://_", "--to").files[0]
    known = {name: parse_ref(reference) for name, reference in _pairs(names, "--name").items()}
    job = Template(template, text, target, known)
    with _opened(invocation) as opened:
        if to is not None:
            inject([], opened.resolver, opened.cancel, templates=[job], allow_disk=allow_disk)
            return
        sys.stdout.buffer.write(job.render(opened.resolver, opened.cancel))
        sys.stdout.buffer.flush()


@click.pass_obj
def _exec(
    invocation: Invocation, *, env: tuple[str, ...], files: tuple[str, ...], allow_disk: bool, argv: tuple[str, ...]
) -> int:
    if not argv:
        raise BadFlag("exec needs a command", op="flags", hint="Write it after --: copilot secrets exec -- COMMAND.")
    extra = _pairs(env, "--env")
    deliveries = [_file(text, "--file") for text in files]
    written: tuple[Path, ...] = ()
    try:
        with _opened(invocation) as opened:
            environ = resolve_environment(opened.environ, opened.resolver, opened.cancel, extra=extra)
            written = inject(deliveries, opened.resolver, opened.cancel, allow_disk=allow_disk).files
            if opened.resolver.lends():
                # Somebody must stay to renew the leases, and to give them back when the command has ended.
                with renewing(opened.resolver, clock=opened.session.clock, log=opened.session.log):
                    return run_child(argv, environ, latch=invocation.latch, log=opened.session.log, cancel=opened.cancel)
        become(argv, environ)
    except BadFlag:  # there is no such command: its files are nobody's
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return ExitCode.OK


@click.pass_obj
def _check(invocation: Invocation, *, references: tuple[str, ...], as_json: bool) -> int:
    texts = references or tuple(text for text in invocation.environ.values() if is_ref(text))
    if not texts:
        raise BadFlag(
            "there is nothing to check",
            op="flags",
            hint="Name references, or set variables to them: copilot secrets check aws://prod/db.",
        )
    refs = [parse_ref(text) for text in texts]
    with _opened(invocation) as opened:
        identities = {name: _identity(opened, name) for name in dict.fromkeys(ref.provider for ref in refs)}
        checked = opened.resolver.check(refs, opened.cancel)
    if as_json:
        click.echo(json.dumps({"identities": identities, "secrets": [_facts(each) for each in checked]}, ensure_ascii=False))
    else:
        for name, identity in identities.items():
            click.echo(f"{name}: {identity}")
        for each in checked:
            click.echo(f"{'no ' if each.error else 'yes'}  {format_ref(each.ref)}  {_verdict(each)}")
    return next((each.error.exit_code for each in checked if each.error is not None), ExitCode.OK)


def _identity(opened: Opened, name: str) -> str:
    try:
        return opened.resolver.whoami(name, opened.cancel)
    except Interrupted:
        raise
    except CopilotError as error:
        return f"unknown: {error.sentence()}"


def _verdict(each: Checked) -> str:
    if each.error is not None:
        return f"{each.error.sentence()} [{each.error.reason}]"
    if each.size_bytes is None:
        return "not read: it can be read only once"
    version = "" if each.version is None else f", version {each.version}"
    return f"{each.size_bytes} bytes{version}"


def _facts(each: Checked) -> dict[str, Any]:
    facts: dict[str, Any] = {"ref": format_ref(each.ref), "readable": each.error is None}
    if each.error is not None:
        facts |= {"reason": each.error.reason, "message": each.error.sentence()}
    return facts | {"version": each.version, "size_bytes": each.size_bytes}


def _pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """``NAME=REFERENCE`` texts; a name that comes again must name the same."""
    pairs: dict[str, str] = {}
    for text in texts:
        delivery = parse_delivery(text)
        if not delivery.variables:
            raise BadFlag(f"{flag} takes NAME=REFERENCE", op="flags", subject=flag, hint="A file is asked for with --file.")
        name, reference = delivery.variables[0], text.partition("=")[2]
        if pairs.setdefault(name, reference) != reference:
            raise SecretPathTaken(f"{flag} gives {name} twice", op="flags", subject=name, hint="Give each a name of its own.")
    return pairs


def _file(text: str, flag: str) -> Delivery:
    delivery = parse_delivery(text)
    if not delivery.files:
        raise BadFlag(f"{flag} takes an absolute path", op="flags", subject=flag, hint="Write /path[:mode[:uid[:gid]]].")
    return delivery


_ALLOW_DISK = click.Option(["--allow-disk"], is_flag=True, help="Write files also where it is no memory volume.")
_TO = click.Option(["--to"], metavar="PATH[:MODE[:UID[:GID]]]", help="Write to this file instead of standard output.")

_get_command = PeopleCommand(
    "get",
    callback=_get,
    params=[click.Argument(["reference"]), _TO, _ALLOW_DISK],
    help="Print the value of the secret REFERENCE, byte for byte, or write it to a file.",
    example="copilot secrets get 'aws://prod/db#password' --to /dev/shm/password:0400",
)
_render_command = PeopleCommand(
    "render",
    callback=_render,
    params=[
        click.Argument(["template"]),
        _TO,
        click.Option(["--name", "names"], multiple=True, metavar="NAME=REFERENCE", help="A secret the template knows by name."),
        _ALLOW_DISK,
    ],
    help="Render the Jinja TEMPLATE from secrets. Whatever is missing is an error.",
    example="copilot secrets render app.conf.j2 --name db=vault://kv/app --to /run/secrets/app.conf",
)
_exec_command = PeopleCommand(
    "exec",
    callback=_exec,
    params=[
        click.Option(["--env"], multiple=True, metavar="NAME=REFERENCE", help="A variable for the command."),
        click.Option(
            ["--file", "files"], multiple=True, metavar="PATH[:MODE[:UID[:GID]]]=REFERENCE", help="A file for the command."
        ),
        _ALLOW_DISK,
        click.Argument(["argv"], nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]..."),
    ],
    help="Run a command with secrets in its environment. Variables that are references are resolved as well.",
    example="DB_PASSWORD='aws://prod/db#password' copilot secrets exec -- ./serve",
)
_check_command = PeopleCommand(
    "check",
    callback=_check,
    params=[
        click.Argument(["references"], nargs=-1),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ],
    help="Say who we are to each manager and which secrets we may read, without showing a value.",
    example="copilot secrets check 'aws://prod/db#password' vault://kv/app",
)

command = click.Group(
    "secrets",
    commands={
        "get": _get_command,
        "render": _render_command,
        "exec": _exec_command,
        "check": _check_command,
        "set": remote.set_command,
        "list": remote.list_command,
        "delete": remote.delete_command,
    },
    help="Read secrets from AWS, Google, Azure, Vault, Kubernetes, files and the environment. set, list and delete look after "
    "those that a server keeps itself.",
    epilog="\b\nExample:\n  copilot secrets check 'aws://prod/db#password'",
)

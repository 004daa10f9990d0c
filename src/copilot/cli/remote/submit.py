"""``copilot submit``: a container task, from the command line or a file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from copilot.cli.remote.access import remote_command, show_facts
from copilot.cli.remote.wait import exit_code
from copilot.cli.staging.task_inputs import gather_inputs
from copilot.cli.staging.task_types import parse_type, split_declaration
from copilot.core.errors import BadFlag
from copilot.core.idl import Literal, LiteralType, SimpleType
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient

_PRIMITIVES = {
    "integer": SimpleType.INTEGER,
    "float_value": SimpleType.FLOAT,
    "string_value": SimpleType.STRING,
    "boolean": SimpleType.BOOLEAN,
    "datetime": SimpleType.DATETIME,
    "duration": SimpleType.DURATION,
}


def _submit(session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    from copilot.control_plane.client import container_task  # noqa: PLC0415 - a second of imports, when it is wanted

    asked = _asked(given)
    literals = gather_inputs(given["inputs"], asked["input"], read=lambda uri: session.transfer.read(uri, session.token()))
    declared = {name: _type_of(literal) for name, literal in literals.literals.items()}
    for text in asked["input"]:
        name, wanted = split_declaration(text.partition("=")[0], "--input")
        if wanted is not None:
            declared[name] = wanted
    outputs = {}
    for text in asked["output"]:
        name, wanted = split_declaration(text, "--output")
        outputs[name] = wanted if wanted is not None else parse_type("str", "--output")
    spec = container_task(
        asked["name"],
        asked["image"],
        asked["command"],
        inputs=declared,
        outputs=outputs,
        secrets=[_secret(text) for text in asked["secret"]],
    )
    spec.task_template.metadata.retries.retries = asked["retries"]
    if asked["timeout"]:
        spec.task_template.metadata.timeout.FromSeconds(asked["timeout"])
    run = client.submit(spec, literals, given["run_name"] or "")
    if not given["wait"]:
        show_facts({"run": run}, as_json=given["as_json"])
        return 0
    for line in client.logs(run, 1) if given["follow"] else ():
        click.echo(line, nl=False)
    ended = client.wait(run)
    show_facts(ended, as_json=given["as_json"])
    return exit_code(ended)


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "name": "command",
        "image": "",
        "command": [],
        "input": [],
        "output": [],
        "secret": [],
        "retries": 0,
        "timeout": 0,
    }
    words = list(given["words"])
    if words and not given["image"]:
        asked |= _file(Path(words.pop(0)))
    flags = {"name": given["name"], "image": given["image"], "retries": given["retries"], "timeout": given["timeout"]}
    asked |= {key: value for key, value in flags.items() if value}
    asked["command"] = words or asked["command"]
    asked["input"] = [*asked["input"], *given["input"]]
    asked["output"] = [*asked["output"], *given["output"]]
    asked["secret"] = [*asked["secret"], *given["secret"]]
    if not asked["command"] or not asked["image"]:
        raise BadFlag("submit needs a task", op="flags", hint="Give a FILE.yaml, or --image IMAGE and the command after --.")
    return asked


def _file(path: Path) -> dict[str, Any]:
    """``name``, ``image``, ``command``, ``inputs`` (``name:type``: value), ``outputs`` (name: type), ``secrets`` and so on."""
    with local_errors(path):
        text = path.read_text(encoding="utf-8")
    try:
        task = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise BadFlag(f"{path} is no YAML", op="flags", subject=str(path)) from cause
    known = {"name", "image", "command", "inputs", "outputs", "secrets", "retries", "timeout"}
    if not isinstance(task, dict) or set(task) - known or not isinstance(task.get("command", []), list):
        raise BadFlag(f"{path} is no task", op="flags", subject=str(path), hint=f"It may have {', '.join(sorted(known))}.")
    found = {key: task[key] for key in ("name", "image", "retries", "timeout") if key in task}
    found["command"] = [str(word) for word in task.get("command", [])]
    found["input"] = [f"{name}={_text(str(name), value)}" for name, value in (task.get("inputs") or {}).items()]
    found["output"] = [f"{name}:{kind}" for name, kind in (task.get("outputs") or {}).items()]
    found["secret"] = [str(text) for text in task.get("secrets") or ()]
    return found


def _text(name: str, value: object) -> str:
    """A value of the file as ``--input`` reads it: what is declared is a text as it stands, all else is JSON."""
    value = value.isoformat() if isinstance(value, date) else value
    return value if isinstance(value, str) and ":" in name else json.dumps(value, ensure_ascii=False, default=str)


def _secret(text: str) -> tuple[str, str]:
    """``VARIABLE=NAME``, or ``NAME`` for a file; as the pair that ``container_task`` takes."""
    variable, equals, name = text.rpartition("=")
    if not name or (equals and not variable.isidentifier()):
        raise BadFlag(
            f"--secret {text!r} names no secret", op="flags", subject="--secret", hint="Write it as NAME, or as VARIABLE=NAME."
        )
    return variable, name


def _type_of(literal: Literal) -> LiteralType:
    kind = LiteralType()
    if literal.scalar.HasField("blob"):
        kind.blob.CopyFrom(literal.scalar.blob.metadata.type)
    elif literal.scalar.HasField("generic"):
        kind.simple = SimpleType.STRUCT
    else:
        kind.simple = _PRIMITIVES.get(literal.scalar.primitive.WhichOneof("value"), SimpleType.STRUCT)
    return kind


command = remote_command(
    "submit",
    _submit,
    [
        click.Argument(["words"], nargs=-1, metavar="[FILE.yaml | -- COMMAND...]"),
        click.Option(["--image"], metavar="IMAGE", help="The task's image."),
        click.Option(["--name"], metavar="TEXT", help="The task's name."),
        click.Option(["--run-name"], metavar="NAME", help="The run's name; the same name and task are the same run."),
        click.Option(["--input"], multiple=True, metavar="NAME[:TYPE]=VALUE", help="An input."),
        click.Option(["--inputs"], metavar="URI", help="Inputs as JSON, YAML or an inputs.pb."),
        click.Option(["--output"], multiple=True, metavar="NAME:TYPE", help="An output."),
        click.Option(
            ["--secret"],
            multiple=True,
            metavar="[VARIABLE=]NAME",
            help="A secret of the server: the file /etc/flyte/secrets/NAME, or a variable.",
        ),
        click.Option(["--retries"], type=click.IntRange(0), default=0, help="How often a failure is tried again."),
        click.Option(["--timeout"], type=click.IntRange(0), default=0, metavar="SECONDS", help="The longest it may run."),
        click.Option(["--wait"], is_flag=True, help="Wait for its end; the exit code is the run's."),
        click.Option(["-f", "--follow"], is_flag=True, help="With --wait: print its log meanwhile."),
    ],
    text="Submit a container task: a FILE.yaml, or a command after --.",
    example="copilot submit --image alpine --input n:int=4 --output m:int -- sh -c 'echo $(({{.inputs.n}}+1)) >/var/outputs/m'",
)

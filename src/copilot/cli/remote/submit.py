"""``copilot submit``: a container task, from the command line or a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_facts
from copilot.cli.remote.task_file import MOST, read_task_file
from copilot.cli.remote.wait import exit_code
from copilot.cli.staging.task_inputs import gather_inputs
from copilot.cli.staging.task_types import parse_type, split_declaration
from copilot.core.errors import BadFlag
from copilot.core.idl import Literal, LiteralMap, LiteralType, SimpleType
from copilot.core.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    from copilot.control_plane.pods.variables import shell_warnings  # noqa: PLC0415 - as above

    asked = _asked(given)
    read = partial(session.transfer.read, cancel=session.token())
    literals = gather_inputs(given["inputs"], [], read=read)
    for more in (asked["literals"], gather_inputs(None, asked["input"], read=read)):
        for name, literal in more.literals.items():
            literals.literals[name].CopyFrom(literal)
    declared = {name: _type_of(literal) for name, literal in literals.literals.items()} | asked["declared"]
    for text in asked["input"]:
        name, wanted = split_declaration(text.partition("=")[0], "--input")
        declared[name] = wanted if wanted is not None else _type_of(literals.literals[name])
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
        variables=dict(map(_variable, asked["env"])).items(),
        resources=dict(map(_resource, asked["resource"])).items(),
    )
    spec.task_template.metadata.retries.retries = asked["retries"]
    if asked["timeout"]:
        spec.task_template.metadata.timeout.FromSeconds(asked["timeout"])
    for said in shell_warnings(asked["command"], literals):
        click.echo(f"warning: {said}", err=True)
    run = client.submit(spec, literals, given["run_name"] or "", lambda note: click.echo(f"note: {note}", err=True))
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
        "literals": LiteralMap(),
        "declared": {},
        "output": [],
        "secret": [],
        "env": [],
        "resource": [],
        "retries": 0,
        "timeout": 0,
    }
    words = list(given["words"])
    if words and not given["image"]:
        asked |= read_task_file(Path(words.pop(0)))
    flags = {"name": given["name"], "image": given["image"], "retries": given["retries"], "timeout": given["timeout"]}
    asked |= {key: value for key, value in flags.items() if value}
    asked["command"] = words or asked["command"]
    asked["input"] = given["input"]
    for key in ("output", "secret", "env", "resource"):
        asked[key] = [*asked[key], *given[key]]
    if not asked["command"] or not asked["image"]:
        raise BadFlag("submit needs a task", op="flags", hint="Give a FILE.yaml, or --image IMAGE and the command after --.")
    return asked


def _secret(text: str) -> tuple[str, str]:
    """``VARIABLE=NAME``, or ``NAME`` for a file; as the pair that ``container_task`` takes."""
    variable, equals, name = text.rpartition("=")
    if not name or (equals and not variable.isidentifier()):
        raise BadFlag(
            f"--secret {text!r} names no secret", op="flags", subject="--secret", hint="Write it as NAME, or as VARIABLE=NAME."
        )
    return variable, name


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadFlag(f"--env {text!r} is no variable", op="flags", subject="--env", hint="Write it as NAME=VALUE.")
    return name, value


def _resource(text: str) -> tuple[str, str]:
    from copilot.control_plane.client import RESOURCES  # noqa: PLC0415 - as above

    name, _, value = text.partition("=")
    amount = quantity(value)
    if name not in RESOURCES or amount is None or amount < 0:
        hint = f"Write it like memory=1Gi, cpu=500m or gpu=1; there are {', '.join(RESOURCES)}."
        raise BadFlag(f"--resource {text!r} asks for nothing there is", op="flags", subject="--resource", hint=hint)
    return name, value


def _type_of(literal: Literal) -> LiteralType:
    kind = LiteralType()
    match literal.WhichOneof("value"), literal.scalar.WhichOneof("value"):
        case "collection", _:
            kind.collection_type.CopyFrom(_type_of_all(literal.collection.literals))
        case "map", _:
            kind.map_value_type.CopyFrom(_type_of_all(literal.map.literals.values()))
        case _, "blob":
            kind.blob.CopyFrom(literal.scalar.blob.metadata.type)
        case _, "none_type":
            kind.simple = SimpleType.NONE
        case _:
            kind.simple = _PRIMITIVES.get(literal.scalar.primitive.WhichOneof("value"), SimpleType.STRUCT)
    return kind


def _type_of_all(literals: Iterable[Literal]) -> LiteralType:
    """What they are if all are the same, else anything."""
    first, *others = [_type_of(each) for each in literals] or [LiteralType(simple=SimpleType.STRUCT)]
    return first if all(each == first for each in others) else LiteralType(simple=SimpleType.STRUCT)


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
        click.Option(["--env"], multiple=True, metavar="NAME=VALUE", help="A variable of the task's environment."),
        click.Option(
            ["--resource"],
            multiple=True,
            metavar="NAME=QUANTITY",
            help="What it asks for: cpu, memory, gpu or disk, as Kubernetes writes them. Memory and GPUs are its limit too.",
        ),
        click.Option(["--retries"], type=click.IntRange(0, MOST), default=0, help="How often a failure is tried again."),
        click.Option(["--timeout"], type=click.IntRange(0, MOST), default=0, metavar="SECONDS", help="The longest it may run."),
        click.Option(["--wait"], is_flag=True, help="Wait for its end; the exit code is the run's."),
        click.Option(["-f", "--follow"], is_flag=True, help="With --wait: print its log meanwhile."),
    ],
    text="Submit a container task: a FILE.yaml, or a command after --.",
    example="copilot submit --image alpine --input n:int=4 --output m:int -- sh -c 'echo $(({{.inputs.n}}+1)) >/var/outputs/m'",
)

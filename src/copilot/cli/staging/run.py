"""``copilot run``: stage in, run a command, stage out, on this machine, by the same code as in a pod."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from copilot.cli.arguments.values import seconds_of
from copilot.cli.people import Invocation, PeopleCommand, completer
from copilot.cli.staging import messages, template
from copilot.cli.staging.child import Ended, run_child
from copilot.cli.staging.show import in_words
from copilot.cli.staging.strays import tell_strays
from copilot.cli.staging.task_inputs import gather_inputs
from copilot.cli.staging.task_outputs import declare_outputs, declared_types
from copilot.cli.staging.workplace import Workplace, workplace
from copilot.core.completion import Saw, judge
from copilot.core.error_document import OUTPUT_UPLOAD_FAILED
from copilot.core.errors import BadFlag, Cancelled, CopilotError, OutputError, TaskError
from copilot.core.literals import Layout
from copilot.core.uri import redact
from copilot.download.plan import Format
from copilot.download.run import InputRequest, stage_inputs
from copilot.engine.atomic import local_errors
from copilot.upload.markers import look_for_marker, task_error
from copilot.upload.plan import OutputTarget
from copilot.upload.run import OutputRequest, OutputsPublished, publish_outputs

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken, Clock
    from copilot.upload.partial import Kept

INPUT_DIR: Final = "INPUT_DIR"
OUTPUT_DIR: Final = "OUTPUT_DIR"


@click.pass_obj
def _run(invocation: Invocation, /, **given: Any) -> int:  # noqa: ANN401 - the options, by their names
    command: tuple[str, ...] = given["command"]
    if not command:
        raise BadFlag("run needs a command", op="flags", hint="Write it after --: copilot run --outputs DIR -- COMMAND.")
    session = invocation.open()
    prefix = ""
    try:
        _check(session, given)
        prefix = _prefix(given["outputs"])
        with workplace(given["workdir"]) as places:
            return _in(places, session, given, command)
    except CopilotError as error:
        # The reason goes where the outputs would have gone, as in a pod; who pressed Ctrl-C knows it.
        return session.fail(error, code=OUTPUT_UPLOAD_FAILED, prefix="" if isinstance(error, Cancelled) else prefix)
    finally:
        session.close()


def _check(session: Session, given: dict[str, Any]) -> None:
    """What is wrong with the outputs' flags is said before the command runs, not after an hour of it."""
    if given["output"] and not given["outputs"]:
        raise _nowhere("outputs are declared, and --outputs does not say where they go")
    declared_types(given["output"])
    for flag in ("outputs", "raw"):
        if given[flag] and not session.stores.locate(_prefix(given[flag])).store.capabilities.writable:
            said = f"--{flag} is {redact(given[flag])}, and nothing can be written there"
            raise BadFlag(said, op="flags", subject=f"--{flag}", hint="Give it a bucket or a directory.")
        if given["workdir"] and Path(_prefix(given[flag])).is_relative_to(Path(given["workdir"]).absolute() / "outputs"):
            said = f"--{flag} is {given[flag]}, where the command itself writes"
            raise BadFlag(said, op="flags", subject=f"--{flag}", hint="Give it a directory outside of --workdir.")


def _in(places: Workplace, session: Session, given: dict[str, Any], command: Sequence[str]) -> int:
    cancel = session.token(timeout_s=seconds_of(given["timeout"], "--timeout"), budget="--timeout")
    literals = gather_inputs(given["inputs"], given["input"], read=lambda uri: _read(session, uri, cancel))
    stage_inputs(
        InputRequest(
            directory=places.inputs, literals=literals, document=Format[given["format"]], layout=Layout(given["layout"])
        ),
        transfer=session.transfer,
        clock=session.clock,
        log=session.log,
        cancel=cancel,
        stores=session.stores,
    )
    with local_errors(places.outputs):
        places.outputs.mkdir(parents=True, exist_ok=True)
        if any(places.outputs.iterdir()):
            raise BadFlag(
                f"{places.outputs} is not empty",
                op="run",
                subject=str(places.outputs),
                hint="Give another --workdir, or empty it.",
            )
    directories = {"inputDir": str(places.inputs), "outputDir": str(places.outputs)}
    argv = template.render(command, inputs=_local_values(places), places=directories)
    session.clear_progress()
    code = run_child(
        argv,
        {**session.configuration.environ, INPUT_DIR: str(places.inputs), OUTPUT_DIR: str(places.outputs)},
        latch=session.latch,
        log=session.log,
        cancel=cancel,
    )
    ended = Ended(code, session.clock)
    partial: list[Kept] = []
    try:
        published = _publish(session, given, places, ended, cancel, kept=partial.append)
    except TaskError as error:
        ours = session.fail(error, code=OUTPUT_UPLOAD_FAILED, prefix=_prefix(given["outputs"]))
        return code or ours
    except BaseException as error:
        if code == 0 and not (isinstance(error, OutputError) and any(each.whole for each in partial)):
            places.keep_outputs(session.log)
        raise
    session.clear_progress()
    if published is not None and published.plan is not None:
        tell_strays((send.spec for send in published.plan.sends), stores=session.stores, log=session.log)
    _tell(published, as_json=given["as_json"])
    return 0


def _read(session: Session, uri: str, cancel: CancelToken) -> bytes:
    return sys.stdin.buffer.read() if uri == "-" else session.transfer.read(uri, cancel)


def _prefix(outputs: str | None) -> str:
    return str(Path(outputs).absolute()) if outputs and "://" not in outputs else outputs or ""


def _local_values(places: Workplace) -> dict[str, object]:
    """The values the task sees, from the ``inputs.pb`` that was staged: files and directories as local paths."""
    from copilot.download.run import parse_inputs  # noqa: PLC0415 - one use

    path = places.inputs / "inputs.pb"
    with local_errors(path):
        return messages.plain_literals(parse_inputs(path.read_bytes(), str(path)))


def _publish(
    session: Session,
    given: dict[str, Any],
    places: Workplace,
    ended: Ended,
    cancel: CancelToken,
    *,
    kept: Callable[[Kept], None],
) -> OutputsPublished | None:
    interface = declare_outputs(given["output"], places.outputs)
    prefix = _prefix(given["outputs"])
    if not interface.outputs.variables or (ended.code != 0 and not prefix):
        _check_succeeded(places.outputs, ended, session.clock)
        return None
    if not prefix:
        raise _nowhere("the command left outputs, and --outputs does not say where they go")

    def tell(error: CopilotError) -> None:
        session.leave_reason(error, code=OUTPUT_UPLOAD_FAILED, prefix=prefix)

    return publish_outputs(
        OutputRequest(
            directory=places.outputs,
            interface=interface,
            target=OutputTarget(raw_prefix=given["raw"] or prefix, output_prefix=prefix),
            write_manifest=not given["no_manifest"],
            write_receipt=not given["no_receipt"],
        ),
        transfer=session.transfer,
        watchers=[ended],
        clock=session.clock,
        log=session.log,
        cancel=cancel,
        told=tell,
        kept=kept,
    )


def _check_succeeded(directory: Path, ended: Ended, clock: Clock) -> None:
    """Where there is nothing to publish, or nowhere, a failure is a failure all the same."""
    said = look_for_marker(directory, clock)
    if said is not None and said.reason == Saw.ERROR_MARKER:
        raise task_error(directory)
    if error := judge([ended.completion], trust_signal=False).error():
        raise error


def _nowhere(said: str) -> BadFlag:
    return BadFlag(said, op="flags", subject="--outputs", hint="Give --outputs a URI or a directory.")


def _tell(ended: OutputsPublished | None, *, as_json: bool) -> None:
    if ended is None or ended.published is None or ended.plan is None:
        return
    values = messages.plain_literals(ended.plan.literals)
    where: dict[str, object] = {"outputs_uri": ended.published.outputs_uri}
    if as_json:
        click.echo(json.dumps({**where, "outputs": values}, ensure_ascii=False))
        return
    click.echo(f"# {redact(ended.published.outputs_uri)}")
    click.echo(in_words(values, as_json=False), nl=False)


command = PeopleCommand(
    "run",
    callback=_run,
    params=[
        click.Option(
            ["--inputs"],
            metavar="FILE",
            shell_complete=completer("FILE"),
            help="Inputs as JSON or YAML (name: value, or name:type: value), or an inputs.pb; a URI, a path, or - for "
            "standard input.",
        ),
        click.Option(
            ["--input", "-i"],
            multiple=True,
            metavar="NAME[:TYPE]=VALUE",
            help="One input; a URI or an existing path is a file or a directory.",
        ),
        click.Option(
            ["--outputs", "-o"],
            metavar="URI",
            shell_complete=completer("DIR"),
            help="Where outputs.pb, and files, are published: a URI or a directory.",
        ),
        click.Option(
            ["--output"],
            multiple=True,
            metavar="NAME[:TYPE]",
            help="One output; without any, whatever the command leaves, by its looks.",
        ),
        click.Option(["--raw"], metavar="URI", help="Where files go, if not beside outputs.pb."),
        click.Option(
            ["--workdir"],
            metavar="DIR",
            shell_complete=completer("DIR"),
            help="Keep inputs/ and outputs/ here; else they are temporary.",
        ),
        click.Option(["--format"], type=click.Choice(Format.__members__), default="JSON", help="The document of all inputs."),
        click.Option(["--layout"], type=click.Choice(Layout.__members__), default="DIRECT", help="How files are laid out."),
        click.Option(["--timeout"], metavar="DURATION", default="0", help="Time for all of it; 0 is no limit."),
        click.Option(["--no-manifest"], is_flag=True, help="Write no _manifest.json beside outputs.pb."),
        click.Option(["--no-receipt"], is_flag=True, help="Write no _receipt.json beside outputs.pb."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as one JSON document."),
        click.Argument(["command"], nargs=-1, type=click.UNPROCESSED),
    ],
    help="Stage inputs, run COMMAND, publish its outputs, and end with its exit code. A COMMAND that fails publishes nothing: "
    "the reason, and what it left under partial/, go to --outputs. In COMMAND, {{.inputs.NAME}} is the "
    "value of an input (the path of a file or directory), {{.inputDir}} and {{.outputDir}} are the directories; it finds them "
    "in INPUT_DIR and OUTPUT_DIR as well. TYPE is int, float, str, bool, datetime, duration, struct, binary, file, dir, "
    "list[T], map[T], T? or enum(a,b).",
    example="copilot run -i n=5 --output next:int -o ./published -- sh -c 'expr {{.inputs.n}} + 1 > {{.outputDir}}/next'",
)

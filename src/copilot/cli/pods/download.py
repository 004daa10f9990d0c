"""``copilot init`` and ``copilot download``: from flags to ``download.run``, and its result to people."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.pflag import check_choices
from copilot.cli.arguments.values import message_of, seconds_of
from copilot.core import idl
from copilot.core.errors import BadFlag
from copilot.core.literals import Layout
from copilot.download.plan import Format, Mode
from copilot.download.run import InputRequest, InputsManifest, plan_inputs, stage_inputs

if TYPE_CHECKING:
    from copilot.cli.arguments.pflag import Parsed
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken

_ONE_HOUR: Final = "1h0m0s"


def run(session: Session, parsed: Parsed) -> int:
    """Stages inputs; gives the exit code 0.

    Raises:
        CopilotError: why nothing was staged.
    """
    secrets = any(parsed.given(flag.name) for flag in flags.SECRETS_OF_INIT)
    timeout_s = seconds_of(parsed.last("timeout") or _ONE_HOUR, "--timeout")
    cancel = session.token(timeout_s=timeout_s, budget="--timeout")
    only_secrets = secrets and not (parsed.last("from-remote") or parsed.last("to-local-dir"))
    request = None if only_secrets else _request(session, parsed, cancel)
    if parsed.last("dry-run") == "true":
        facts = {} if request is None else plan_inputs(request, transfer=session.transfer, cancel=cancel).as_dict()
        sys.stdout.write(json.dumps(facts | _secrets_of(session, parsed), ensure_ascii=False, indent=2) + "\n")
        return 0
    with _delivered(session, parsed, cancel) if secrets else nullcontext():
        if request is None:
            return 0
        session.report("StagingInputs")
        staged = stage_inputs(
            request,
            transfer=session.transfer,
            clock=session.clock,
            log=session.log,
            cancel=cancel,
            stores=session.stores,
        )
    moved = staged.totals
    session.report("InputsStaged", f"{moved.objects} objects, {moved.size_bytes} bytes, in {moved.seconds:.2f} s")
    if parsed.last("json") == "true":
        sys.stdout.write(json.dumps(facts_of(staged)) + "\n")
    return 0


def _delivered(session: Session, parsed: Parsed, cancel: CancelToken) -> AbstractContextManager[None]:
    """Secrets come first: they are small, and what is wrong with them is known before much has moved."""
    from copilot.cli.pods.secrets import delivered  # noqa: PLC0415 - only a task with secrets pays for it

    return delivered(session, parsed, cancel)


def _secrets_of(session: Session, parsed: Parsed) -> dict[str, object]:
    if not any(parsed.given(flag.name) for flag in flags.SECRETS_OF_INIT):
        return {}
    from copilot.cli.pods.secrets import planned, requested  # noqa: PLC0415 - as above

    request = requested(session, parsed)
    return {} if request is None else {"secrets": planned(request)}


def facts_of(staged: InputsManifest) -> dict[str, object]:
    """What a script wants to know of staged inputs."""
    return {
        "directory": staged.plan.input_dir,
        "objects": staged.totals.objects,
        "bytes": staged.totals.size_bytes,
        "seconds": round(staged.totals.seconds, 3),
        "already": staged.already,
        "digest": staged.plan.digest,
    }


def _request(session: Session, parsed: Parsed, cancel: CancelToken) -> InputRequest:
    check_choices(flags.POD_COMMANDS[session.command], parsed)
    needed = ["to-local-dir"] if parsed.given("input") else ["to-local-dir", "from-remote"]
    if session.command == "download":
        needed.insert(0, "to-output-prefix")
    for name in needed:
        if not parsed.last(name):
            raise BadFlag(f"{session.command} needs --{name}", op="flags", subject=f"--{name}", hint="Give it a value.")
    interface = None
    if parsed.last("input-interface"):
        interface = message_of(idl.VariableMap, parsed.last("input-interface"), "--input-interface")
    return InputRequest(
        directory=Path(parsed.last("to-local-dir")),
        source=parsed.last("from-remote"),
        literals=_given(session, parsed, cancel),
        interface=interface,
        document=Format[parsed.last("format") or Format.JSON.name],
        layout=Layout(parsed.last("file-input-layout") or Layout.DIRECT.value),
        mode=Mode[parsed.last("download-mode") or Mode.DOWNLOAD_EAGER.name],
        control_dir=session.configuration.control_dir,
    )


def _given(session: Session, parsed: Parsed, cancel: CancelToken) -> idl.LiteralMap | None:
    """The inputs that stand on the command line, on top of those of the document, if there is one."""
    if not parsed.given("input"):
        return None
    from copilot.cli.staging.task_inputs import gather_inputs  # noqa: PLC0415 - only such a command line pays for it

    return gather_inputs(
        parsed.last("from-remote") or None, parsed.values["input"], read=lambda uri: session.transfer.read(uri, cancel)
    )

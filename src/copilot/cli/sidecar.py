"""``copilot sidecar``: from flags to ``upload.run``, and its result to people."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.cli import flags
from copilot.cli.outcome import error_document_names
from copilot.cli.pflag import check_choices
from copilot.cli.values import message_of, seconds_of
from copilot.config.flyte import flag
from copilot.core import idl, podfiles
from copilot.core.errors import BadFlag, ReadOnlyPath
from copilot.engine.cancel import Token
from copilot.upload.plan import OutputTarget, UploadMode, output_types, plan_outputs
from copilot.upload.run import OutputRequest, publish_outputs
from copilot.upload.watchers.registry import WatcherContext, open_watcher

if TYPE_CHECKING:
    from copilot.cli.pflag import Parsed
    from copilot.cli.session import Latch, Session
    from copilot.core.ports import CompletionWatcher

_ONE_HOUR: Final = "1h0m0s"


class Only:
    """The latch, for one signal alone: SIGTERM is a witness of the task's end, SIGINT is a person who wants us to stop."""

    def __init__(self, latch: Latch, number: int) -> None:
        self._latch = latch
        self._number = number

    def is_set(self) -> bool:
        """Whether this signal came first."""
        return self._latch.received == self._number

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until a signal comes; True if it was this one."""
        self._latch.wait(timeout)
        return self.is_set()


def run(session: Session, parsed: Parsed) -> int:
    """Publishes a task's outputs once it has ended; gives the exit code 0.

    Raises:
        CopilotError: why nothing was published.
    """
    _check_armed(session)
    interface = message_of(idl.TypedInterface, parsed.last("interface"), "--interface")
    declared = output_types(interface)
    if not declared:
        session.log.event("outputs.none", reason="the interface declares no outputs")
        return 0
    request = _request(session, parsed, interface)
    if parsed.last("dry-run") == "true":
        plan = plan_outputs(request.directory, declared, request.target, mode=request.mode)
        sys.stdout.write("".join(f"{line}\n" for line in plan.lines()))
        return 0
    start, watchers = _watchers(session, parsed, request.directory)
    cancel = Token(session.clock, latch=Only(session.latch, signal.SIGINT), why="interrupted")
    ended = publish_outputs(
        request,
        transfer=session.transfer,
        watchers=watchers,
        clock=session.clock,
        log=session.log,
        cancel=cancel,
        start=start,
    )
    if parsed.last("json") == "true" and ended.published is not None:
        facts = {
            "outputs_uri": ended.published.outputs_uri,
            "manifest_uri": ended.published.manifest_uri,
            "objects": ended.totals.objects,
            "bytes": ended.totals.size_bytes,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def _check_armed(session: Session) -> None:
    error = getattr(session.latch, "armed_error", None)
    if error is not None:
        raise ReadOnlyPath(
            f"the marker {podfiles.ARMED} cannot be written into the control directory",
            op="arm",
            subject=str(session.configuration.control_dir or ""),
            hint="Mount a writable volume there, or leave COPILOT_CONTROL_DIR and --control-dir out.",
        ) from error


def _request(session: Session, parsed: Parsed, interface: idl.TypedInterface) -> OutputRequest:
    settings = session.configuration
    check_choices(flags.POD_COMMANDS["sidecar"], parsed)
    for name in ("to-output-prefix", "from-local-dir"):
        if not parsed.last(name):
            raise BadFlag(f"sidecar needs --{name}", op="flags", subject=f"--{name}", hint="Give it a value.")
    prefix = parsed.last("to-output-prefix")
    target = OutputTarget(
        raw_prefix=parsed.last("to-raw-output") or prefix,
        output_prefix=prefix,
        meta_name=parsed.last("meta-output-name") or podfiles.OUTPUTS_PB,
        error_names=error_document_names(settings.err_output_name),
    )
    return OutputRequest(
        directory=Path(parsed.last("from-local-dir")),
        interface=interface,
        target=target,
        mode=UploadMode(parsed.last("upload-mode") or UploadMode.ON_EXIT),
        timeout_s=seconds_of(parsed.last("timeout") or _ONE_HOUR, "--timeout"),
        start_timeout_s=seconds_of(parsed.last("start-timeout") or "0", "--start-timeout"),
        trust_signal=flag(parsed.last("trust-signal", "true"), "--trust-signal"),
        write_manifest=parsed.last("no-manifest") != "true",
        write_receipt=parsed.last("no-receipt") != "true",
    )


def _watchers(session: Session, parsed: Parsed, directory: Path) -> tuple[CompletionWatcher | None, list[CompletionWatcher]]:
    """The start watcher, or None where there is nothing to wait for, and those of the end."""
    context = WatcherContext(directory, session.clock, session.log, latch=Only(session.latch, signal.SIGTERM))
    start_name = parsed.last("start-watcher-type") or "signal"
    exit_name = parsed.last("exit-watcher-type") or start_name
    start = open_watcher(start_name, context, flag="--start-watcher-type")
    watchers = [open_watcher(exit_name, context)]
    if not session.configuration.drop_in and exit_name == "signal":
        watchers.append(open_watcher("marker", context))
    # By default both wait for the same signal, the one that ends the task: there is nothing to wait for before.
    return (None if start_name in {exit_name, "noop"} else start), watchers

"""``copilot sidecar``: from flags to ``upload.run``, and its result to people."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.pflag import check_choices
from copilot.cli.arguments.values import message_of, seconds_of
from copilot.cli.outcome import error_document_names
from copilot.cli.pods.kept_secrets import kept
from copilot.cli.pods.this_pod import FOR_GIVING_BACK_S, FOR_LAST_WORDS_S, grace_of, pod_source, pod_uid
from copilot.config.flyte import flag
from copilot.core import idl, podfiles
from copilot.core.error_document import OUTPUT_UPLOAD_FAILED, sidecar_code
from copilot.core.errors import BadFlag, CopilotError, OutputError, ReadOnlyPath, TaskError, TaskFailed
from copilot.engine.cancel import Token
from copilot.upload.earlier import Earlier
from copilot.upload.plan import OutputTarget, UploadMode, output_types, plan_outputs
from copilot.upload.run import OutputRequest, publish_outputs
from copilot.upload.waiting import await_completion
from copilot.upload.warm import FirstLook
from copilot.upload.watchers.context import WatcherContext
from copilot.upload.watchers.registry import open_watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.cli.arguments.pflag import Parsed
    from copilot.cli.pods.kept_secrets import Keeping
    from copilot.cli.pods.this_pod import Grace
    from copilot.cli.session import Latch, Session
    from copilot.core.ports import CompletionWatcher

_ONE_HOUR: Final = "1h0m0s"
_A_DAY_S: Final = 86_400.0


class Stop:
    """When the sidecar stops altogether: SIGINT is a person who wants that, a second SIGTERM says so as well."""

    def __init__(self, latch: Latch) -> None:
        self._latch = latch

    def is_set(self) -> bool:
        """Whether either came."""
        return self._latch.received == signal.SIGINT or self._latch.again != 0


class Only:
    """The latch, for one signal alone: SIGTERM is a witness of the task's end."""

    def __init__(self, latch: Latch, number: int) -> None:
        self._latch = latch
        self._number = number

    def is_set(self) -> bool:
        """Whether this signal came first."""
        return self._latch.received == self._number

    def since_s(self) -> float | None:
        """When it came, in monotonic seconds; None if it did not."""
        return self._latch.received_s if self.is_set() else None

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
    if parsed.last("dry-run") == "true":
        declare = _declare(parsed)
        if declare is not None and parsed.last("from-local-dir"):
            interface = declare(Path(parsed.last("from-local-dir")))
        declared = output_types(interface)
        if declared:
            request = _request(session, parsed, interface, grace_s=_grace(session, parsed).seconds)
            plan = plan_outputs(request.directory, declared, request.target, mode=request.mode)
            sys.stdout.write("".join(f"{line}\n" for line in plan.lines()))
        return 0
    with kept(session, parsed) as keeping:
        try:
            return _publish(session, parsed, interface, keeping)
        except CopilotError as error:
            # The reason goes first: giving secrets back may take a while, and we may not have one.
            said = tellable(error, keeping)
            tell(session, said, parsed.last("to-output-prefix"))
            if said is error:
                raise
            raise said from None  # not even as its cause


def _publish(session: Session, parsed: Parsed, interface: idl.TypedInterface, keeping: Keeping | None) -> int:
    declared = output_types(interface)
    grace = _grace(session, parsed)
    terminated = Only(session.latch, signal.SIGTERM)
    session.last_words = grace.token(session.clock, terminated.since_s, spare_s=FOR_GIVING_BACK_S)
    cancel = Token(
        session.clock,
        latch=Stop(session.latch),
        why="SIGINT, or a second SIGTERM, told us to give up: nothing is published",
        parent=grace.token(session.clock, terminated.since_s, spare_s=FOR_LAST_WORDS_S),
    )
    if not declared and _declare(parsed) is None:
        session.log.event("outputs.none", reason="the interface declares no outputs")
        if keeping is not None and keeping.asked:
            _, watchers = _watchers(session, parsed, Path(parsed.last("from-local-dir") or os.devnull))
            await_completion(watchers, clock=session.clock, log=session.log, cancel=cancel)
        return 0
    session.log.event("grace", grace_s=round(grace.seconds, 3), known_from=grace.known_from)
    request = _request(session, parsed, interface, grace_s=grace.seconds)
    # What the task left is nowhere else: a store that is away is waited for as long as there is time at all.
    session.patience_s = request.timeout_s or _A_DAY_S
    start, watchers = _watchers(session, parsed, request.directory)
    session.report("SidecarReady")
    first_look = FirstLook(session.stores, request.target.outputs_uri, log=session.log)
    first_look.begin()
    earlier = Earlier(
        request.directory,
        session.configuration.control_dir,
        request.target,
        pod=pod_uid(session.configuration.environ),
        transfer=session.transfer,
        log=session.log,
        first_look=first_look,
    )
    ended = publish_outputs(
        request,
        transfer=session.transfer,
        watchers=watchers,
        clock=session.clock,
        log=session.log,
        cancel=cancel,
        start=start,
        over=terminated,
        told=lambda error: tell(session, tellable(error, keeping), request.target.output_prefix),
        guard=None if keeping is None else keeping.guard(request.directory),
        mask=session.redactor.mask,
        earlier=earlier,
    )
    # After the receipt: whoever is told finds everything in the store.
    moved = ended.totals
    if ended.plan is not None:
        session.report("OutputsPublished", f"{moved.objects} objects, {moved.size_bytes} bytes, in {moved.seconds:.2f} s")
    if parsed.last("json") == "true" and ended.published is not None:
        facts = {
            "outputs_uri": ended.published.outputs_uri,
            "manifest_uri": ended.published.manifest_uri,
            "objects": ended.totals.objects,
            "bytes": ended.totals.size_bytes,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def _declare(parsed: Parsed) -> Callable[[Path], idl.TypedInterface] | None:
    """How outputs without an interface are found out, once the task has ended; None where there is one, or none is wanted.

    Raises:
        BadFlag: an unknown type, or a name twice.
    """
    names = parsed.values.get("output", [])
    if parsed.last("interface") or not (names or parsed.last("any-output") == "true"):
        return None
    from copilot.cli.staging import task_outputs  # noqa: PLC0415 - only such a command line pays for it

    task_outputs.declared_types(names)  # a type that is none is told now, not once the task has ended
    return lambda directory: task_outputs.declare_outputs(names, directory)


def tellable(error: CopilotError, keeping: Keeping | None) -> CopilotError:
    """``error``, once every secret it may quote is known to the mask; without the task's words where one cannot be known."""
    if keeping is None or keeping.custody.know() or not isinstance(error, TaskError | OutputError):
        return error
    withheld = "what was said of it is withheld, because the secrets could not be read and so not be masked"
    what = "The task failed" if isinstance(error, TaskFailed) else "Outputs are not published"
    return type(error)(f"{what}; {withheld}", op=error.op, hint="The sidecar's log says why.")


def tell(session: Session, error: CopilotError, prefix: str) -> None:
    """The reason goes first: it is small, and what the task left may be much."""
    code = OUTPUT_UPLOAD_FAILED if session.configuration.drop_in else sidecar_code(error)
    session.leave_reason(error, code=code, prefix=prefix, beside=True)


def _check_armed(session: Session) -> None:
    error = getattr(session.latch, "armed_error", None)
    if error is not None:
        raise ReadOnlyPath(
            f"the marker {podfiles.ARMED} cannot be written into the control directory {session.configuration.control_dir}: "
            f"{os.strerror(error.errno or 0)}",
            op="arm",
            subject=str(session.configuration.control_dir or ""),
            hint="Mount a writable volume there, or leave COPILOT_CONTROL_DIR and --control-dir out.",
        ) from error


def _grace(session: Session, parsed: Parsed) -> Grace:
    settings = session.configuration
    return grace_of(settings.environ, drop_in=settings.drop_in, timeout_s=_timeout_s(parsed))


def _timeout_s(parsed: Parsed) -> float | None:
    return seconds_of(parsed.last("timeout") or _ONE_HOUR, "--timeout")


def _request(session: Session, parsed: Parsed, interface: idl.TypedInterface, *, grace_s: float) -> OutputRequest:
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
    # Who asks for another witness by name does not mean that SIGTERM is as good.
    trusts = settings.drop_in and _watcher_names(session, parsed)[1] == "signal"
    return OutputRequest(
        directory=Path(parsed.last("from-local-dir")),
        interface=interface,
        target=target,
        declare=_declare(parsed),
        mode=UploadMode(parsed.last("upload-mode") or UploadMode.ON_EXIT),
        timeout_s=_timeout_s(parsed),
        start_timeout_s=seconds_of(parsed.last("start-timeout") or "0", "--start-timeout"),
        trust_signal=flag(parsed.last("trust-signal", "true" if trusts else "false"), "--trust-signal"),
        write_manifest=parsed.last("no-manifest") != "true",
        write_receipt=parsed.last("no-receipt") != "true",
        keep_partial=parsed.last("no-partial") != "true",
        sent_file=settings.control_dir / podfiles.SENT if settings.control_dir is not None else None,
        grace_s=grace_s,
    )


def _watcher_names(session: Session, parsed: Parsed) -> tuple[str, str]:
    """The watchers of the start and of the end: where only one was named it is both, but for the reference's own default."""
    start, end = parsed.last("start-watcher-type"), parsed.last("exit-watcher-type")
    if not start:
        start = "signal" if session.configuration.drop_in or not end else end
    return start, end or start


def _watchers(session: Session, parsed: Parsed, directory: Path) -> tuple[CompletionWatcher | None, list[CompletionWatcher]]:
    """The start watcher, or None where there is nothing to wait for, and those of the end."""
    settings = session.configuration
    context = WatcherContext(
        directory,
        session.clock,
        session.log,
        latch=Only(session.latch, signal.SIGTERM),
        control_dir=settings.control_dir,
        pod=pod_source(settings.environ),
        process_name=parsed.last("task-process"),
    )
    start_name, exit_name = _watcher_names(session, parsed)
    start = open_watcher(start_name, context, flag="--start-watcher-type")
    names = [exit_name]
    if parsed.last("witnesses"):
        names += [name.strip() for name in parsed.last("witnesses").split(",") if name.strip()]
    elif exit_name == "signal":
        names += ["wrapper"] if settings.control_dir is not None else []
        # Flyte's own tasks write no _SUCCESS; where one lies there all the same, it counts at the end, as ever.
        names += [] if settings.drop_in else ["marker"]
    # SIGTERM ends every wait: a witness that has missed the task's end would let the pod run into SIGKILL.
    names += ["signal"] if "noop" not in names else []
    watchers = [open_watcher(name, context, flag="--witnesses") for name in dict.fromkeys(names)]
    # By default both wait for the same signal, the one that ends the task: there is nothing to wait for before.
    return (None if start_name in {exit_name, "noop"} else start), watchers

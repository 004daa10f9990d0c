"""The sidecar's work: wait for the end, judge it, plan, transfer, verify, publish."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core import podfiles
from copilot.core.completion import Outcome, Saw, judge
from copilot.core.errors import CopilotError, InternalError, LocalError, OutputError, TaskError
from copilot.core.uri import join, redact
from copilot.core.values import SendSpec, Totals
from copilot.engine.cancel import Token
from copilot.engine.crashpoints import reach
from copilot.engine.sent import SentFiles
from copilot.engine.verify import verify
from copilot.upload.course import Course, leave_receipt
from copilot.upload.eager import by_size, early_upload, end_leftovers
from copilot.upload.earlier import Run
from copilot.upload.markers import look_for_marker, task_error
from copilot.upload.partial import keep_partial
from copilot.upload.plan import (
    DEFAULT_MAX_LITERAL_BYTES,
    Offloaded,
    OutputPlan,
    OutputTarget,
    UploadMode,
    output_types,
    plan_outputs,
)
from copilot.upload.publish import ManifestSpool, Published, publish
from copilot.upload.superseded import take_back_errors
from copilot.upload.waiting import await_completion, await_start
from copilot.upload.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from copilot.core import idl
    from copilot.core.completion import Verdict
    from copilot.core.ports import CancelToken, Clock, CompletionWatcher, Log
    from copilot.core.values import Receipt
    from copilot.engine.cancel import Latch
    from copilot.engine.transfer import Transfer
    from copilot.engine.verify import Manifest
    from copilot.upload.earlier import Earlier
    from copilot.upload.partial import Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """What the sidecar was asked for.

    Attributes:
        directory: where the task writes its outputs.
        interface: which outputs it declares.
        target: where they go.
        declare: asked once the task has succeeded what its outputs are, by what it left; takes the interface's place.
        mode: when and whether data moves.
        timeout_s: seconds for everything after the task's end; None for no limit.
        start_timeout_s: seconds for the start watcher; None or 0 for no limit. Never touches ``timeout_s``.
        max_literal_bytes: beyond it, literals become objects of their own (10 MiB).
        trust_signal: SIGTERM with every declared output readable publishes, unless a witness says otherwise.
        write_manifest: put ``_manifest.json`` beside ``outputs.pb``.
        write_receipt: put ``_receipt.json`` there, however it ends.
        keep_partial: put what the task left under ``partial/`` when it is not published.
        scratch: where a temporary file may be written; None for the system's own place.
        sent_file: where it is noted what has been uploaded, for a restart; None notes it in memory.
        grace_s: seconds between SIGTERM and SIGKILL, where they are known.
    """

    directory: Path
    interface: idl.TypedInterface
    target: OutputTarget
    declare: Callable[[Path], idl.TypedInterface] | None = None
    mode: UploadMode = UploadMode.ON_EXIT
    timeout_s: float | None = None
    start_timeout_s: float | None = None
    max_literal_bytes: int = DEFAULT_MAX_LITERAL_BYTES
    trust_signal: bool = False
    write_manifest: bool = True
    write_receipt: bool = True
    keep_partial: bool = True
    scratch: Path | None = None
    sent_file: Path | None = None
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class OutputsPublished:
    """How it ended well.

    Attributes:
        published: the commit; None when the interface declares no outputs and there was nothing to do.
        plan: what was published, or None.
        verdict: how the task ended, or None where nobody had to ask.
        totals: what moved.
    """

    published: Published | None
    plan: OutputPlan | None
    verdict: Verdict | None
    totals: Totals


def publish_outputs(
    request: OutputRequest,
    *,
    transfer: Transfer,
    watchers: Sequence[CompletionWatcher],
    clock: Clock,
    log: Log,
    cancel: CancelToken,
    start: CompletionWatcher | None = None,
    over: Latch | None = None,
    told: Callable[[CopilotError], None] | None = None,
    kept: Callable[[Kept], None] | None = None,
    guard: Callable[[CancelToken], None] | None = None,
    mask: Callable[[str], str] | None = None,
    earlier: Earlier | None = None,
) -> OutputsPublished:
    """Waits until the task has ended, and publishes its outputs if it succeeded.

    An interface without outputs ends at once, and nothing is written. So does a sidecar whose earlier life has published.

    Args:
        request: what to publish, and where.
        transfer: the engine.
        watchers: the witnesses of the task's end; the first that saw something ends the wait.
        clock: time.
        log: hears ``task.ended``, ``outputs.planned``, ``outputs.published``.
        cancel: when to stop altogether. A SIGTERM that is a watcher's evidence must not end this token.
        start: waited for first; None does not wait.
        over: once it is set, nobody waits for ``start``: the task is over, or will not begin.
        told: called with what went wrong before what the task left is kept: the reason is small, and comes first.
        kept: called with what ``partial/`` has come to hold of it.
        guard: looks at what the task left before any of it leaves the pod; what it raises keeps all of it here.
        mask: goes over the text of the receipt.
        earlier: knows what an earlier life of this sidecar has published; None where there can be none.

    Raises:
        TaskError: the task failed (``_ERROR``, an exit code), was ended by its surroundings, or nobody can say.
        OutputError: an output is missing, unreadable or not of its type; nothing has moved then.
        StoreError, LocalError, Interrupted: the outputs could not be brought there; nothing is published then.
    """
    declared = output_types(request.interface)
    if not declared and request.declare is None:
        log.event("outputs.none", reason="the interface declares no outputs")
        return OutputsPublished(None, None, None, Totals())
    if earlier is not None and (
        earlier.noted() or (request.mode is UploadMode.EAGER and earlier.stored_already(cancel, clock))
    ):
        return _as_before(request)
    course = Course(clock, clock.monotonic_s(), mask=mask)
    try:
        with ExitStack() as held:
            sent = held.enter_context(_notes(request.sent_file, log))
            with course.step("wait"):
                if start is not None:
                    await_start(start, timeout_s=request.start_timeout_s or None, clock=clock, cancel=cancel, over=over)
                with early_upload(
                    request.mode,
                    request.directory,
                    declared,
                    request.target,
                    transfer=transfer,
                    clock=clock,
                    log=log,
                    cancel=cancel,
                    sent=sent,
                    guard=guard,
                    grace_s=request.grace_s,
                ):
                    course.verdict = _verdict(request, watchers, clock=clock, log=log, cancel=cancel)
            budget = Token(clock, timeout_s=request.timeout_s, parent=cancel, budget="--timeout")
            # Whatever is said of the task's end now: a restarted sidecar may have lost those who knew better.
            if earlier is not None and earlier.stored(budget):
                return _as_before(request)
            run = Run() if earlier is None else earlier.run()
            course.run = run.fields()
            plan, course.published = _publish(
                request, declared, course, transfer=transfer, log=log, cancel=budget, guard=guard, sent=sent
            )
            take_back_errors(request.target, transfer=transfer, clock=clock, log=log, cancel=budget)
            reach("errors.taken-back")
            end_leftovers((send.uri for send in plan.sends), transfer=transfer, log=log, cancel=budget)
    except CopilotError as error:
        _keep(request, course, error, transfer=transfer, log=log, cancel=cancel, told=told, guard=guard)
        if kept is not None and course.partial is not None:
            kept(course.partial)
        leave_receipt(
            request.target, course, transfer=transfer, log=log, cancel=cancel, error=error, beside=request.write_receipt
        )
        if request.mode is UploadMode.EAGER and isinstance(error, TaskError | OutputError):
            places = (join(request.target.raw_prefix, variable) for variable in declared)
            end_leftovers(places, transfer=transfer, log=log, cancel=cancel)
        raise
    if request.write_receipt:
        leave_receipt(request.target, course, transfer=transfer, log=log, cancel=cancel)
        reach("receipt.written")
    if earlier is not None:
        earlier.note(run)
        reach("published.noted")
    return OutputsPublished(course.published, plan, course.verdict, course.totals)


def _as_before(request: OutputRequest) -> OutputsPublished:
    """An earlier life of this sidecar has done everything: there is nothing to do, and nothing to say that was not said."""
    manifest = join(request.target.output_prefix, podfiles.MANIFEST) if request.write_manifest else ""
    return OutputsPublished(Published(request.target.outputs_uri, manifest), None, None, Totals())


def _notes(path: Path | None, log: Log) -> SentFiles:
    """Where it is noted what was uploaded: in memory where the file cannot be had, since no end is worse for the lack of it."""
    try:
        return SentFiles(path)
    except LocalError as error:
        log.event("sent.in_memory", level="warning", reason=error.reason, error=error.message)
        return SentFiles()


def _keep(
    request: OutputRequest,
    course: Course,
    error: CopilotError,
    *,
    transfer: Transfer,
    log: Log,
    cancel: CancelToken,
    told: Callable[[CopilotError], None] | None,
    guard: Callable[[CancelToken], None] | None,
) -> None:
    """What the task left, where it is not published because of the task itself: a store that failed would fail again."""
    if not isinstance(error, TaskError | OutputError) or request.mode is UploadMode.NONE or not request.keep_partial:
        return
    if told is not None:
        told(error)
    budget = Token(course.clock, timeout_s=request.timeout_s, parent=cancel, budget="--timeout")
    if guard is not None:
        try:
            with course.step("guard"):
                guard(budget)
        except CopilotError as refused:
            log.event("partial.refused", level="warning", reason=refused.reason, error=refused.message)
            return
    # What the task left may be much and the time short: the verdict is there before it, and once more after it.
    leave_receipt(request.target, course, transfer=transfer, log=log, cancel=cancel, error=error, beside=request.write_receipt)
    with course.step("partial"):
        course.partial = keep_partial(
            request.directory, request.target.output_prefix, transfer=transfer, log=log, cancel=budget
        )


def _verdict(
    request: OutputRequest, watchers: Sequence[CompletionWatcher], *, clock: Clock, log: Log, cancel: CancelToken
) -> Verdict:
    heard = await_completion(watchers, clock=clock, log=log, cancel=cancel)
    completions = heard.completions
    # A marker counts whoever was asked to watch: it is the task's own word, and it costs one look.
    marker = look_for_marker(request.directory, clock)
    if marker is not None and all(completion.reason != marker.reason for completion in completions):
        completions.append(marker)
    verdict = judge(completions, trust_signal=request.trust_signal)
    if verdict.outcome is Outcome.UNKNOWN and heard.failures:  # who might have known, and why we could not ask
        failure = heard.failures[-1]
        verdict = replace(verdict, why=f"{verdict.why}; {failure.message}", hint=failure.hint)
    log.event("task.ended", outcome=str(verdict.outcome), row=verdict.row, why=verdict.why, witnesses=list(verdict.witnesses))
    return verdict


def _publish(
    request: OutputRequest,
    declared: dict[str, idl.LiteralType],
    course: Course,
    *,
    transfer: Transfer,
    log: Log,
    cancel: CancelToken,
    guard: Callable[[CancelToken], None] | None,
    sent: SentFiles,
) -> tuple[OutputPlan, Published]:
    _raise_for(course.verdict, request.directory)
    reach("outputs.judged")
    if request.declare is not None:
        declared = output_types(request.declare(request.directory))
    with course.step("plan"):
        plan = plan_outputs(
            request.directory, declared, request.target, mode=request.mode, max_literal_bytes=request.max_literal_bytes
        )
    log.event("outputs.planned", outputs=len(declared), sends=len(plan.sends), offloaded=len(plan.offloaded))
    reach("outputs.planned")
    if guard is not None:
        with course.step("guard"):
            guard(cancel)
    with ExitStack() as held:
        spool = None
        if request.write_manifest:
            spool = held.enter_context(ManifestSpool(plan.target.outputs_uri, directory=request.scratch))
        with course.step("transfer"):
            manifest = _transfer(
                plan,
                request.directory,
                course,
                transfer=transfer,
                cancel=cancel,
                spool=spool,
                scratch=request.scratch,
                sent=sent,
            )
        reach("outputs.sent")
        with course.step("publish"):
            published = publish(manifest, plan, transfer=transfer, clock=course.clock, cancel=cancel, spool=spool)
    reach("outputs.committed")
    log.event(
        "outputs.published",
        uri=redact(published.outputs_uri),
        objects=manifest.objects,
        size_bytes=manifest.size_bytes,
        seconds=round(course.timings["transfer"], 3),
    )
    return plan, published


def _raise_for(verdict: Verdict | None, directory: Path) -> None:
    if verdict is None:
        raise InternalError("The task's end was not judged", op="completion")
    if verdict.row == Saw.ERROR_MARKER:
        raise task_error(directory)
    error = verdict.error()
    if error is not None:
        raise error


def _transfer(
    plan: OutputPlan,
    directory: Path,
    course: Course,
    *,
    transfer: Transfer,
    cancel: CancelToken,
    spool: ManifestSpool | None,
    scratch: Path | None,
    sent: SentFiles,
) -> Manifest:
    begun_s = course.clock.monotonic_s()
    walk = Walk(Path(os.path.abspath(directory)))  # noqa: PTH100 — Path.resolve would follow links

    def receipts() -> Iterator[Receipt]:
        if plan.sends:
            yield from walk.landed(transfer.send(walk.specs(by_size(plan.sends)), cancel, sent=sent))
        if not walk.finished:
            yield from walk.landed(transfer.send(walk.again(), cancel, sent=sent))
        for item in plan.offloaded:
            for receipt in _send_literal(item, transfer=transfer, scratch=scratch, cancel=cancel):
                yield replace(receipt, path="", variable=item.variable)
        if not walk.finished:
            raise InternalError("The transfer ended before everything had moved", op="transfer")

    def note(receipt: Receipt) -> None:
        seconds = course.clock.monotonic_s() - begun_s
        course.totals = Totals(course.totals.objects + 1, course.totals.size_bytes + receipt.size_bytes, seconds)
        if spool is not None:
            spool.add(receipt)

    specs = [send.spec for send in plan.sends] + [item.spec for item in plan.offloaded]
    return verify(specs, receipts(), each=note)


def _send_literal(item: Offloaded, *, transfer: Transfer, scratch: Path | None, cancel: CancelToken) -> Iterator[Receipt]:
    if isinstance(item.content, bytes):
        yield transfer.write(item.uri, item.content, cancel)
        return
    with item.content.spooled(scratch) as path:
        yield from transfer.send([SendSpec(path, item.uri, variable=item.variable)], cancel)

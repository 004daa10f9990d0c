"""How one run of the sidecar went, and ``_receipt.json``, which keeps it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from copilot.core import podfiles
from copilot.core.errors import CopilotError, Interrupted
from copilot.core.manifest import receipt_document
from copilot.core.uri import join, redact
from copilot.core.values import Totals
from copilot.engine.cancel import Late, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from copilot.core.completion import Verdict
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.engine.transfer import Transfer
    from copilot.upload.partial import Kept
    from copilot.upload.plan import OutputTarget
    from copilot.upload.publish import Published

_RECEIPT_TIMEOUT_S: Final = 15.0
_LATE_S: Final = 1.0  # what was kept in partial/ is told, though that took all the time there was


@dataclass(slots=True)
class Course:
    """What is known of one run so far."""

    clock: Clock
    began_s: float
    verdict: Verdict | None = None
    totals: Totals = field(default_factory=Totals)
    timings: dict[str, float] = field(default_factory=dict)
    partial: Kept | None = None
    mask: Callable[[str], str] | None = None
    run: Mapping[str, str] = field(default_factory=dict)
    published: Published | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of its body, in seconds, under ``name``."""
        begun_s = self.clock.monotonic_s()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + self.clock.monotonic_s() - begun_s

    def verdict_fields(self) -> dict[str, object]:
        """The verdict as the receipt has it; empty before there is one."""
        if self.verdict is None:
            return {}
        fields: dict[str, object] = {
            "outcome": str(self.verdict.outcome),
            "row": self.verdict.row,
            "why": self.verdict.why,
            "witnesses": list(self.verdict.witnesses),
        }
        if self.verdict.exit_code is not None:
            fields["exit_code"] = self.verdict.exit_code
        return fields | ({"evidence": dict(self.verdict.evidence)} if self.verdict.evidence else {})


def leave_receipt(
    target: OutputTarget,
    course: Course,
    *,
    transfer: Transfer,
    log: Log,
    cancel: CancelToken,
    error: CopilotError | None = None,
    beside: bool = True,
) -> None:
    """Writes ``_receipt.json`` if it can, ``beside`` outputs.pb and into ``partial/``: no end is worse for the lack of it."""
    # A store that cannot be reached would only be waited for once more, and who was told to stop should.
    if error is not None and (error.transient or isinstance(error, Interrupted)):
        return
    course.timings["total"] = course.clock.monotonic_s() - course.began_s
    failure = None if error is None else {"reason": error.reason, "message": error.message, "hint": error.hint}
    done = course.published
    document = receipt_document(
        published=error is None,
        outputs_uri=target.outputs_uri,
        verdict=course.verdict_fields(),
        totals=course.totals,
        timings=course.timings,
        failure=failure,
        partial=None if course.partial is None else course.partial.fields(),
        run=course.run,
        outputs_pb=None if done is None else {"size_bytes": done.size_bytes, "digest": done.digest},
    )
    if course.mask is not None:
        document = course.mask(document.decode()).encode()
    token = Token(
        course.clock,
        timeout_s=_RECEIPT_TIMEOUT_S,
        parent=Late(course.clock, cancel, _LATE_S),
        budget="the time for the receipt",
    )
    places = [course.partial.uri] if course.partial is not None and course.partial.objects else []
    places += [target.output_prefix] if beside else []
    for place in places:
        uri = join(place, podfiles.RECEIPT)
        try:
            transfer.write(uri, document, token)
        except CopilotError as no:
            log.event("receipt.failed", level="warning", uri=redact(uri), reason=no.reason, error=no.message)

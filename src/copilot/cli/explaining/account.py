"""What a run left behind, as an account for people: what happened, how that is known, what to do."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from copilot.cli.explaining.reasons import reasons
from copilot.core import podfiles
from copilot.core.errors import CompletionUnproven
from copilot.core.uri import join, parse

if TYPE_CHECKING:
    from copilot.cli.explaining.evidence import Evidence, Listed
    from copilot.cli.explaining.reasons import Reason

_LABEL_WIDTH: Final = 14
_MOST_CHARACTERS: Final = 800
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(slots=True)
class Account:
    """What happened.

    Attributes:
        uri: of what.
        state: ``published``, ``failed``, ``interrupted``, ``running``, ``ended`` or ``staged``.
        what: one sentence.
        reason: its code, where there is one.
        exit_code: what copilot ended with under its own name, where there is a reason.
        known_from: how we know.
        advice: what to do; several steps.
        there: what lies there.
    """

    uri: str
    state: str
    what: str
    reason: str = ""
    exit_code: int | None = None
    known_from: str = ""
    advice: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)

    def fields(self) -> dict[str, object]:
        """For scripts; what is not known is left out."""
        names = ("uri", "state", "what", "reason", "exit_code", "known_from", "advice", "there")
        return {name: value for name in names if (value := getattr(self, name)) not in ("", None, [])}

    def lines(self) -> Iterator[str]:
        """For people, as wide as the terminal."""
        yield f"{self.uri}: {self.state}"
        yield ""
        yield from _paragraph("What happened", self.what)
        if self.reason:
            code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
            yield from _paragraph("Reason code", f"{self.reason}{code}")
        yield from _paragraph("How we know", self.known_from)
        for index, step in enumerate(self.advice):
            yield from _paragraph("What to do" if index == 0 else "", step)
        for index, item in enumerate(self.there):
            yield from _paragraph("What is there" if index == 0 else "", item)


def account(evidence: Evidence) -> Account:
    """The account of what was found."""
    told = _published(evidence) or _failed(evidence) or _unfinished(evidence)
    told.known_from = told.known_from or _known_from(evidence)
    told.there = list(_there(evidence))
    return told


def _published(evidence: Evidence) -> Account | None:
    earlier = evidence.receipt.get("published") is False
    if podfiles.OUTPUTS_PB not in evidence.found or (earlier and not evidence.committed_since):
        return None
    if earlier:  # it tells of another run, and so does everything that is said of that
        evidence.receipt = {}
    moved = _totals(evidence)
    what = f"The task succeeded and its outputs are published{f': {moved} of files' if moved else ''}."
    told = Account(_name(evidence), "published", what)
    outputs = join(evidence.uri, podfiles.OUTPUTS_PB)
    told.advice.append(f"Read them: copilot show {shlex.quote(outputs)}")
    if evidence.error is not None:
        told.advice.append("The error document there is of another attempt: who looks for it first takes this run for failed.")
    return told


def _failed(evidence: Evidence) -> Account | None:
    failure = _inner(evidence.receipt, "failure")
    if failure:
        reason, what = _text(failure.get("reason")), _text(failure.get("message"))
        hint = _text(failure.get("hint"))
    elif evidence.error is not None:
        code, message = evidence.error
        reason, _, what = message.partition(": ")
        if reason not in reasons():
            reason, what = code, message
        hint = ""
    else:
        return None
    known = reasons().get(reason)
    told = Account(_name(evidence), "failed", _sentence(what), reason, None if known is None else known.exit_code)
    told.advice.extend(_advice(evidence, hint, known))
    if podfiles.OUTPUTS_PB in evidence.found:
        told.advice.append("outputs.pb there is of an earlier attempt that succeeded: this one published nothing.")
    return told


def _advice(evidence: Evidence, hint: str, known: Reason | None) -> Iterator[str]:
    if hint:
        yield _sentence(hint)
    # How a task's end is proven depends on who was heard: what helps one witness is no help to another.
    if known is not None and known.cure.rstrip(".") not in hint and not (hint and known.code == CompletionUnproven.reason):
        yield known.cure
    if evidence.partial is not None:
        where = join(evidence.uri, podfiles.PARTIAL)
        if parse(evidence.uri).scheme == "file":
            yield f"Look at what the task left: {where}"
        else:
            yield (
                "Fetch what the task left, into ./left/inputs/partial: copilot run --workdir left "
                f"-i {shlex.quote(f'partial={where}')} -- true"
            )


def _unfinished(evidence: Evidence) -> Account:
    """Nobody has written an end: the pod's own files say how far it came."""
    name = _name(evidence)
    if podfiles.MANIFEST in evidence.found or evidence.partial is not None:
        return Account(
            name,
            "interrupted",
            "The sidecar was ended before it could publish: outputs.pb, which is written last, is not there.",
            advice=["Run the task again, or start the same sidecar again where its output directory still exists."],
        )
    if evidence.wrapper_lives:
        return Account(name, "running", "The task runs.")
    if evidence.exitcode:
        return _exited(evidence, name)
    if podfiles.RUNNING in evidence.found:
        return Account(
            name,
            "interrupted",
            "copilot exec was killed before it could tell how the task ended: nothing will be published.",
            advice=["Look at the pod's events for an eviction or an OOM kill, and run it again."],
        )
    if podfiles.SUCCESS_MARKER in evidence.found:
        return Account(name, "ended", "The task wrote _SUCCESS; the sidecar has not published yet.")
    if podfiles.READY in evidence.found:
        return Account(name, "staged", f"The inputs are in place{_so_far(evidence)}.", advice=["The task may start."])
    if podfiles.ARMED in evidence.found:
        return Account(name, "running", f"The sidecar waits for the task's end{_so_far(evidence)}.")
    return Account(
        name,
        "interrupted",
        f"A transfer is going on, or was ended before it was done{_so_far(evidence)}.",
        advice=["Look at the log of the init container or the sidecar; what was fetched is used again by the next attempt."],
    )


def _exited(evidence: Evidence, name: str) -> Account:
    code = evidence.exitcode.get("code")
    why = ""
    if evidence.exitcode.get("timed_out") is True:
        why = " at its own deadline"
    elif evidence.exitcode.get("oom_kills"):
        why = " after the kernel's OOM killer had struck"
    elif evidence.exitcode.get("stop_signal"):
        why = " after it was told to stop"
    what = f"The task ended with exit code {code}{why}; the sidecar's end is not recorded here."
    return Account(name, "ended", what, advice=["Explain its output prefix as well: that is where the sidecar writes."])


def _known_from(evidence: Evidence) -> str:
    verdict = _inner(evidence.receipt, "verdict")
    if verdict:
        witnesses = verdict.get("witnesses")
        by = f" (heard: {', '.join(map(_text, witnesses))})" if isinstance(witnesses, list) and witnesses else ""
        return f"{_text(verdict.get('why'))}{by}"
    if evidence.receipt:
        return "the receipt; how the task ended was not asked"
    if evidence.error is not None:
        return "the error document"
    return ""


def _there(evidence: Evidence) -> Iterator[str]:
    if evidence.found:
        yield ", ".join(evidence.found)
    if evidence.partial is not None:
        yield f"{podfiles.PARTIAL}: {_listed(evidence.partial)}"
    timings = _inner(evidence.receipt, "timings_s")
    if timings:
        yield "took " + ", ".join(f"{name} {seconds} s" for name, seconds in timings.items())


def _listed(listed: Listed) -> str:
    names = ", ".join(map(_text, listed.names)) + (", …" if listed.objects > len(listed.names) else "")
    least = "more than " if listed.more else ""
    return f"{least}{_count(listed.objects)}, {size(listed.size_bytes)} ({names})"


def _totals(evidence: Evidence) -> str:
    totals = _inner(evidence.receipt, "totals") or _inner(evidence.manifest, "totals")
    objects, size_bytes = totals.get("objects"), totals.get("size_bytes")
    if not isinstance(objects, int) or not isinstance(size_bytes, int) or not objects:
        return ""
    return f"{_count(objects)}, {size(size_bytes)}"


def _so_far(evidence: Evidence) -> str:
    objects, planned = evidence.progress.get("objects"), evidence.progress.get("objects_planned")
    if not isinstance(objects, int) or not isinstance(planned, int) or not planned:
        return ""
    return f": {objects} of {_count(planned)} moved"


def _count(objects: int) -> str:
    return "1 object" if objects == 1 else f"{objects:,} objects"


def size(size_bytes: float) -> str:
    """``12 bytes``, ``3.4 MiB``."""
    unit = 0
    while size_bytes >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - binary units
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.0f} {_UNITS[unit]}" if unit == 0 else f"{size_bytes:.1f} {_UNITS[unit]}"


def _inner(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _name(evidence: Evidence) -> str:
    return _text(parse(evidence.uri).redacted())


def _text(value: object) -> str:
    """As a terminal may show it: what a task wrote could hold its control characters."""
    text = "".join(character if character.isprintable() else " " for character in str(value or ""))
    text = " ".join(text.split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} …"


def _sentence(value: str) -> str:
    text = _text(value)
    text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?…" else f"{text}."


def _paragraph(label: str, text: str) -> Iterator[str]:
    if not text:
        return
    width = max(40, min(110, shutil.get_terminal_size().columns))
    indent = " " * (_LABEL_WIDTH + 1)
    wrapped = textwrap.wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False)
    for index, line in enumerate(wrapped):
        yield f"{label if index == 0 else '':<{_LABEL_WIDTH}} {line}"

"""Looking for secrets in what a task leaves behind, in every spelling of ``core.secret_forms``, over the seams of chunks."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from copilot.core.errors import SecretLeaked, UnreadableOutput
from copilot.core.secret_forms import forms, leaves
from copilot.core.secret_mask import SHORTEST_BYTES
from copilot.core.secret_refs import describe_ref

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from copilot.core.ports import CancelToken, Log
    from copilot.core.secret_ports import SecretRef, SecretValue

_CHUNK_BYTES = 1024 * 1024
_SETTLED_NS = 2_000_000_000
"""A file that changed later than this before it was read may change once more and look the same: times are coarse."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One secret in one place.

    Attributes:
        where: the file, or whatever the stream is called.
        secret: the reference, described; never the value.
        form: ``raw``, ``hex``, ``base64``, ``url`` or ``json``.
        offset: where it begins, in bytes.
    """

    where: str
    secret: str
    form: str
    offset: int


class LeakGuard:
    """Looks for a set of values. Build it once; it holds the values, and remembers which files it has found clean.

    Args:
        values: what to look for; of a JSON secret also the fields whose names sound secret.
    """

    def __init__(self, values: Iterable[tuple[SecretRef, SecretValue]]) -> None:
        """See the class."""
        self._needles: dict[bytes, tuple[str, str]] = {}
        for ref, value in values:
            raw = value.reveal()
            for text in (raw, raw.strip(), *leaves(raw, sensitive=True)):
                if len(text) >= SHORTEST_BYTES:
                    for needle, form in forms(text):
                        self._needles.setdefault(needle, (describe_ref(ref), form))
        self._longest = max(map(len, self._needles), default=0)
        self._clean: dict[Path, tuple[int, ...]] = {}
        self._told: set[Finding] = set()

    def scan(self, chunks: Iterable[bytes | memoryview], where: str) -> Finding | None:
        """The first secret in a stream; None for none. Holds a chunk and the tail of the one before."""
        tail, begins_at = b"", 0
        for chunk in chunks:
            window = tail + chunk
            found = self._first(window, where, begins_at)
            if found is not None:
                return found
            kept = min(len(window), max(0, self._longest - 1))
            begins_at += len(window) - kept
            tail = window[len(window) - kept :]
        return None

    def scan_tree(self, root: Path, cancel: CancelToken) -> Iterator[Finding]:
        """The first secret of every file at or below ``root``, and every name that holds one. Links are not followed.

        Raises:
            UnreadableOutput: a file cannot be read, so nothing can be said of it.
        """
        if not self._needles:
            return
        pending = [root]
        while pending:
            path = pending.pop()
            cancel.check()
            named = self._first(str(path.relative_to(root.parent)).encode(errors="surrogateescape"), f"the name of {path}", 0)
            try:
                facts, found = path.lstat(), None
                if stat.S_ISDIR(facts.st_mode):
                    pending += sorted(path.iterdir(), reverse=True)
                elif stat.S_ISREG(facts.st_mode) and self._clean.get(path) != _shape(facts):
                    with path.open("rb") as stream:
                        found = self.scan(_chunks(stream, cancel), str(path))
                    if found is None and time.time_ns() - facts.st_ctime_ns > _SETTLED_NS:
                        self._clean[path] = _shape(facts)
            except FileNotFoundError:
                continue  # a task's temporary file that went away meanwhile leaks nothing
            except OSError as cause:
                raise UnreadableOutput(
                    f"{path} cannot be read, so it cannot be told whether it holds a secret", op="scan", subject=str(path)
                ) from cause
            if named is not None:
                # The name is the leak: it is not printed.
                yield Finding(str(path.parent), named.secret, named.form, 0)
            if found is not None:
                yield found

    def enforce(self, roots: Iterable[Path], policy: str, log: Log, cancel: CancelToken) -> list[Finding]:
        """Scans ``roots`` under ``policy``: ``off`` looks at nothing, ``warn`` logs, ``refuse`` logs and raises.

        Raises:
            SecretLeaked: something was found, and the policy is ``refuse``.
        """
        if policy == "off":
            return []
        findings = [finding for root in roots for finding in self.scan_tree(root, cancel)]
        for finding in findings:
            if finding in self._told:
                continue
            self._told.add(finding)
            log.event(
                "secret.leaked",
                level="error" if policy == "refuse" else "warning",
                path=finding.where,
                secret=finding.secret,
                form=finding.form,
                offset=finding.offset,
            )
        if findings and policy == "refuse":
            first = findings[0]
            raise SecretLeaked(
                f"the output {first.where} holds the secret {first.secret} ({first.form})",
                op="publish",
                subject=first.where,
                hint="Keep it out of the task's outputs, or run with --leak-guard=warn.",
            )
        return findings

    def _first(self, window: bytes, where: str, begins_at: int) -> Finding | None:
        best: tuple[int, str, str] | None = None
        for needle, (secret, form) in self._needles.items():
            at = window.find(needle, 0, None if best is None else best[0] + len(needle))
            if at >= 0 and (best is None or at < best[0]):
                best = (at, secret, form)
        return None if best is None else Finding(where, best[1], best[2], begins_at + best[0])


def _shape(facts: os.stat_result) -> tuple[int, ...]:
    """What changes with a file's content; the time of its last change cannot be set by anybody."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _chunks(stream: BinaryIO, cancel: CancelToken) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        cancel.check()
        yield chunk

"""Exactly once: what an earlier life of this very sidecar has published is not published again.

A native sidecar is started anew even after it has ended well, and even under ``restartPolicy: Never``. What it has done then
stands in two places. The note ``published`` in the control directory is its last act. Where that volume is lost, or there was
none, the receipt beside ``outputs.pb`` tells which pod has written it: the same place may hold what an earlier attempt left.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from copilot.core import podfiles
from copilot.core.errors import DeadlineExceeded, LocalError, ObjectNotFound, StoreError
from copilot.core.uri import join, redact
from copilot.engine.atomic import write_file
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.engine.transfer import Transfer
    from copilot.upload.plan import OutputTarget
    from copilot.upload.warm import FirstLook

FORMAT: Final = "copilot-published/1"
_SOON_S: Final = 5.0
_MAX_BYTES: Final = 64 * 1024
_MAX_RECEIPT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """Which run of a task this is, as far as anything says.

    Attributes:
        pod: the pod's UID.
        wrapper: which run of ``copilot exec``: its lock file's number and time.
        marker: which ``_SUCCESS``: the same of that file.
    """

    pod: str = ""
    wrapper: str = ""
    marker: str = ""

    @property
    def known(self) -> bool:
        """Whether anything tells it from another run."""
        return bool(self.pod or self.wrapper or self.marker)

    def fields(self) -> dict[str, str]:
        """What is known of it."""
        return {name: value for name, value in asdict(self).items() if value}

    def is_of_pod(self, told: Mapping[str, object]) -> bool:
        """Whether ``told`` is this run as well, as seen by a sidecar whose volumes may have been lost since."""
        return bool(self.pod) and told.get("pod") == self.pod and all(told.get(k, v) == v for k, v in self.fields().items())


class Earlier:
    """What earlier lives of this sidecar have done.

    Args:
        directory: where the task writes its outputs.
        control_dir: where the note is kept; None keeps none.
        target: where the outputs go.
        pod: our pod's UID; empty where it is not known.
        transfer: the engine.
        log: hears ``outputs.already_published``, ``published.not_noted``, ``published.unknown``.
        first_look: whether ``outputs.pb`` was there when this process began.
    """

    def __init__(
        self,
        directory: Path,
        control_dir: Path | None,
        target: OutputTarget,
        *,
        pod: str,
        transfer: Transfer,
        log: Log,
        first_look: FirstLook,
    ) -> None:
        """See the class."""
        self._directory = directory
        self._control_dir = control_dir
        self._target = target
        self._pod = pod
        self._transfer = transfer
        self._log = log
        self._first_look = first_look

    def run(self) -> Run:
        """The run that is going on, or has just ended."""
        wrapper = "" if self._control_dir is None else _stamp(self._control_dir / podfiles.RUNNING)
        return Run(self._pod, wrapper, _stamp(self._directory / podfiles.SUCCESS_MARKER))

    def noted(self) -> bool:
        """Whether the control directory says that this run is published. Costs nothing: the store is not asked."""
        told, run = self._note(), self.run()
        if not told or told != run.fields():
            return False
        self._tell("the control directory")
        return True

    def stored(self, cancel: CancelToken) -> bool:
        """Whether the store says so: ``outputs.pb`` was there when we began, and its receipt names this pod and its bytes.

        Raises:
            StoreError: the store does not answer.
            Interrupted: ``cancel`` said so.
        """
        # A note of another run: our volumes are whole, and the store's word on this pod is of that run as well.
        if not self._pod or self._note() or self._first_look.absent(cancel):
            return False
        try:
            receipt = _fields(self._read(join(self._target.output_prefix, podfiles.RECEIPT), cancel, _MAX_RECEIPT_BYTES))
            told, outputs = _inner(receipt, "run"), _inner(receipt, "outputs_pb")
            if receipt.get("published") is not True or not self.run().is_of_pod(told):
                return False
            if receipt.get("outputs") != redact(self._target.outputs_uri):
                return False
            content = self._read(self._target.outputs_uri, cancel)
        except ObjectNotFound:
            return False
        except StoreError as error:
            if error.transient:
                raise
            # Who may write and not read cannot know: publishing the same once more does no harm.
            self._log.event("published.unknown", level="debug", reason=error.reason, error=error.message)
            return False
        if outputs.get("digest") != f"sha256:{hashlib.sha256(content).hexdigest()}":
            return False
        self._tell("the store")
        return True

    def stored_already(self, cancel: CancelToken, clock: Clock) -> bool:
        """As ``stored``, asked before the task has ended: a store that does not answer soon will be asked again."""
        try:
            return self.stored(Token(clock, timeout_s=_SOON_S, parent=cancel, budget="the time for a first look"))
        except (StoreError, DeadlineExceeded) as error:
            cancel.check()
            self._log.event("published.unknown", level="debug", reason=error.reason, error=error.message)
            return False

    def note(self, run: Run) -> None:
        """The last act: ``run`` is published. No end is worse for the lack of it."""
        if self._control_dir is None or not run.known:
            return
        document = {"format": FORMAT, "outputs": redact(self._target.outputs_uri), "run": run.fields()}
        try:
            write_file(self._control_dir / podfiles.PUBLISHED, f"{json.dumps(document)}\n".encode())
        except LocalError as error:
            self._log.event("published.not_noted", level="warning", reason=error.reason, error=error.message)

    def _note(self) -> dict[str, object]:
        """The run that the note is of; empty without one, and for one of another place."""
        if self._control_dir is None:
            return {}
        try:
            with (self._control_dir / podfiles.PUBLISHED).open("rb") as file:
                note = _fields(file.read(_MAX_BYTES))
        except OSError:
            return {}
        if note.get("format") != FORMAT or note.get("outputs") != redact(self._target.outputs_uri):
            return {}
        return _inner(note, "run")

    def _tell(self, who: str) -> None:
        self._log.event("outputs.already_published", uri=redact(self._target.outputs_uri), known_from=who)

    def _read(self, uri: str, cancel: CancelToken, max_bytes: int | None = None) -> bytes:
        return self._transfer.read(uri, cancel, max_bytes=max_bytes)


def _stamp(path: Path) -> str:
    """A file that was made anew has another; empty where there is none."""
    try:
        facts = os.lstat(path)
    except OSError:
        return ""
    return f"{facts.st_ino}-{facts.st_mtime_ns}"


def _fields(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _inner(fields: Mapping[str, object], name: str) -> dict[str, object]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}

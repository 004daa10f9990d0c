"""``_manifest.json``, then ``outputs.pb`` last, as one put: that put is the commit, and nothing before it counts."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from copilot.core import podfiles
from copilot.core.manifest import manifest_head, manifest_line, manifest_tail
from copilot.core.uri import join
from copilot.core.values import SendSpec, Totals
from copilot.engine.atomic import local_errors
from copilot.engine.cancel import Late
from copilot.engine.crashpoints import reach

if TYPE_CHECKING:
    from types import TracebackType

    from copilot.core.ports import CancelToken, Clock
    from copilot.core.values import Receipt
    from copilot.engine.transfer import Transfer
    from copilot.engine.verify import Manifest
    from copilot.upload.plan import OutputPlan

_ANSWER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Published:
    """The commit.

    Attributes:
        outputs_uri: ``outputs.pb``.
        manifest_uri: ``_manifest.json``; empty where none was wanted.
        size_bytes: of ``outputs.pb``.
        digest: of ``outputs.pb``, ``sha256:<hex>``.
    """

    outputs_uri: str
    manifest_uri: str
    size_bytes: int = 0
    digest: str = ""


class ManifestSpool:
    """Receipts on their way into ``_manifest.json``, on disk: memory does not grow with their number.

    Args:
        outputs_uri: what the manifest belongs to.
        directory: where the temporary file is made; None for the system's own place.
    """

    def __init__(self, outputs_uri: str, *, directory: Path | None = None) -> None:
        """See the class. Raises ``LocalError`` when there is no place to write."""
        where = directory or Path(tempfile.gettempdir())
        with local_errors(where):
            self._directory = tempfile.TemporaryDirectory(prefix="copilot-manifest-", dir=directory)
            self.path = Path(self._directory.name) / podfiles.MANIFEST
            self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace")
            self._file.write(manifest_head(outputs_uri))
        self._first = True

    def add(self, receipt: Receipt) -> None:
        """One object more."""
        with local_errors(self.path):
            self._file.write(manifest_line(receipt, first=self._first))
        self._first = False

    def close(self, manifest: Manifest, outputs: bytes) -> Path:
        """The finished file."""
        tail = manifest_tail(
            totals=Totals(manifest.objects, manifest.size_bytes),
            digest=manifest.digest,
            outputs_size_bytes=len(outputs),
            outputs_sha256=hashlib.sha256(outputs).hexdigest(),
        )
        with local_errors(self.path):
            self._file.write(tail)
            self._file.close()
        return self.path

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The file is gone, however it ended."""
        try:
            self._file.close()
        except OSError:  # a full disk shows here once more; the first error is the one that is raised
            pass
        finally:
            self._directory.cleanup()


def publish(
    manifest: Manifest,
    plan: OutputPlan,
    *,
    transfer: Transfer,
    clock: Clock,
    cancel: CancelToken,
    spool: ManifestSpool | None = None,
) -> Published:
    """Makes the outputs visible. The manifest proves that everything a literal names is there.

    Args:
        manifest: from ``engine.verify``, of everything the plan sends.
        plan: what is published.
        transfer: the engine.
        clock: time.
        cancel: when to give up. Who is told so while outputs.pb is on its way waits a little for the store's answer: else it
            would be said that nothing is published where something is.
        spool: the receipts for ``_manifest.json``; None writes none.

    Raises:
        StoreError, Interrupted: nothing is published then, whatever else was written, but for a commit that reached a store
            whose answer never came.
    """
    outputs = plan.literals.SerializeToString(deterministic=True)
    manifest_uri = ""
    if spool is not None:
        manifest_uri = join(plan.target.output_prefix, podfiles.MANIFEST)
        spec = SendSpec(spool.close(manifest, outputs), manifest_uri)
        for _ in transfer.send([spec], cancel):
            pass
        reach("manifest.written")
    cancel.check()
    transfer.write(plan.target.outputs_uri, outputs, Late(clock, cancel, _ANSWER_S))
    digest = f"sha256:{hashlib.sha256(outputs).hexdigest()}"
    return Published(plan.target.outputs_uri, manifest_uri, len(outputs), digest)

"""A task's output directory, a store in this process, and the whole sidecar between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from copilot.core import idl
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.transfer import Transfer
from copilot.stores.registry import OpenStores, open_stores
from copilot.testing.recording import RecordingLog, RecordingProgress
from copilot.upload.plan import OutputTarget
from copilot.upload.run import OutputRequest, OutputsPublished, publish_outputs
from copilot.upload.watchers.noop import NoopWatcher

if TYPE_CHECKING:
    from copilot.core.ports import CompletionWatcher


@dataclass(slots=True)
class World:
    """One task, and where its outputs go."""

    out: Path
    stores: OpenStores
    raw: str = "memory://bucket/raw"
    meta: str = "memory://bucket/meta"
    log: RecordingLog = field(default_factory=RecordingLog)
    progress: RecordingProgress = field(default_factory=RecordingProgress)
    clock: SystemClock = field(default_factory=SystemClock)

    def wrote(self, files: Mapping[str, str | bytes | None]) -> None:
        """What the task left; None is an empty directory."""
        for name, content in files.items():
            path = self.out / name
            if content is None:
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def transfer(self) -> Transfer:
        return Transfer(self.stores, limits=Limits(max_workers=4), clock=self.clock, log=self.log, progress=self.progress)

    def publish(
        self,
        types: Mapping[str, idl.LiteralType],
        *,
        watchers: Sequence[CompletionWatcher] | None = None,
        transfer: object | None = None,
        **request: Any,  # noqa: ANN401 — the fields of OutputRequest
    ) -> OutputsPublished:
        start = request.pop("start", None)
        cancel = request.pop("cancel", None) or Token(self.clock, timeout_s=60)
        asked = {"directory": self.out, "target": OutputTarget(self.raw, self.meta), "interface": interface(types)} | request
        return publish_outputs(
            OutputRequest(**asked),
            transfer=cast("Transfer", transfer or self.transfer),
            watchers=[NoopWatcher(self.clock)] if watchers is None else watchers,
            clock=self.clock,
            log=self.log,
            cancel=cancel,
            start=start,
        )

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Everything below a prefix, by relative key."""
        location = self.stores.locate(prefix.rstrip("/") + "/")
        found: dict[str, bytes] = {}
        for info in location.store.list(location.key):
            with location.store.get(info.key) as stream:
                found[info.key.removeprefix(location.key)] = b"".join(bytes(chunk) for chunk in stream)
        return found

    def outputs(self, name: str = "outputs.pb") -> dict[str, idl.Literal]:
        return dict(idl.LiteralMap.FromString(self.objects(self.meta)[name]).literals)

    def document(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.objects(self.meta)[name])
        return document


INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)


def interface(types: Mapping[str, idl.LiteralType]) -> idl.TypedInterface:
    built = idl.TypedInterface()
    for name, literal_type in types.items():
        entry = built.outputs.variables.add()
        entry.key = name
        entry.value.type.CopyFrom(literal_type)
    return built


@pytest.fixture
def world(tmp_path: Path) -> World:
    out = tmp_path / "outputs"
    out.mkdir()
    return World(out, open_stores())

"""What the tests of the inputs share: an engine over stores in memory, on a clock that nobody waits for."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.download.run import InputRequest, InputsManifest, stage_inputs
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.transfer import Transfer
from copilot.stores.registry import open_stores
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog, RecordingProgress

if TYPE_CHECKING:
    from copilot.core.ports import Location, Stores

SOURCE = "s3://bucket/in/inputs.pb"


@dataclass
class InMemory:
    """Stores in which every bucket is one of this process: s3://b/k is memory://b/k."""

    inner: Stores = field(default_factory=open_stores)

    def locate(self, uri: str) -> Location:
        return replace(self.inner.locate(uri.replace("s3://", "memory://", 1)), uri=uri)


@dataclass
class Room:
    """Everything ``stage_inputs`` needs, the directory it fills, and what it told the log."""

    inputs: Path
    control: Path
    stores: Stores = field(default_factory=InMemory)
    clock: FakeClock = field(default_factory=FakeClock)
    log: RecordingLog = field(default_factory=RecordingLog)
    progress: RecordingProgress = field(default_factory=RecordingProgress)

    def __post_init__(self) -> None:
        self.cancel = Token(self.clock)
        self.transfer = Transfer(
            self.stores, limits=Limits(), clock=self.clock, log=self.log, progress=self.progress, rng=random.Random(7)
        )

    def put(self, uri: str, content: bytes | str) -> str:
        self.transfer.write(uri, content.encode() if isinstance(content, str) else content, self.cancel)
        return uri

    def request(self, literals: idl.LiteralMap | None = None, **options: object) -> InputRequest:
        if literals is not None:
            self.put(SOURCE, literals.SerializeToString())
        return replace(InputRequest(directory=self.inputs, source=SOURCE), **options)  # type: ignore[arg-type]

    def stage(self, request: InputRequest, *, ask_sizes: bool = False) -> InputsManifest:
        return stage_inputs(
            request,
            transfer=self.transfer,
            clock=self.clock,
            log=self.log,
            cancel=self.cancel,
            stores=self.stores if ask_sizes else None,
        )

    def tree(self, directory: Path | None = None) -> dict[str, bytes | None]:
        """Every file in the input directory with its content, and every empty directory as None."""
        top = directory or self.inputs
        found: dict[str, bytes | None] = {}
        for path in sorted(top.rglob("*")):
            name = path.relative_to(top).as_posix()
            if path.is_file():
                found[name] = path.read_bytes()
            elif not any(path.iterdir()):
                found[name] = None
        return found

    def values(self) -> dict[str, bytes | None]:
        """``tree`` without the documents."""
        return {name: content for name, content in self.tree().items() if not name.startswith("inputs.")}

    def literals(self) -> idl.LiteralMap:
        return idl.LiteralMap.FromString((self.inputs / "inputs.pb").read_bytes())


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "inputs", tmp_path / "control")

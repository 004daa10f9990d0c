"""What is kept of a story that went wrong: enough to say why, and to tell it again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.pod_story import Story

KEEP_IN = "COPILOT_KILL_EVIDENCE"


@dataclass
class Telling:
    """One story as it was told; with it alone it can be told again.

    Attributes:
        seed: of the task's data and of the choices.
        kind: ``init`` or ``sidecar``.
        mounted: whether the input directory is a mount point.
        mode: the sidecar's ``--upload-mode``.
        kill_after_s: of each run, in order; the run after the last is left alone.
        codes: how each run ended.
    """

    seed: int
    kind: str
    mounted: bool = False
    mode: str = "UPLOAD_ON_EXIT"
    kill_after_s: list[float] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Telling:
        """What ``keep`` has written, not yet told."""
        found = json.loads(path.read_text())
        return cls(found["seed"], found["kind"], found["mounted"], found["mode"], found["kill_after_s"])


def keep(story: Story, telling: Telling, why: BaseException, default: Path, server_log: Path | None) -> Path:
    """Everything there is to see, in a directory of its own; its path.

    ``story.json`` tells the story again; ``why`` is what was wrong, ``log`` what every run of the pod said (each begins with a
    line of its own), ``server.log`` what the server said, ``pod/`` the volumes with the journal as they are, ``files`` their
    sizes and times, ``store`` what lies below the prefix and which uploads are unfinished, with their parts.
    """
    place = Path(os.environ.get(KEEP_IN) or default) / f"story-{telling.kind}-{telling.seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "story.json").write_text(json.dumps(asdict(telling), indent=1))
    (place / "why").write_text(f"{type(why).__name__}: {why}\n")
    (place / "log").write_text(story.told())
    (place / "files").write_text(_files(story.home))
    shutil.copytree(story.home, place / "pod", symlinks=True, ignore=shutil.ignore_patterns("log"))
    (place / "store").write_text(json.dumps(_store(story), indent=1))
    if server_log is not None and server_log.exists():
        shutil.copy(server_log, place / "server.log")
    return place


def _files(home: Path) -> str:
    lines = []
    for path in sorted(home.rglob("*")):
        facts = path.lstat()
        lines.append(f"{facts.st_mtime:.3f} {facts.st_mode:06o} {facts.st_size:>10} {path.relative_to(home)}\n")
    return "".join(lines)


def _store(story: Story) -> dict[str, Any]:
    server, bucket = story.inputs.server, story.inputs.bucket
    asked: dict[str, Any] = {}
    for name, query in (
        ("objects", {"list-type": "2", "prefix": f"{story.prefix}/"}),
        ("uploads", {"uploads": "", "prefix": f"{story.prefix}/"}),
    ):
        asked[name] = server.signer.request("GET", f"/{bucket}", query=query).body.decode(errors="replace")
    asked["parts"] = {
        f"{key} {upload}": server.signer.request("GET", f"/{bucket}/{key}", query={"uploadId": upload}).body.decode(
            errors="replace"
        )
        for key, upload in story.unfinished_uploads()
    }
    return asked

"""One task's data, in and out, on a real S3 server: what init and the sidecar are to do, and how to see whether it is right."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core import idl

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

EXECUTABLE = Path(sys.executable).with_name("copilot")
MIB = 1024 * 1024
FORKSERVER = Path(__file__).with_name("forkserver.py")


def _literal(*, uri: str, tree: bool = False) -> idl.Literal:
    literal = idl.Literal()
    literal.scalar.blob.uri = uri
    if tree:
        literal.scalar.blob.metadata.type.dimensionality = idl.BlobType.MULTIPART
    return literal


@dataclass
class Inputs:
    """What lies in the bucket for init, made once."""

    server: S3Server
    bucket: str
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dice = random.Random(4)
        self.files["model"] = dice.randbytes(9 * MIB + 12_345)
        for number in range(10):
            self.files[f"tree/{number}"] = dice.randbytes(3_000 + number)
        for name, content in self.files.items():
            self.server.poke(self.bucket, f"in/{name}", content)
        literals = idl.LiteralMap()
        literals.literals["model"].CopyFrom(_literal(uri=f"s3://{self.bucket}/in/model"))
        literals.literals["tree"].CopyFrom(_literal(uri=f"s3://{self.bucket}/in/tree", tree=True))
        literals.literals["n"].scalar.primitive.integer = 7
        self.server.poke(self.bucket, "in/inputs.pb", literals.SerializeToString())


@dataclass
class Story:
    """One pod. ``home`` holds its volumes."""

    home: Path
    inputs: Inputs
    prefix: str
    mounted: bool = False

    def __post_init__(self) -> None:
        self.into, self.outof, self.control = self.home / "in", self.home / "out", self.home / "control"
        self.control.mkdir(parents=True)
        if self.mounted:
            self.into.mkdir()
        self.log = self.home / "log"
        self.written: dict[str, bytes] = {}

    @property
    def environ(self) -> dict[str, str]:
        return {
            **self.inputs.server.environ,
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "COPILOT_CONTROL_DIR": str(self.control),
            "COPILOT_PART_SIZE": "1MiB",
        }

    def init_argv(self) -> list[str]:
        source = f"s3://{self.inputs.bucket}/in/inputs.pb"
        return [str(EXECUTABLE), "init", "--inputs", source, "--to", str(self.into)]

    def sidecar_argv(self, mode: str = "UPLOAD_ON_EXIT") -> list[str]:
        types = idl.TypedInterface()
        types.outputs.variables.add(key="weights").value.type.blob.SetInParent()
        types.outputs.variables.add(key="logs").value.type.blob.dimensionality = idl.BlobType.MULTIPART
        types.outputs.variables.add(key="n").value.type.simple = idl.SimpleType.INTEGER
        interface = base64.b64encode(types.SerializeToString()).decode()
        where = f"s3://{self.inputs.bucket}/{self.prefix}"
        return [
            str(EXECUTABLE), "sidecar", "--from-local-dir", str(self.outof), "--to-raw-output", f"{where}/raw",
            "--to-output-prefix", f"{where}/meta", "--interface", interface, "--upload-mode", mode,
        ]  # fmt: skip

    def task_ends(self, seed: int) -> None:
        """The task writes its outputs, and says that it is done."""
        dice = random.Random(seed)
        self.written = {"weights": dice.randbytes(11 * MIB + 321), **{f"logs/{n}": dice.randbytes(2_000 + n) for n in range(5)}}
        for name, content in {**self.written, "n": b"42"}.items():
            path = self.outof / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (self.outof / "_SUCCESS").touch()

    def run(self, argv: list[str], crash_at: str = "") -> int:
        """A process of its own; its exit code, or minus the signal that killed it."""
        with self.log.open("ab") as log:
            environ = {**self.environ, **({"COPILOT_CRASH_AT": crash_at} if crash_at else {})}
            return subprocess.run(argv, env=environ, stdout=log, stderr=log, check=False, timeout=120).returncode

    def told(self) -> str:
        return self.log.read_text()

    # --- what may be seen at any moment ---------------------------------------------------------------------------------

    def check_nothing_partial_in_place(self) -> None:
        """Whatever has its final name is whole; inputs.pb is there only with everything else."""
        if not self.into.exists():
            return
        names = {path.name for path in self.into.iterdir() if not path.name.startswith(".copilot-staging")}
        expected = {**self.inputs.files, "n": b"7"}
        for name, content in expected.items():
            if name.partition("/")[0] in names:
                assert (self.into / name).read_bytes() == content, name
        if "inputs.pb" in names:
            assert names == {"inputs.pb", "inputs.json", "model", "tree", "n"}
        if (self.control / "READY").exists():
            assert "inputs.pb" in names

    def check_nothing_partial_in_store(self) -> None:
        """The same for the store: every object is whole, and outputs.pb is there only with everything it names."""
        there = self.objects()
        for name, content in self.written.items():
            if f"raw/{name}" in there:
                assert self.inputs.server.peek(self.inputs.bucket, f"{self.prefix}/raw/{name}") == content, name
        if "meta/outputs.pb" in there:
            assert {f"raw/{name}" for name in self.written} <= there

    # --- what must be at the end --------------------------------------------------------------------------------------------

    def check_inputs(self) -> None:
        self.check_nothing_partial_in_place()
        found = {str(path.relative_to(self.into)) for path in self.into.rglob("*") if path.is_file()}
        assert found == {*self.inputs.files, "n", "inputs.pb", "inputs.json"}
        assert (self.control / "READY").exists()
        assert [path.name for path in self.home.iterdir() if path.name.startswith(".copilot")] == []

    def check_outputs(self) -> None:
        self.check_nothing_partial_in_store()
        expected = {f"raw/{name}" for name in self.written} | {
            f"meta/{n}" for n in ("outputs.pb", "_manifest.json", "_receipt.json")
        }
        assert self.objects() == expected
        literals = idl.LiteralMap.FromString(
            self.inputs.server.peek(self.inputs.bucket, f"{self.prefix}/meta/outputs.pb") or b""
        )
        assert literals.literals["n"].scalar.primitive.integer == 42
        assert literals.literals["weights"].scalar.blob.uri == f"s3://{self.inputs.bucket}/{self.prefix}/raw/weights"
        manifest = json.loads(self.inputs.server.peek(self.inputs.bucket, f"{self.prefix}/meta/_manifest.json") or b"")
        assert {entry["path"] for entry in manifest["objects"]} == set(self.written)
        assert self.unfinished() == []

    def objects(self) -> set[str]:
        query = {"list-type": "2", "prefix": f"{self.prefix}/"}
        answer = self.inputs.server.signer.request("GET", f"/{self.inputs.bucket}", query=query)
        keys = re.findall(rb"<Key>([^<]*)</Key>", answer.body)
        return {key.decode().removeprefix(f"{self.prefix}/") for key in keys}

    def unfinished(self) -> list[str]:
        return [key for key, _ in self.unfinished_uploads()]

    def unfinished_uploads(self) -> list[tuple[str, str]]:
        query = {"uploads": "", "prefix": f"{self.prefix}/"}
        answer = self.inputs.server.signer.request("GET", f"/{self.inputs.bucket}", query=query)
        assert answer.status == 200
        keys = [key.decode() for key in re.findall(rb"<Key>([^<]*)</Key>", answer.body)]
        return list(
            zip(keys, [name.decode() for name in re.findall(rb"<UploadId>([^<]*)</UploadId>", answer.body)], strict=True)
        )


class Forks:
    """A process that forks copilots."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(FORKSERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, story: Story, argv: list[str], kill_after_s: float | None = None) -> int:
        """As ``Story.run``, killed after that time if it still runs."""
        with story.log.open("a") as log:
            log.write(f"--- a run begins at {time.time():.3f}, to be killed after {kill_after_s} s\n")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"argv": argv, "environ": story.environ, "log": str(story.log), "kill_after_s": kill_after_s}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code: int = json.loads(self._process.stdout.readline())["code"]
        return code

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

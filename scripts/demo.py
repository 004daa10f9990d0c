"""The main job on real data: init, task and sidecar as three processes, as a pod runs them. Started by ``scripts/demo``."""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from copilot.core import idl
from copilot.testing.secret_servers.openbao import OpenBao, openbao
from copilot.testing.servers.s3 import S3Server, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK = Path(__file__).resolve().parent.parent / "examples" / "airports" / "task.py"
COPILOT = str(Path(sys.executable).with_name("copilot"))
BUCKET = "demo"
RUN = f"s3://{BUCKET}/runs/airports"
ARMED_WITHIN_S = 10
GOOD, BAD = "\033[32m✓\033[0m", "\033[31m✗\033[0m"


def main() -> None:
    options = argparse.ArgumentParser(description="Show the main job on a real S3 server with real public data.")
    options.add_argument("--country", default="US", help="two letters; default US")
    options.add_argument("--above", default=1500, type=int, metavar="METRES", help="only airports this high; default 1500")
    options.add_argument("--keep", action="store_true", help="leave the server running until Ctrl-C")
    arguments = options.parse_args()
    began = time.monotonic()
    with ExitStack() as running:
        # A server ends with the thread that started it: the pool outlives both.
        starting = running.enter_context(ThreadPoolExecutor()).submit(running.enter_context, openbao())
        server = running.enter_context(seaweedfs())
        vault = starting.result()
        key = Key(vault)
        say(f"S3 server (SeaweedFS) at {server.endpoint}", began)
        say(f"secret manager (OpenBao) at {vault.address}, which holds a fresh signing key", began)
        began = time.monotonic()
        count = put_data(server, arguments.country, arguments.above)
        say(f"put the public data there: {count} objects from airportsdata (MIT) and tzdata (Apache-2.0)", began)
        scratch = running.enter_context(tempfile.TemporaryDirectory(prefix="copilot-demo-"))
        memory = running.enter_context(
            tempfile.TemporaryDirectory(prefix="copilot-demo-", dir="/dev/shm")
        )  # as emptyDir's Memory
        pod = Pod(server, key, Path(scratch), Path(memory))
        pod.run()
        pod.tell_what_was_published()
        pod.tell_of_the_key()
        tell_what_next(server, keep=arguments.keep)


class Key:
    """A signing key that only the secret manager knows, and a token that may read this one secret."""

    def __init__(self, vault: OpenBao) -> None:
        self.value = secrets.token_urlsafe(24)
        mount = vault.mount("kv", options={"version": "2"})
        vault.api("PUT", f"{mount}/data/airports", {"data": {"signing_key": self.value}})
        self.reference = f"vault://{mount}/airports#signing_key"
        token = vault.token(vault.policy(f'path "{mount}/data/airports" {{ capabilities = ["read"] }}'))
        self.environ = {"VAULT_ADDR": vault.address, "VAULT_TOKEN": token}


class Pod:
    """The three processes, in the order and with the signals of a kubelet."""

    def __init__(self, server: S3Server, key: Key, scratch: Path, memory: Path) -> None:
        self.inputs, self.outputs = scratch / "inputs", scratch / "outputs"
        self.control, self.key_file = memory / "control", memory / "secrets" / "signing-key"
        self.outputs.mkdir()
        self.control.mkdir()
        self.log, self.streams = scratch / "sidecar.log", scratch / "streams"
        self.server, self.key = server, key
        # Only copilot's own processes get credentials: the task's environment has none.
        self.bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COPILOT_"))}
        self.environ = {**self.bare, **server.environ, **key.environ, "COPILOT_CONTROL_DIR": str(self.control)}

    def run(self) -> None:
        command = [COPILOT, "sidecar", "--outputs", str(self.outputs), "--to", RUN, "--raw", f"{RUN}/raw"]
        command += ["--interface", base64.b64encode(interface().SerializeToString()).decode()]
        with self.log.open("wb") as log, subprocess.Popen(command, env=self.environ, stdout=log, stderr=log) as sidecar:
            try:
                wait_for(self.control / "ARMED", sidecar, self.log)
                self.init()
                self.task()
                began = time.monotonic()
            finally:
                sidecar.terminate()
            if sidecar.wait() != 0:
                say(f"copilot sidecar ended with {sidecar.returncode} and published why, not outputs", began, mark=BAD)
                self.show("error.pb")
                raise SystemExit(sidecar.returncode)
            say("copilot sidecar: outputs verified and published", began)

    def init(self) -> None:
        began = time.monotonic()
        command = [COPILOT, "init", "--inputs", f"s3://{BUCKET}/inputs.pb", "--to", str(self.inputs), "--errors-to", RUN]
        command += ["--secret", f"{self.key_file}={self.key.reference}"]
        result = subprocess.run([*command, "--json"], env=self.environ, check=False, capture_output=True, text=True)
        if result.returncode:
            stop(f"copilot init ended with {result.returncode}", result.stderr)
        moved = json.loads(result.stdout)
        seconds = time.monotonic() - began
        objects, size_bytes = moved["objects"], moved["bytes"]
        rate = f"{objects / seconds:,.0f} objects/s"
        say(
            f"copilot init: a secret and {objects} objects, {size_bytes / 2**20:.1f} MiB, verified and in place ({rate})", began
        )

    def task(self) -> None:
        began = time.monotonic()
        command = [COPILOT, "exec", "--control-dir", str(self.control), "--tee", str(self.streams), "--"]
        command += [sys.executable, "-I", str(TASK), str(self.inputs), str(self.outputs), str(self.key_file)]
        result = subprocess.run(command, env=self.bare, check=False, capture_output=True, text=True)
        told = "".join(result.stdout.splitlines()[1:]) or f"ended with {result.returncode}"
        say(f"task.py, which knows nothing of all this: {told}", began, mark=BAD if result.returncode else GOOD)

    def tell_what_was_published(self) -> None:
        self.show("outputs.pb")
        manifest = self.server.peek(BUCKET, f"{RUN.removeprefix(f's3://{BUCKET}/')}/_manifest.json")
        if manifest is None:
            stop("no _manifest.json was published", self.log.read_text())
        listed = json.loads(manifest)["objects"]
        print(f"\n  _manifest.json beside it vouches for {len(listed)} objects, the largest of them:")
        for entry in sorted(listed, key=lambda entry: -entry["size_bytes"])[:3]:
            print(f"    {entry['path']:32} {entry['size_bytes']:>8,} bytes  {entry['digest']}")

    def tell_of_the_key(self) -> None:
        """The key reached the task, which told it carelessly; nothing that is kept shows it."""
        report, published = (self.published(name) for name in ("report", "outputs.pb"))
        signature = idl.LiteralMap.FromString(published).literals["signature"].scalar.primitive.string_value
        expected = hmac.digest(self.key.value.encode(), report, "sha256").hex()
        said = (self.streams / "stdout").read_text().splitlines()[0]
        if signature != expected or self.key.value in said:
            stop("the key did not reach the task, or did not stay a secret", said)
        print("\n  The signing key came from the secret manager to the task, and nowhere else:")
        print(f"    {GOOD} the signature of the published report is the key's ({signature[:12]}…)")
        print(f"    {GOOD} what the task told carelessly is masked: \033[2m{said}\033[0m")

    def published(self, name: str) -> bytes:
        found = self.server.peek(BUCKET, f"{RUN.removeprefix(f's3://{BUCKET}/')}/{name}")
        return found or self.server.peek(BUCKET, f"{RUN.removeprefix(f's3://{BUCKET}/')}/raw/{name}") or b""

    def show(self, name: str) -> None:
        print(f"\n  \033[1m{RUN}/{name}\033[0m", flush=True)
        command = [COPILOT, "show", f"{RUN}/{name}"]
        shown = subprocess.run(command, env=self.environ, check=False, capture_output=True, text=True)
        for line in (shown.stdout or shown.stderr).splitlines():
            print(f"    {line}")


def put_data(server: S3Server, country: str, above_m: int) -> int:
    server.new_bucket(BUCKET)
    airports = package_file("airportsdata", "airportsdata/airports.csv")
    objects = {"data/airports.csv": airports, **{f"data/zones/{name}": path for name, path in zones()}}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: server.poke(BUCKET, item[0], item[1].read_bytes()), objects.items()))
    literals = idl.LiteralMap()
    literals.literals["airports"].scalar.blob.uri = f"s3://{BUCKET}/data/airports.csv"
    zone_tree = literals.literals["zones"].scalar.blob
    zone_tree.uri = f"s3://{BUCKET}/data/zones"
    zone_tree.metadata.type.dimensionality = idl.BlobType.MULTIPART
    literals.literals["country"].scalar.primitive.string_value = country
    literals.literals["above_m"].scalar.primitive.integer = above_m
    server.poke(BUCKET, "inputs.pb", literals.SerializeToString())
    return len(objects) + 1


def zones() -> Iterator[tuple[str, Path]]:
    """The compiled zones; the package's Python files are not data."""
    root = package_file("tzdata", "tzdata/zoneinfo/UTC").parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path.relative_to(root).as_posix(), path


def package_file(package: str, name: str) -> Path:
    return Path(str(distribution(package).locate_file(name)))


def interface() -> idl.TypedInterface:
    simple, blob = idl.SimpleType, idl.BlobType
    types = {
        "airports_found": idl.LiteralType(simple=simple.INTEGER),
        "by_zone": idl.LiteralType(blob=blob(dimensionality=blob.MULTIPART)),
        "highest": idl.LiteralType(simple=simple.STRING),
        "mean_elevation_m": idl.LiteralType(simple=simple.FLOAT),
        "report": idl.LiteralType(blob=blob(format="csv")),
        "signature": idl.LiteralType(simple=simple.STRING),
    }
    declared = idl.TypedInterface()
    for name, kind in types.items():
        declared.outputs.variables.add(key=name).value.type.CopyFrom(kind)
    return declared


def wait_for(marker: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """What a startup probe does."""
    deadline = time.monotonic() + ARMED_WITHIN_S
    while not marker.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            stop("copilot sidecar did not arm itself", log.read_text())
        time.sleep(0.005)


def tell_what_next(server: S3Server, *, keep: bool) -> None:
    print("\n  Where to look next: docs/quickstart.md (your first task), docs/flyte.md (in place of Flyte's copilot),")
    print("  examples/airports/task.py (the task), or break it: scripts/demo --country XX\n")
    if not keep:
        return
    print("  The server runs until Ctrl-C. In another terminal:\n")
    for name, value in server.environ.items():
        print(f"    export {name}={value}")
    print(f"    {shutil.which('copilot') or COPILOT} show {RUN}/outputs.pb\n")
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


def say(text: str, began: float, mark: str = GOOD) -> None:
    print(f"  {mark} {text}  \033[2m{time.monotonic() - began:.2f} s\033[0m", flush=True)


def stop(text: str, log: str) -> NoReturn:
    print(f"  {BAD} {text}\n", file=sys.stderr)
    print(log.rstrip(), file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None

"""A typed task on ``copilot server``: submitted, followed, published to a real S3 server; and one that fails."""

from __future__ import annotations

import argparse
import hmac
import json
import re
import secrets
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_platform import COPILOT, Command, Platform, Stopped, bold, dim, ended_by_signals, say, stop

from copilot.core import idl
from copilot.testing.servers.process import LOOPBACK, free_ports
from copilot.testing.servers.s3 import S3Server, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TASK = ROOT / "examples" / "airports" / "task.py"
BUCKET = "demo"
STORE = f"s3://{BUCKET}/copilot"
IMAGE = "python:3.12-slim"
SECRET = "signing_key"
OUTPUTS = {
    "airports_found": "int",
    "highest": "str",
    "mean_elevation_m": "float",
    "signature": "str",
    "report": "file",
    "by_zone": "dir",
}
TRY = "submit --wait --follow --image any --output n:int -- sh -c 'echo hello; echo 5 >/var/outputs/n'"
TASK_FAILED = 23
PREFIX = re.compile(r"prefix: (\S+)")


def main() -> None:
    options = argparse.ArgumentParser(
        prog="scripts/demo", description="A task on copilot server, with its data on a real S3 server."
    )
    options.add_argument("--country", default="US", help="two letters; default US")
    options.add_argument("--above", default=1500, type=int, metavar="METRES", help="only airports this high; default 1500")
    options.add_argument("--keep", action="store_true", help="leave both servers running until Ctrl-C, to look around")
    arguments = options.parse_args()
    with ended_by_signals(), ExitStack() as running:
        data = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="copilot-demo-", ignore_cleanup_errors=True)))
        Demo(running, data, arguments.country, arguments.above).tell(keep=arguments.keep)


class Demo:
    """The story, a chapter a method."""

    def __init__(self, running: ExitStack, data: Path, country: str, above_m: int) -> None:
        self.data, self.country, self.above_m = data, country, above_m
        self.key = secrets.token_urlsafe(24)
        began = time.monotonic()
        chapter(f"1. A platform on this machine; all of it lies in {data}")
        identity, (port,) = {"demo": secrets.token_hex(16)}, free_ports(1)
        server = S3Server(f"http://{LOOPBACK}:{port}", "demo", identity["demo"])
        self.server = server
        # The two start together, so the second one is told where the first will be.
        self.platform = Platform(data, STORE, server.environ)
        running.callback(self.platform.close)
        self.platform.start()
        running.enter_context(seaweedfs(identity, port=port))
        running.callback(self.platform.close)  # pods end while their store is there
        say(f"S3 server (SeaweedFS) at {server.endpoint}", began)
        url = self.platform.listening()
        say(f"copilot server at {url}: SQLite, pods as processes, its objects at {STORE}", began)
        # What does not wait for one another goes on at the same time; it is told in order.
        self.setting = self.platform.begin("secrets", "set", SECRET, typed=self.key)
        began = time.monotonic()
        server.new_bucket(BUCKET)
        count = put_data(server)
        say(f"public data at s3://{BUCKET}/data: {count} objects of airportsdata (MIT) and tzdata (Apache-2.0)", began)

    def tell(self, *, keep: bool) -> None:
        """Everything, in order."""
        self.submit()
        self.follow()
        self.published()
        self.failure()
        self.what_next(keep=keep)

    def submit(self) -> None:
        chapter("2. A secret, and a task: a plain program with typed inputs and outputs")
        self.show(self.setting, f"copilot secrets set {SECRET}", prefix='printf %s "$KEY" | ')
        words = self.task("airports", self.country)
        shown = [
            "copilot submit --run-name airports --image python:3.12-slim \\",
            f"  --input airports:file=s3://{BUCKET}/data/airports.csv --input zones:dir=s3://{BUCKET}/data/zones/ \\",
            f"  --input country={self.country} --input above_m:int={self.above_m} --secret {SECRET} \\",
            "  " + " ".join(f"--output {name}:{kind}" for name, kind in list(OUTPUTS.items())[:3]) + " \\",
            "  " + " ".join(f"--output {name}:{kind}" for name, kind in list(OUTPUTS.items())[3:]) + " \\",
            f"  -- python3 -I $PWD/{TASK.relative_to(ROOT)} {{{{.inputDir}}}} {{{{.outputDir}}}} /etc/flyte/secrets/{SECRET}",
        ]
        self.show(self.platform.begin(*words), *shown)
        self.tell_of_the_pod()

    def task(self, run: str, country: str, *flags: str) -> list[str]:
        """The words that submit it."""
        self.platform.submitted(run)
        words = ["submit", *flags, "--run-name", run, "--name", "airports", "--image", IMAGE, "--secret", SECRET]
        data = f"s3://{BUCKET}/data"
        words += ["--input", f"airports:file={data}/airports.csv", "--input", f"zones:dir={data}/zones/"]
        words += ["--input", f"country={country}", "--input", f"above_m:int={self.above_m}"]
        for name, kind in OUTPUTS.items():
            words += ["--output", f"{name}:{kind}"]
        program = [sys.executable, "-I", str(TASK), "{{.inputDir}}", "{{.outputDir}}", f"/etc/flyte/secrets/{SECRET}"]
        return [*words, "--", *program]

    def tell_of_the_pod(self) -> None:
        """What the server made of the task, read while it is there."""
        pod = next(self.manifests(), None)
        if pod is None:
            return
        parts = [(each, "init container") for each in pod["spec"]["initContainers"]]
        parts[0] = (parts[0][0], "native sidecar")
        parts += [(each, "main") for each in pod["spec"]["containers"]]
        print(f"\n  The server made a pod of it, {pod['metadata']['name']}, with copilot at both ends:")
        for container, kind in parts:
            words = [*container.get("command", ()), *container.get("args", ())]
            line = " ".join(word.replace(f"{ROOT}/", "") for word in words)
            print(f"    {kind:<15} {container['name']:<16} {dim(line[:70] + ('…' if len(line) > 70 else ''))}")

    def manifests(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            for directory in self.platform.pods():
                try:
                    yield json.loads((directory / "pod.json").read_bytes())
                except (OSError, ValueError):
                    continue
            time.sleep(0.005)

    def follow(self) -> None:
        chapter("3. What the program says, as it says it (its key is masked, here and in what is kept)")
        said = self.copilot("logs", "-f", "airports")
        if self.key in said or (said and "***" not in said):
            stop("the secret was not masked")

    def published(self) -> None:
        chapter("4. What became of it: outputs.pb, written last, and what it refers to")
        ended = self.platform.client.wait("airports")
        prefix = str(ended["history"][-1]["prefix"])
        if ended["phase"] != "SUCCEEDED":
            self.explained(prefix)
            raise SystemExit(TASK_FAILED)
        described = self.platform.begin("describe", "airports")
        self.failing = self.platform.begin(*self.task("nowhere", "XX", "--wait"))
        self.copilot("outputs", "airports")
        self.show(described, "copilot describe airports")
        objects = json.loads(self.read(f"{prefix}/_manifest.json"))["objects"]
        largest = max(objects, key=lambda entry: entry["size_bytes"])
        print()
        say(f"_manifest.json beside outputs.pb vouches for {len(objects)} objects, the largest {largest['path']}:")
        print(f"    {largest['size_bytes']:,} bytes, {largest['digest']}")
        self.check_signature(prefix)

    def check_signature(self, prefix: str) -> None:
        """The key reached the task: it signed what was published. Nothing that is kept shows it."""
        literals = idl.LiteralMap.FromString(self.read(f"{prefix}/outputs.pb")).literals
        report = self.read(literals["report"].scalar.blob.uri)
        signature = literals["signature"].scalar.primitive.string_value
        if signature != hmac.digest(self.key.encode(), report, "sha256").hex():
            stop("the report is not signed with the key")
        say(f"the report in S3 carries the signature of the key ({signature[:12]}…), which reached the task and nothing else")

    def failure(self) -> None:
        chapter("5. The same for a country that there is not, submitted meanwhile: it fails, and says why")
        code, said = self.failing.show("copilot submit --wait --run-name nowhere --input country=XX …")
        prefix = PREFIX.search(said)
        if code != TASK_FAILED or prefix is None:
            stop(f"it should have ended with {TASK_FAILED}, not {code}")
        say(f"exit code {code}: the task failed, so nothing is published")
        print()
        self.explained(prefix.group(1))

    def explained(self, prefix: str) -> None:
        self.show(self.platform.begin("explain", prefix, with_store=True), f"copilot explain {prefix}")

    def what_next(self, *, keep: bool) -> None:
        chapter("Where to look next")
        print("  docs/quickstart.md          your own task, step by step")
        print("  docs/control-plane.md       the server; docs/flyte.md: in place of Flyte's copilot")
        print("  examples/airports/task.py   the program, which knows nothing of all this")
        if keep:
            self.keep()
            return
        here = Path(COPILOT).relative_to(ROOT) if Path(COPILOT).is_relative_to(ROOT) else Path(COPILOT)
        print("\n  Both servers were ended, and everything they kept was removed. To try it yourself:")
        for command, what in (
            ("scripts/demo --keep", "the same, and both servers stay until Ctrl-C"),
            ("scripts/demo --country CH --above 1000", "other inputs"),
            (f"{here} server --data ./copilot-data", "a server of your own; then, in another terminal,"),
        ):
            print(f"    {bold(f'{command:<45}')} {what}")
        print(f"    {bold(f'{here} {TRY}')}")

    def keep(self) -> None:
        print("\n  Both servers run until Ctrl-C. In another terminal:\n")
        if not self.platform.url.endswith(":8090"):
            print(f"    export COPILOT_SERVER={self.platform.url}")
        for name, value in self.server.environ.items():
            print(f"    export {name}={value}")
        print(f"    export PATH={Path(COPILOT).parent}:$PATH\n")
        for command in ("runs", "describe nowhere", "logs airports", "outputs airports --json"):
            print(f"    copilot {command}")
        print(f"    copilot show {STORE}/flytesnacks/development/airports/a0/1/outputs.pb")
        print(f"    copilot {TRY}\n", flush=True)
        signal.pause()

    def copilot(self, *words: str) -> str:
        """Runs and shows a command; what it said."""
        return self.show(self.platform.begin(*words), f"copilot {' '.join(words)}")

    def show(self, command: Command, *shown: str, prefix: str = "") -> str:
        """Shows a command that has to succeed; what it said."""
        code, said = command.show(*shown, prefix=prefix)
        if code:
            print()
            self.platform.begin("describe", "airports").show("copilot describe airports")
            stop(f"the command before ended with {code}")
        return said

    def read(self, uri: str) -> bytes:
        found = self.server.peek(BUCKET, uri.removeprefix(f"s3://{BUCKET}/"))
        if found is None:
            stop(f"{uri} is not there")
        return found


def put_data(server: S3Server) -> int:
    objects = {"data/airports.csv": package_file("airportsdata", "airportsdata/airports.csv")}
    objects |= {f"data/zones/{name}": path for name, path in zones()}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: server.poke(BUCKET, item[0], item[1].read_bytes()), objects.items()))
    return len(objects)


def zones() -> Iterator[tuple[str, Path]]:
    """The compiled zones; the package's Python files are not data."""
    root = package_file("tzdata", "tzdata/zoneinfo/UTC").parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path.relative_to(root).as_posix(), path


def package_file(package: str, name: str) -> Path:
    return Path(str(distribution(package).locate_file(name)))


def chapter(title: str) -> None:
    print(f"\n{bold(title)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Stopped as stopped:
        print()
        raise SystemExit(stopped.exit_code) from None

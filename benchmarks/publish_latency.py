"""From main's exit to outputs.pb in the store: a real S3 server, real processes, the wrapper as witness.

python benchmarks/publish_latency.py --runs 20
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from copilot.core import idl
from copilot.testing.servers.s3 import S3Server, seaweedfs

COPILOT = Path(sys.executable).with_name("copilot")
BUDGET_MS = 100.0


def interface() -> str:
    made = idl.TypedInterface()
    made.outputs.variables.add(key="n").value.type.simple = idl.SimpleType.INTEGER
    made.outputs.variables.add(key="f").value.type.blob.SetInParent()
    return base64.b64encode(made.SerializeToString()).decode()


def one(server: S3Server, bucket: str, number: int, settle_s: float) -> dict[str, float]:
    """One pod: milliseconds from main's end to each event."""
    with tempfile.TemporaryDirectory() as home:
        out, control = Path(home) / "out", Path(home) / "control"
        out.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "OUT": str(out),
        }
        flags = ["--from-local-dir", str(out), "--to-output-prefix", f"s3://{bucket}/{number}", "--interface", interface()]
        where = ["--control-dir", str(control), "--endpoint", server.endpoint, "--region", server.region]
        began_s = time.time()
        sidecar = subprocess.Popen([COPILOT, "sidecar", *flags, *where], env=environ, stderr=subprocess.PIPE, text=True)
        while not (control / "ARMED").exists():
            time.sleep(0.0005)
        armed_s = time.time()
        time.sleep(settle_s)
        script = 'printf 5 > "$OUT/n"; head -c 10000 /dev/zero > "$OUT/f"'
        main = [COPILOT, "exec", "--control-dir", str(control), "--", "/bin/sh", "-c", script]
        subprocess.run(main, env=environ, check=True)
        told = sidecar.communicate(timeout=60)[1]
        assert sidecar.returncode == 0, told
        ended_s = json.loads((control / "exitcode").read_text())["ended_at_s"]
        events = {event["event"]: event for event in (json.loads(line) for line in told.splitlines() if line.startswith("{"))}
        times = {name: datetime.fromisoformat(event["time"]).timestamp() for name, event in events.items()}
        return {
            "armed_ms": (armed_s - began_s) * 1000,
            "seen_ms": (times["task.ended"] - ended_s) * 1000,
            "published_ms": (times["outputs.published"] - ended_s) * 1000,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--settle-s", type=float, default=1.5, help="how long the task runs at least")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with seaweedfs() as server:
        bucket = server.new_bucket()
        server.poke(bucket, "first", b"x")  # this server makes room for a new bucket with its first object
        rows = [one(server, bucket, number, given.settle_s) for number in range(given.runs)]
    figures = {
        name: {
            "min": round(min(row[name] for row in rows), 1),
            "median": round(statistics.median(row[name] for row in rows), 1),
            "max": round(max(row[name] for row in rows), 1),
        }
        for name in rows[0]
    }
    machine = {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    document = {"runs": given.runs, "machine": machine, "figures": figures, "budget_ms": BUDGET_MS}
    print(json.dumps(document, indent=1))
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if figures["published_ms"]["median"] <= BUDGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())

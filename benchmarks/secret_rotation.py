"""How long a changed secret takes to its app: value changed at OpenBao → file rewritten → signal received, through the sidecar.

Prints JSON. ``--interval`` is what the sidecar is told; the time measured has up to so much of it in it, and is given with and
without the wait for the next look. Run it as ``.venv/bin/python benchmarks/secret_rotation.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from copilot.testing.secret_servers.openbao import openbao

COPILOT = str(Path(sys.executable).with_name("copilot"))
APP = """
import os, pathlib, signal, sys, time
secret = pathlib.Path(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
while True:
    signal.sigwait([signal.SIGHUP])
    print(time.time(), secret.stat().st_mtime, secret.read_text(), flush=True)
"""


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interval", default=1.0, type=float, metavar="SECONDS")
    parser.add_argument("--times", default=20, type=int)
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="copilot-rotation-", dir="/dev/shm"))  # a memory volume
    try:
        print(json.dumps(measure(home, asked.interval, asked.times), indent=2))
    finally:
        shutil.rmtree(home)


def measure(home: Path, interval_s: float, times: int) -> dict[str, object]:
    """One pod, ``times`` changes."""
    with openbao() as bao:
        mount = bao.mount("kv", options={"version": "2"})
        bao.api("PUT", f"{mount}/data/app", {"data": {"token": "value-0"}})
        secret, pid_file = home / "token", home / "pid"
        environ = {**os.environ, "VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root, "COPILOT_CONTROL_DIR": str(home)}
        flags = ["--secrets-interval", f"{interval_s}s", "--secrets-pid-file", str(pid_file)]
        sidecar = subprocess.Popen([COPILOT, "sidecar", *flags], env=environ, stderr=subprocess.DEVNULL)
        app = subprocess.Popen([sys.executable, "-c", APP, str(secret), str(pid_file)], stdout=subprocess.PIPE)
        try:
            delivery = f"{secret}=vault://{mount}/app#token"
            subprocess.run([COPILOT, "init", "--secret", delivery], env=environ, check=True, stderr=subprocess.DEVNULL)
            while not pid_file.exists():
                time.sleep(0.01)
            rows = [one_change(bao, mount, app, number, interval_s) for number in range(1, times + 1)]
        finally:
            app.kill()
            app.wait()
            sidecar.send_signal(signal.SIGTERM)
            sidecar.wait()
    whole, handed = [row[0] for row in rows], [row[1] for row in rows]
    return {
        "interval_s": interval_s,
        "changes": times,
        "manager_to_app_s": {"median": round(statistics.median(whole), 3), "max": round(max(whole), 3)},
        "file_to_app_ms": {"median": round(statistics.median(handed) * 1e3, 1), "max": round(max(handed) * 1e3, 1)},
    }


def one_change(bao: object, mount: str, app: subprocess.Popen[bytes], number: int, interval_s: float) -> tuple[float, float]:
    """Seconds from the manager's answer to the app, and from the file to the app."""
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": f"value-{number}"}})  # type: ignore[attr-defined]  # an OpenBao
    changed_s = time.time()
    assert app.stdout is not None
    ready, _, _ = select.select([app.stdout], [], [], 30 + 10 * interval_s)
    if not ready:
        raise SystemExit("the app was not told")
    told_s, written_s, value = app.stdout.readline().decode().split()
    if value != f"value-{number}":
        raise SystemExit(f"the app was told of {value}")
    return float(told_s) - changed_s, float(told_s) - float(written_s)


if __name__ == "__main__":
    main()

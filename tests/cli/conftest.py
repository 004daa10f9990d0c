"""Volumes of their own, small or read-only, for what must fail on them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[[Path, str], Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a tmpfs with options such as ``size=2m`` or ``ro`` at a path, and takes it away at the end."""
    places: list[Path] = []

    def mounted(place: Path, options: str) -> Path:
        place.mkdir()
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
        places.append(place)
        return place

    yield mounted
    for place in places:
        subprocess.run(["/bin/umount", "-l", str(place)], check=True)

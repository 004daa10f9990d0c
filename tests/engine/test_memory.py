"""Memory does not grow, as the kernel counts it: whole processes move much on a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

MOVER = Path(__file__).resolve().parents[2] / "benchmarks/mover.py"
BUDGET_MIB = 64
MIB = 1024 * 1024


def peak_over_idle_mib(server: S3Server, *arguments: str) -> tuple[float, dict[str, float]]:
    """How far a mover's resident memory rises over the interpreter with its libraries; and what it says it has moved."""
    argv = [sys.executable, str(MOVER), *arguments]
    process = subprocess.run(argv, env={**os.environ, **server.environ}, stdout=subprocess.PIPE, check=True)
    said = json.loads(process.stdout)
    return said["peak_rss_mib"] - said["idle_rss_mib"], said


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    (place / "tree").mkdir()
    for number in range(5000):
        (place / "tree" / f"{number:05}").write_bytes(number.to_bytes(4) * 64)
    with (place / "big").open("wb") as file:
        for number in range(512):
            file.write(number.to_bytes(4) * (MIB // 4))
    return place


@pytest.mark.slow
def test_five_thousand_objects_cost_no_more_memory_than_the_budget_each_way(
    s3_server: S3Server, s3_bucket: str, data: Path, tmp_path: Path
) -> None:
    up, said = peak_over_idle_mib(s3_server, "send", f"s3://{s3_bucket}/tree", str(data / "tree"), "--tree")
    assert said["objects"] == 5000
    down, said = peak_over_idle_mib(s3_server, "fetch", f"s3://{s3_bucket}/tree", str(tmp_path), "--tree")
    assert said["objects"] == 5000
    assert up < BUDGET_MIB
    assert down < BUDGET_MIB


@pytest.mark.slow
def test_half_a_gibibyte_costs_no_more_memory_than_the_budget_each_way(
    s3_server: S3Server, s3_bucket: str, data: Path, tmp_path: Path
) -> None:
    up, said = peak_over_idle_mib(s3_server, "send", f"s3://{s3_bucket}/big", str(data / "big"))
    assert said["bytes"] == 512 * MIB
    down, said = peak_over_idle_mib(s3_server, "fetch", f"s3://{s3_bucket}/big", str(tmp_path))
    assert said["bytes"] == 512 * MIB
    print(f"over the interpreter: {up:.0f} MiB up, {down:.0f} MiB down")  # noqa: T201 - the figure is what one looks for
    assert up < BUDGET_MIB
    assert down < BUDGET_MIB

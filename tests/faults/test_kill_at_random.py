"""Five hundred random kills of init and sidecar against a real S3 server; every story must end as an undisturbed one does."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.faults.pod_story import Forks, Inputs, Story

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.testing.servers.s3 import S3Server

KILLS = 500
AT_ONCE = 3


def undisturbed(forks: Forks, stock: Inputs, tmp_path: Path) -> dict[str, float]:
    """Seconds each of the two takes when nobody kills it."""
    took_s = {}
    for kind in ("init", "sidecar"):
        story = Story(tmp_path / f"undisturbed-{kind}", stock, "out-undisturbed")
        story.task_ends(0)
        begun_s = time.monotonic()
        assert forks.run(story, story.init_argv() if kind == "init" else story.sidecar_argv()) == 0, story.told()
        took_s[kind] = time.monotonic() - begun_s
    return took_s


@pytest.mark.slow
@pytest.mark.timeout(1500)  # six minutes on two idle cores
def test_five_hundred_random_kills_all_converge(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    stock = Inputs(s3_server, s3_bucket)
    tally: Counter[str] = Counter()
    lock = threading.Lock()
    began_s = time.monotonic()

    def one(number: int, forks: Forks, took_s: dict[str, float]) -> None:
        dice = random.Random(number)
        kind = "init" if number % 2 else "sidecar"
        story = Story(tmp_path / f"pod-{number}", stock, f"out-{number}", mounted=dice.random() < 0.5)
        if kind == "sidecar":
            story.task_ends(number)
        argv = story.init_argv() if kind == "init" else story.sidecar_argv(dice.choice(["UPLOAD_ON_EXIT", "UPLOAD_EAGER"]))
        kills = 0
        for _ in range(dice.randint(2, 6)):
            code = forks.run(story, argv, kill_after_s=dice.uniform(0.02, took_s[kind]))
            with lock:
                tally[f"{kind} killed" if code == -signal.SIGKILL else f"{kind} was quicker"] += 1
            kills += code == -signal.SIGKILL
            assert code in {0, -signal.SIGKILL}, story.told()
            story.check_nothing_partial_in_place()
            story.check_nothing_partial_in_store()
            if code == 0:
                break
        assert forks.run(story, argv) == 0, f"story {number}:\n{story.told()}"
        story.check_inputs() if kind == "init" else story.check_outputs()
        with lock:
            tally[f"{kind} converged"] += 1
            tally["continued mid-file"] += '"fetch.continued"' in story.told() or '"send.continued"' in story.told()
        shutil.rmtree(story.home)

    numbers = iter(range(100_000))

    def worker() -> None:
        forks = Forks()
        try:
            while tally["init killed"] + tally["sidecar killed"] < KILLS:
                with lock:
                    number = next(numbers)
                one(number, forks, undisturbed_s)
        finally:
            forks.close()

    first = Forks()
    undisturbed_s = undisturbed(first, stock, tmp_path)
    first.close()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(worker) for _ in range(AT_ONCE)]:
            done.result()
    assert tally["init killed"] + tally["sidecar killed"] >= KILLS
    print(f"\n{dict(sorted(tally.items()))} in {time.monotonic() - began_s:.0f} s")  # noqa: T201 - the tally is asked for

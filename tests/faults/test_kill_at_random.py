"""Five hundred random kills of init and sidecar against a real S3 server; every story must end as an undisturbed one does.

``COPILOT_KILL_SEED=N`` gives all stories the choices of another run (a run prints its seed). A story that goes wrong is kept
(``tests.faults.evidence``) and named; ``COPILOT_KILL_REPLAY=…/story.json`` tells it again, twenty times.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.evidence import Telling, keep
from tests.faults.pod_story import Forks, Inputs, Story

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

KILLS = 500
AT_ONCE = 3
AGAIN = 20
LATEST_KILL = 1.1  # of what an undisturbed run takes: some are too late, and some of those only just


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


def invented(seed: int, took_s: dict[str, float]) -> Telling:
    """A story's choices."""
    dice = random.Random(seed)
    kind = "init" if seed % 2 else "sidecar"
    telling = Telling(seed, kind, dice.random() < 0.5, dice.choice(["UPLOAD_ON_EXIT", "UPLOAD_EAGER"]))
    telling.kill_after_s = [dice.uniform(0.02, took_s[kind] * LATEST_KILL) for _ in range(dice.randint(2, 6))]
    return telling


@dataclass
class FiveHundred:
    """All stories of one run."""

    stock: Inputs
    tmp_path: Path
    server_log: Path | None
    tally: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    wrong: list[str] = field(default_factory=list)

    def tell(self, telling: Telling, forks: Forks, name: str) -> None:
        """One pod's life; what went wrong is kept, and told at the end."""
        story = Story(self.tmp_path / f"pod-{name}", self.stock, f"out-{name}", mounted=telling.mounted)
        if telling.kind == "sidecar":
            story.task_ends(telling.seed)
        try:
            self._live(story, telling, forks)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is kept and fails the test
            place = keep(story, telling, error, self.tmp_path / "evidence", self.server_log)
            with self.lock:
                self.wrong.append(f"story {telling.seed} ({telling.kind}), all of it in {place}: {str(error)[:2000]}")
        shutil.rmtree(story.home)

    def _live(self, story: Story, telling: Telling, forks: Forks) -> None:
        kind, tally = telling.kind, self.tally
        argv = story.init_argv() if kind == "init" else story.sidecar_argv(telling.mode)
        for after_s in telling.kill_after_s:
            code = forks.run(story, argv, kill_after_s=after_s)
            telling.codes.append(code)
            with self.lock:
                tally[f"{kind} killed" if code == -signal.SIGKILL else f"{kind} was quicker"] += 1
            assert code in {0, -signal.SIGKILL}, f"a run ended with {code}"
            story.check_nothing_partial_in_place()
            story.check_nothing_partial_in_store()
            if code == 0:
                break
        telling.codes.append(forks.run(story, argv))
        assert telling.codes[-1] == 0, f"the last run ended with {telling.codes[-1]}"
        story.check_inputs() if kind == "init" else story.check_outputs()
        with self.lock:
            tally[f"{kind} converged"] += 1
            tally["continued mid-file"] += '"fetch.continued"' in story.told() or '"send.continued"' in story.told()

    @property
    def kills(self) -> int:
        return self.tally["init killed"] + self.tally["sidecar killed"]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # six minutes on two idle cores
def test_five_hundred_random_kills_all_converge(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    run = FiveHundred(Inputs(s3_server, s3_bucket), tmp_path, s3_server.log)
    again = os.environ.get("COPILOT_KILL_REPLAY")
    seed = int(os.environ.get("COPILOT_KILL_SEED") or random.randrange(1_000_000))
    print(f"\nCOPILOT_KILL_SEED={seed}", flush=True)  # noqa: T201 - to be repeated
    began_s = time.monotonic()
    first = Forks()
    undisturbed_s = undisturbed(first, run.stock, tmp_path)
    first.close()
    numbers = iter(range(AGAIN if again else 100_000))

    def worker() -> None:
        forks = Forks()
        try:
            while not run.wrong and (again or run.kills < KILLS):
                with run.lock:
                    number = next(numbers, None)
                if number is None:
                    return
                telling = Telling.read(Path(again)) if again else invented(seed + number, undisturbed_s)
                run.tell(telling, forks, str(number))
        finally:
            forks.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(worker) for _ in range(AT_ONCE)]:
            done.result()
    print(f"{dict(sorted(run.tally.items()))} in {time.monotonic() - began_s:.0f} s")  # noqa: T201 - the tally is asked for
    assert not run.wrong, f"with COPILOT_KILL_SEED={seed}:\n" + "\n".join(run.wrong)
    assert again or run.kills >= KILLS


def test_a_story_that_went_wrong_is_kept_and_can_be_told_again(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    run = FiveHundred(Inputs(s3_server, s3_bucket), tmp_path, s3_server.log)
    forks = Forks()
    told = Telling(seed=4, kind="sidecar", kill_after_s=[0.4])
    try:
        run.stock.files["model"] = b"not what is in the store"
        run.tell(Telling(seed=3, kind="init"), forks, "wrong")
        run.tell(told, forks, "right")
    finally:
        forks.close()
    (wrong,) = run.wrong
    place = tmp_path / "evidence" / "story-init-3"
    assert str(place) in wrong
    assert {path.name for path in place.iterdir()} == {"story.json", "why", "log", "files", "store", "pod", "server.log"}
    assert "a run begins at" in (place / "log").read_text()
    assert (place / "pod" / "in" / "inputs.pb").exists()
    assert Telling.read(place / "story.json") == Telling(seed=3, kind="init")
    assert told.codes[-1] == 0

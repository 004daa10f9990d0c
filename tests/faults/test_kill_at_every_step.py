"""kill -9 at every named point of init and of the sidecar, real processes on a real S3 server: the restart converges."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.faults.pod_story import MIB, Inputs, Story

from copilot.core.errors import BadFlag
from copilot.engine import crashpoints

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.testing.servers.s3 import S3Server

LATER = {"fetch.part-noted": 4, "fetch.small-renamed": 5, "multipart.part-sent": 2, "send.noted": 3, "staging.entry-moved": 3}


@pytest.fixture(scope="module")
def stocked(s3_server: S3Server, s3_bucket: str) -> Inputs:
    return Inputs(s3_server, s3_bucket)


@pytest.mark.parametrize("mounted", [False, True], ids=["new directory", "mount point"])
@pytest.mark.parametrize("point", crashpoints.INIT_POINTS)
def test_init_killed_at_a_point_is_finished_by_the_next(stocked: Inputs, tmp_path: Path, point: str, *, mounted: bool) -> None:
    story = Story(tmp_path / "pod", stocked, "unused", mounted=mounted)
    reached = not (point == "staging.entry-moved" and not mounted)
    at = f"{point}:{LATER.get(point, 1)}"
    assert story.run(story.init_argv(), at) == (-signal.SIGKILL if reached else 0), story.told()
    story.check_nothing_partial_in_place()
    assert story.run(story.init_argv()) == 0, story.told()
    story.check_inputs()


@pytest.mark.parametrize("point", crashpoints.SIDECAR_POINTS)
def test_a_sidecar_killed_at_a_point_is_finished_by_the_next(stocked: Inputs, tmp_path: Path, point: str) -> None:
    story = Story(tmp_path / "pod", stocked, f"out-{point}")
    story.task_ends(seed=1)
    assert story.run(story.sidecar_argv(), f"{point}:{LATER.get(point, 1)}") == -signal.SIGKILL, story.told()
    story.check_nothing_partial_in_store()
    assert story.run(story.sidecar_argv()) == 0, story.told()
    story.check_outputs()


def test_a_file_half_fetched_costs_only_what_was_in_flight(stocked: Inputs, tmp_path: Path) -> None:
    story = Story(tmp_path / "pod", stocked, "unused")
    assert story.run(story.init_argv(), "fetch.before-note") == -signal.SIGKILL
    assert story.run(story.init_argv()) == 0
    assert f'"had_bytes": {9 * MIB + 12_345}' in story.told()


def test_a_file_half_uploaded_goes_on_with_its_parts(stocked: Inputs, tmp_path: Path) -> None:
    story = Story(tmp_path / "pod", stocked, "out-half")
    story.task_ends(seed=2)
    assert story.run(story.sidecar_argv(), "multipart.before-complete") == -signal.SIGKILL
    assert story.unfinished() == ["out-half/raw/weights"]
    assert story.run(story.sidecar_argv()) == 0
    assert f'"had_bytes": {11 * MIB + 321}' in story.told()
    story.check_outputs()


def test_an_object_that_changed_meanwhile_begins_again(s3_server: S3Server, tmp_path: Path) -> None:
    stock = Inputs(s3_server, s3_server.new_bucket())
    story = Story(tmp_path / "pod", stock, "unused")
    assert story.run(story.init_argv(), "fetch.part-noted:4") == -signal.SIGKILL
    stock.files["model"] = bytes(reversed(stock.files["model"]))
    stock.server.poke(stock.bucket, "in/model", stock.files["model"])
    assert story.run(story.init_argv()) == 0, story.told()
    story.check_inputs()


def test_an_upload_of_a_file_that_is_not_wanted_any_more_is_ended(stocked: Inputs, tmp_path: Path) -> None:
    story = Story(tmp_path / "pod", stocked, "out-unwanted")
    story.task_ends(seed=3)
    assert story.run(story.sidecar_argv(), "multipart.part-sent") == -signal.SIGKILL
    (story.outof / "weights").write_bytes(b"small now")
    story.written["weights"] = b"small now"
    assert story.run(story.sidecar_argv()) == 0, story.told()
    story.check_outputs()


def test_a_point_that_is_none_is_refused() -> None:
    with pytest.raises(BadFlag, match="no crash point"):
        crashpoints.arm("nowhere")

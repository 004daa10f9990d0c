"""What a container sees beside a mount whose place is not there, in real sandboxes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from copilot.control_plane.executors.processes.mounts import Mount, bubblewrap_arguments


def in_sandbox(mounts: list[Mount], script: str) -> str:
    bubblewrap = shutil.which("bwrap")
    assert bubblewrap is not None
    argv = [bubblewrap, *bubblewrap_arguments(mounts), "--", "sh", "-ec", script]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("neighbours", [3, 400])
def test_neighbours_of_a_mount_are_there_and_can_be_written_however_many(tmp_path: Path, neighbours: int) -> None:
    room, volume = tmp_path / "room", tmp_path / "volume"
    volume.mkdir()
    (volume / "inside").write_text("of the volume\n")
    for number in range(neighbours):
        (room / f"n{number}").mkdir(parents=True)
    (room / "n1" / "file").write_text("of the machine\n")
    mounts = [Mount(volume, f"{room}/mounted")]
    said = in_sandbox(mounts, f"cat {room}/n1/file {room}/mounted/inside; echo new >{room}/n2/written")
    assert said == "of the machine\nof the volume\n"
    assert (room / "n2" / "written").read_text() == "new\n"
    assert not (room / "mounted").exists(), "nothing is left on the machine"


def test_a_crowded_directory_is_one_mount(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"n{number}").touch()
    arguments = bubblewrap_arguments([Mount(tmp_path, f"{tmp_path}/mounted")])
    assert len([each for each in arguments if "bind" in each]) < 200


def test_a_mount_below_an_entry_of_a_crowded_directory_is_seen(tmp_path: Path) -> None:
    room, volume = tmp_path / "room", tmp_path / "volume"
    volume.mkdir()
    (volume / "inside").write_text("there\n")
    for number in range(100):
        (room / f"n{number}" / "deep").mkdir(parents=True)
    mounts = [Mount(volume, f"{room}/mounted"), Mount(volume, f"{room}/n7/deep"), Mount(volume, f"{room}/n8/missing")]
    places = " ".join(f"{room}/{place}/inside" for place in ("mounted", "n7/deep", "n8/missing"))
    assert in_sandbox(mounts, f"cat {places}; ls {room}/n8") == "there\n" * 3 + "deep\nmissing\n"

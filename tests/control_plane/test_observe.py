from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from copilot.control_plane.errors import InvalidRequest
from copilot.control_plane.layout import upload_uri
from copilot.control_plane.lifecycle.observe import look, main_name
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.logs import Lines, line_of

MAIN = {
    "metadata": {"annotations": {"copilot.dev/main-container": "task"}},
    "spec": {"containers": [{"name": "x"}, {"name": "task"}]},
}


def pod(**status: object) -> dict[str, object]:
    return {**MAIN, "status": status}


def test_a_pod_without_a_word_of_the_cluster_is_queued() -> None:
    assert look({"metadata": {}, "spec": {}}).phase is Phase.QUEUED


def test_a_pod_that_cannot_be_scheduled_waits_for_resources_and_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: insufficient cpu"}
    sight = look(pod(conditions=[condition]))
    assert sight.phase is Phase.WAITING_FOR_RESOURCES
    assert sight.words[0].message == "0/1 nodes: insufficient cpu"


def test_main_is_the_annotated_container_and_its_start_is_the_start() -> None:
    running = {"name": "task", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}
    sight = look(pod(phase="Running", startTime="2026-01-01T00:00:00Z", containerStatuses=[running]))
    assert main_name(MAIN) == "task"
    assert (sight.phase, sight.main_ended) == (Phase.RUNNING, False)
    assert sight.times[Phase.RUNNING] - sight.times[Phase.INITIALIZING] == 5


def test_the_pods_phase_alone_is_never_an_end() -> None:
    for phase in ("Succeeded", "Failed"):
        sight = look(pod(phase=phase, startTime="2026-01-01T00:00:00Z"))
        assert not sight.phase.terminal
        assert sight.finished


def test_a_container_that_never_started_never_ran() -> None:
    failed = {
        "name": "task",
        "state": {"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}},
    }
    sight = look(pod(phase="Failed", startTime="2026-01-01T00:00:00Z", containerStatuses=[failed]))
    assert sight.phase is Phase.INITIALIZING
    assert sight.main_ended


def test_a_waiting_image_is_a_warning() -> None:
    waiting = {"name": "task", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    (word,) = look(pod(phase="Pending", containerStatuses=[waiting])).words
    assert (word.reason, word.warning) == ("ImagePullBackOff", True)


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=20), st.integers(1, 7))
def test_lines_are_the_same_however_the_bytes_come(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    reader, found = Lines(), []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    found += reader.end()
    assert found == [line_of(line) for line in lines]


def test_a_line_with_a_time_keeps_it_and_one_without_is_text() -> None:
    dated = line_of(b"2026-01-01T00:00:05.5Z hello there")
    assert (dated.timestamp.seconds, dated.message) == (1767225605, "hello there\n")
    assert line_of(b"hello there").message == "hello there\n"


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_the_names_an_upload_stays_below_its_prefix(root: str, name: str) -> None:

    try:
        uri = upload_uri("file:///base", "p", "d", root=root, md5=b"0" * 16, filename=name)
    except InvalidRequest:
        return
    assert uri.startswith("file:///base/uploads/p/d/")
    assert ".." not in uri.split("/")
    assert "//" not in uri.removeprefix("file://")

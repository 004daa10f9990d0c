"""A sidecar that is started again, and an attempt that follows another in the same place: over real processes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.completion.conftest import until

from copilot.cli.pods.this_pod import pod_uid
from copilot.core import idl
from copilot.core.error_document import INPUT_DOWNLOAD_FAILED, error_document
from copilot.core.errors import TaskFailed

if TYPE_CHECKING:
    from tests.completion.conftest import Ended, SmallPod

WRITES = 'printf 5 > "$OUT/n"; '
THIS = "11111111-2222-3333-4444-555555555555"
ANOTHER = "66666666-2222-3333-4444-555555555555"
PUBLISHED = {"outputs.pb", "_manifest.json", "_receipt.json"}


def seen(pod: SmallPod) -> dict[str, tuple[int, int]]:
    """Every object with what changes when it is written again."""
    files = [path for path in pod.store.rglob("*") if path.is_file()]
    return {path.relative_to(pod.store).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def succeed(pod: SmallPod, *flags: str, name: str = "copilot", **environ: str) -> Ended:
    pod.start_sidecar(*flags, name=name, **environ)
    pod.start_main(WRITES)
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5), ended.events
    return ended


def lose_control(pod: SmallPod) -> None:
    shutil.rmtree(pod.control)
    pod.control.mkdir()


def told(ended: Ended, name: str) -> list[dict[str, object]]:
    return [event for event in ended.events if event["event"] == name]


@pytest.mark.parametrize("environ", [{}, {"COPILOT_POD_UID": THIS}], ids=["by the wrapper", "by the pod"])
def test_a_sidecar_started_again_after_its_own_success_touches_nothing(pod: SmallPod, environ: dict[str, str]) -> None:
    succeed(pod, **environ)
    before = seen(pod)
    (pod.out / "n").write_text("77")
    pod.start_sidecar(**environ)
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)
    assert seen(pod) == before
    assert [event["known_from"] for event in told(ended, "outputs.already_published")] == ["the control directory"]


def test_a_task_that_runs_again_is_published_again(pod: SmallPod) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    pod.start_main('printf 6 > "$OUT/n"')
    assert pod.main.wait(60) == 0
    pod.start_sidecar(COPILOT_POD_UID=THIS)
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 6)


def test_the_same_run_for_another_place_is_published_there(pod: SmallPod) -> None:
    succeed(pod)
    pod.store = pod.home / "elsewhere"
    pod.start_sidecar()
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)


def test_without_the_control_volume_the_store_says_that_this_pod_has_published(pod: SmallPod) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    before = seen(pod)
    lose_control(pod)
    pod.start_sidecar(COPILOT_POD_UID=THIS)
    # Nobody can say any more how the task ended: alone, this would be an unproven end.
    pod.terminate()
    ended = pod.end()
    assert (ended.code, seen(pod)) == (0, before)
    assert [event["known_from"] for event in told(ended, "outputs.already_published")] == ["the store"]


def test_an_early_upload_asks_the_store_first(pod: SmallPod) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    before = seen(pod)
    lose_control(pod)
    pod.start_sidecar("--upload-mode", "UPLOAD_EAGER", COPILOT_POD_UID=THIS)
    ended = pod.end()  # at once: there is nothing to wait for
    assert (ended.code, seen(pod)) == (0, before)


@pytest.mark.parametrize("uid", [ANOTHER, ""], ids=["another pod", "nobody knows which"])
def test_what_an_earlier_attempt_has_published_is_published_anew(pod: SmallPod, uid: str) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    lose_control(pod)
    pod.start_sidecar(**({"COPILOT_POD_UID": uid} if uid else {}))
    pod.start_main('printf 6 > "$OUT/n"')
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 6)
    assert told(ended, "outputs.already_published") == []


@pytest.mark.parametrize("damage", ["outputs.pb is gone", "outputs.pb is another", "no receipt"])
def test_a_receipt_that_does_not_fit_what_is_there_proves_nothing(pod: SmallPod, damage: str) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    lose_control(pod)
    match damage:
        case "outputs.pb is gone":
            (pod.store / "outputs.pb").unlink()
        case "outputs.pb is another":
            (pod.store / "outputs.pb").write_bytes(b"")
        case _:
            (pod.store / "_receipt.json").unlink()
    pod.start_sidecar(COPILOT_POD_UID=THIS)
    pod.start_main(WRITES)
    ended = pod.end()
    assert (ended.code, ended.n, set(ended.store)) == (0, 5, PUBLISHED)


@pytest.mark.parametrize("point", ["outputs.committed", "errors.taken-back", "receipt.written", "published.noted"])
@pytest.mark.parametrize("keeps_control", [True, False])
def test_a_sidecar_killed_after_its_commit_ends_what_it_began(pod: SmallPod, point: str, *, keeps_control: bool) -> None:
    pod.start_sidecar(COPILOT_POD_UID=THIS, COPILOT_CRASH_AT=point)
    pod.start_main(WRITES + 'touch "$OUT/_SUCCESS"')
    assert pod.end().code == -signal.SIGKILL
    pod.main.wait(60)
    if not keeps_control:
        lose_control(pod)
    pod.start_sidecar(COPILOT_POD_UID=THIS)
    ended = pod.end()
    assert (ended.code, ended.n, set(ended.store)) == (0, 5, PUBLISHED)
    assert bool(told(ended, "outputs.already_published")) == (point in {"receipt.written", "published.noted"})


@pytest.mark.parametrize("name", ["copilot", "flyte-copilot"])
def test_the_error_of_an_earlier_attempt_goes_when_one_succeeds(pod: SmallPod, name: str) -> None:
    fail(pod, name)
    ended = succeed(pod, name=name)
    assert set(ended.store) == PUBLISHED | {"partial/n", "partial/_receipt.json"}
    assert ended.receipt["published"] is True
    assert len(told(ended, "error_document.taken_back")) == 2


@pytest.mark.parametrize("point", ["outputs.sent", "outputs.committed"])
def test_a_sidecar_killed_before_the_error_is_gone_leaves_the_truth(pod: SmallPod, point: str) -> None:
    fail(pod)
    pod.start_sidecar(COPILOT_CRASH_AT=point)
    pod.start_main(WRITES)
    there = pod.end().store
    # Either the failure and nothing else, or the commit as well: never neither.
    assert {"error.pb", "errors.pb"} <= set(there)
    assert ("outputs.pb" in there) == (point == "outputs.committed")
    pod.main.wait(60)
    pod.start_sidecar()
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)
    assert not {"error.pb", "errors.pb"} & set(ended.store)


def test_an_error_document_that_somebody_else_wrote_stays(pod: SmallPod) -> None:
    theirs = idl.ErrorDocument(error=idl.ContainerError(code="USER:Boom", message="boom")).SerializeToString()
    pod.store.mkdir()
    (pod.store / "error.pb").write_bytes(theirs)
    (pod.store / "errors.pb").write_bytes(error_document(TaskFailed("no inputs"), INPUT_DOWNLOAD_FAILED))
    ended = succeed(pod)
    assert ended.store["error.pb"] == theirs
    assert "errors.pb" not in ended.store
    assert [event["why"] for event in told(ended, "error_document.kept")] == ["copilot did not write it"]


def test_a_run_that_fails_after_one_that_succeeded_says_so(pod: SmallPod) -> None:
    succeed(pod, COPILOT_POD_UID=THIS)
    fail(pod, COPILOT_POD_UID=ANOTHER)
    assert json.loads((pod.store / "_receipt.json").read_text())["published"] is False


def fail(pod: SmallPod, name: str = "copilot", **environ: str) -> None:
    """An attempt that fails; the next one is another pod."""
    pod.start_sidecar(name=name, **environ)
    pod.start_main(WRITES + "exit 3")
    assert pod.end().code == (23 if name == "copilot" else 137)
    until(lambda: pod.main.poll() is not None, "main does not end")
    lose_control(pod)
    (pod.out / "n").unlink()


def test_a_pods_uid_is_told_or_stands_in_its_mounts(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    row = "36 35 8:1 /var/lib/kubelet/pods/{}/{} {} rw,relatime - ext4 /dev/sda1 rw\n"
    base = "1 0 0:1 / / rw - overlay overlay rw\nnonsense\n"
    mounts.write_text(base + row.format(THIS, "etc-hosts", "/etc/hosts") + row.format(THIS, "volumes/x/out", "/out"))
    assert pod_uid({}, mounts) == THIS
    assert pod_uid({"COPILOT_POD_UID": "told"}, mounts) == "told"
    mounts.write_text(base + row.format(THIS, "etc-hosts", "/etc/hosts") + row.format(ANOTHER, "volumes/x/out", "/out"))
    assert pod_uid({}, mounts) == ""
    mounts.write_text(base)
    assert pod_uid({}, mounts) == ""
    assert pod_uid({}, tmp_path / "none") == ""

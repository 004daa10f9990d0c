"""The data plane's image, built without a network and run by podman.

Podman 4.3 knows no native sidecars: a pod with a plain one is played whole; any other without its sidecar, which is run
afterwards, from the same image, on the same directories, with the arguments that stand in the manifest.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from copilot.control_plane.pods import PodSettings
from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest
from copilot.core import idl

if TYPE_CHECKING:
    from tests.images.conftest import Podman

    from copilot.testing.servers.s3 import S3Server

Json = Any
MEBIBYTE = 1024 * 1024
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_image_is_small_runs_as_nobody_special_and_has_no_shell(podman: Podman, copilot_image: str) -> None:
    (facts,) = json.loads(podman("image", "inspect", copilot_image))
    assert facts["Config"]["User"] == "65532:65532"
    assert facts["Size"] < 120 * MEBIBYTE
    shell = podman.call("run", "--rm", "--network=none", "--entrypoint", "/bin/sh", copilot_image, "-c", "true")
    assert shell.returncode == 127


def test_it_runs_on_a_read_only_root_without_any_capability(podman: Podman, copilot_image: str) -> None:
    strict = ("--rm", "--read-only", "--read-only-tmpfs=false", "--network=none", "--cap-drop=all")
    said = podman("run", *strict, "--security-opt=no-new-privileges", copilot_image, "version")
    assert said.startswith("copilot ")


def test_it_goes_by_the_reference_s_name_too(podman: Podman, copilot_image: str) -> None:
    flags = ("download", "-f", "/nothing/inputs.pb", "-o", "/tmp/in", "--to-output-prefix", "/tmp/out")
    done = podman.call("run", "--rm", "--network=none", "--entrypoint", "/bin/flyte-copilot", copilot_image, *flags)
    assert done.returncode == 137
    assert "ObjectNotFound" in done.stderr


@dataclass(frozen=True)
class Place:
    """Where a pod is played."""

    podman: Podman
    copilot: str
    task: str
    server: S3Server
    bucket: str
    home: Path
    name: str

    def published(self, name: str) -> bytes | None:
        return self.server.peek(self.bucket, f"out/{self.name}/{name}")


@pytest.fixture
def place(podman: Podman, images: tuple[str, str], s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Place:
    s3_server.poke(s3_bucket, "in/words.txt", b"one two\n")
    return Place(podman, *images, s3_server, s3_bucket, tmp_path, f"wrapped-{uuid.uuid4().hex[:8]}")


def wrapped(place: Place, script: str, *, sidecar: str = "native") -> Json:
    """The wrapped pod as podman can play it: directories for volumes, plain variables, the machine's network."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": place.name},
        "spec": {
            "restartPolicy": "Never",
            "hostNetwork": True,
            "containers": [{"name": "main", "image": place.task, "command": ["/bin/sh", "-c", script]}],
        },
    }
    request = WrapRequest(
        inputs=(f"words=s3://{place.bucket}/in/words.txt", "n=41"),
        outputs_prefix=f"s3://{place.bucket}/out/{place.name}",
        sidecar=sidecar,
        pods=PodSettings(image=place.copilot, pull_policy="Never"),
    )
    (made,) = wrap_documents([pod], request).documents
    for volume in made["spec"]["volumes"]:
        directory = place.home / volume["name"]
        directory.mkdir(parents=True)
        directory.chmod(0o777)
        volume.pop("emptyDir")
        volume["hostPath"] = {"path": str(directory), "type": "Directory"}
    for each in [*made["spec"]["initContainers"], *made["spec"]["containers"][1:]]:
        each["env"] = [entry for entry in each["env"] if "value" in entry]
        each["env"] += [{"name": key, "value": value} for key, value in place.server.environ.items()]
    return made


def play(place: Place, manifest: Json, *waited_for: str) -> list[int]:
    """Init containers, then the others; gives the exit codes of those that are named."""
    plain = [each for each in manifest["spec"]["initContainers"] if "restartPolicy" not in each]
    played = {**manifest, "spec": {**manifest["spec"], "initContainers": plain}}
    file = place.home / "pod.yaml"
    file.write_text(yaml.safe_dump(played))
    try:
        place.podman("kube", "play", str(file), timeout_s=180)
        return [int(place.podman("wait", f"{place.name}-{each}")) for each in waited_for]
    finally:
        place.podman.call("kube", "down", str(file))


def publish(place: Place, manifest: Json) -> int:
    """The sidecar of the manifest."""
    sidecar = next(each for each in manifest["spec"]["initContainers"] if each["name"] == "copilot-sidecar")
    places = {volume["name"]: volume["hostPath"]["path"] for volume in manifest["spec"]["volumes"]}
    mounts = [f"--volume={places[mount['name']]}:{mount['mountPath']}" for mount in sidecar["volumeMounts"]]
    environ = [f"--env={entry['name']}={entry['value']}" for entry in sidecar["env"]]
    strict = ("--rm", "--read-only", "--network=host")
    return place.podman.call("run", *strict, *mounts, *environ, sidecar["image"], *sidecar["args"], timeout_s=60).returncode


def test_a_wrapped_pod_is_played_and_its_outputs_are_published(place: Place) -> None:
    pod = wrapped(
        place,
        "cd /var/flyte/outputs; busybox cat /var/flyte/inputs/words >both.txt; "
        "busybox expr $(busybox cat /var/flyte/inputs/n) + 1 >m",
    )
    assert play(place, pod, "main") == [0]
    assert publish(place, pod) == 0
    outputs = place.published("outputs.pb")
    assert outputs is not None
    assert idl.LiteralMap.FromString(outputs).literals["m"].scalar.primitive.integer == 42
    assert place.published("both.txt") == b"one two\n"


def test_a_task_s_exit_code_is_its_own_and_nothing_is_published(place: Place) -> None:
    pod = wrapped(place, "echo 1 >/var/flyte/outputs/m; exit 3")
    assert play(place, pod, "main") == [3]
    assert publish(place, pod) != 0
    assert place.published("outputs.pb") is None
    assert place.published("error.pb") is not None


def test_a_pod_with_a_plain_sidecar_is_played_whole(place: Place) -> None:
    pod = wrapped(place, "busybox expr $(busybox cat /var/flyte/inputs/n) + 1 >/var/flyte/outputs/m", sidecar="plain")
    assert play(place, pod, "main", "copilot-sidecar") == [0, 0]
    outputs = place.published("outputs.pb")
    assert outputs is not None
    assert idl.LiteralMap.FromString(outputs).literals["m"].scalar.primitive.integer == 42


def test_sigterm_reaches_the_sidecar_which_is_process_one(podman: Podman, copilot_image: str, tmp_path: Path) -> None:
    name = f"sidecar-{uuid.uuid4().hex[:8]}"
    for each in ("control", "out", "store"):
        (tmp_path / each).mkdir()
        (tmp_path / each).chmod(0o777)
    (tmp_path / "out" / "m").write_text("5")
    mounts = [f"--volume={tmp_path / each}:/{each}" for each in ("control", "out", "store")]
    flags = ("--control-dir", "/control", "--outputs", "/out", "--to", "/store", "--output", "m:int", "--trust-signal")
    podman("run", "--detach", "--read-only", "--network=none", "--name", name, *mounts, copilot_image, "sidecar", *flags)
    try:
        deadline_s = time.monotonic() + 60
        while podman.call("exec", name, "/bin/copilot", "probe", "--control-dir", "/control").returncode != 0:
            assert time.monotonic() < deadline_s, podman("logs", name)
        podman("stop", "--time", "30", name)
        assert podman("wait", name) == "0"
    finally:
        podman.call("rm", "--force", name)
    literals = idl.LiteralMap.FromString((tmp_path / "store" / "outputs.pb").read_bytes()).literals
    assert literals["m"].scalar.primitive.integer == 5


def test_the_image_makes_the_single_file_for_others(podman: Podman, copilot_image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    strict = ["--rm", "--read-only", "--network=none", "--tmpfs=/tmp", f"--volume={tmp_path}:/out"]
    podman("run", *strict, copilot_image, "install", "--single-file", "/out/copilot", timeout_s=300)
    made = tmp_path / "copilot"
    assert made.stat().st_size < 30 * MEBIBYTE
    environ = {"PATH": os.defpath, "COPILOT_UNPACK_DIR": str(tmp_path)}
    done = subprocess.run([str(made), "version"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

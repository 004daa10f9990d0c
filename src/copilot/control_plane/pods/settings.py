"""How pods are made, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from copilot.core.errors import BadConfig
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.podfiles import ARMED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTROL_DIR: Final = "/var/run/copilot"
DEFAULT_TEMPLATE: Final = "default"
BIN_DIR: Final = "/var/run/copilot-bin"
LOADER: Final = "ld.so"

Wrap = Literal["never", "command", "always"]
SidecarKind = Literal["native", "plain"]


@dataclass(frozen=True, slots=True)
class PodSettings:
    """How pods are made.

    Attributes:
        image: of the init container and the sidecar.
        pull_policy: ``imagePullPolicy`` of that image.
        command: how Copilot is started in it.
        probe: the sidecar's startup probe command; it succeeds once SIGTERM is handled.
        run_as_user: the user of our own containers; None leaves it to the image.
        scratch: our own containers get a directory of their own at ``/tmp`` (their root is read-only).
        trust_signal: the sidecar publishes on a bare SIGTERM; the server judges with the pod's status beside it.
        upload_timeout_s: the longest an upload may take, and so the longest grace period.
        wrap: whether main runs under ``copilot exec``, which proves how it ended and tells at once. An image's own entrypoint
            is not known here, and arguments alone would bypass it: ``command`` wraps tasks that name a command, ``always`` all
            of them (their images have no entrypoint), ``never`` none.
        sidecar: ``native``, or ``plain``: a container beside main, for clusters without native ones. Nobody tells that one of
            main's end but ``copilot exec``, so a task with outputs has to be wrapped.
        wrapper: what stands before ``exec`` then, as ``copilot install`` prints it; the same on every architecture.
        install: an init container copies the wrapper to ``BIN_DIR`` for main.
        small_grace_s: the grace period when no output can be large.
        assumed_bytes_per_s: the upload bandwidth that the grace period reckons with.
        templates: pod specs by name (``metadata.pod_template_name`` of a task); ``default`` is for all others.
        interruptible: a pod spec merged into the pods of interruptible tasks (node selector, tolerations).
        accelerator_label: the node label that names a GPU's kind.
        gpu_resource: the resource that a GPU is.
        organization: ``_U_ORG_NAME``; the official SDK wants one.
        labels: further labels of every pod.
        secrets: where pods fetch the secrets that tasks declare; by default from the server, with the attempt's own token.
        auth: the server asks everybody for a token: a Python task gets its attempt's, for the tasks that it calls.
    """

    image: str = "copilot"
    pull_policy: str = "IfNotPresent"
    command: tuple[str, ...] = ("copilot",)
    probe: tuple[str, ...] = ("copilot", "probe")
    run_as_user: int | None = 65532
    scratch: bool = True
    trust_signal: bool = True
    wrap: Wrap = "never"
    sidecar: SidecarKind = "native"
    wrapper: tuple[str, ...] = (
        f"{BIN_DIR}/lib/{LOADER}",
        "--library-path",
        f"{BIN_DIR}/lib",
        f"{BIN_DIR}/bin/python3",
        "-I",
        "-S",
        "-B",
        f"{BIN_DIR}/wrapper.py",
    )
    install: bool = True
    upload_timeout_s: int = 3600
    small_grace_s: int = 120
    assumed_bytes_per_s: int = 10_000_000
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    interruptible: Mapping[str, Any] = field(default_factory=dict)
    accelerator_label: str = "cloud.google.com/gke-accelerator"
    gpu_resource: str = "nvidia.com/gpu"
    organization: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: FlyteSecrets = field(default_factory=lambda: FlyteSecrets(embedded_in="copilot"))
    auth: bool = False

    def for_processes(self) -> PodSettings:
        """The same for this machine: no image to start a probe from, no user to become, no ``/tmp`` but the machine's."""
        probe = ("test", "-e", f"{CONTROL_DIR}/{ARMED}")
        return replace(self, probe=probe, run_as_user=None, scratch=False, wrapper=self.command, install=False)


def load_templates(directory: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """The pod templates that come with Copilot, and those of ``directory`` (``*.yaml``; a file's name is its template's).

    Raises:
        BadConfig: a file that is no YAML object.
    """
    files = {
        each.name: each.read_text()
        for each in resources.files("copilot.control_plane.pod_templates").iterdir()
        if _is_yaml(each.name)
    }
    if directory is not None:
        files |= {each.name: each.read_text() for each in sorted(directory.iterdir()) if _is_yaml(each.name)}
    templates: dict[str, Mapping[str, Any]] = {}
    for name, text in files.items():
        try:
            spec = yaml.safe_load(text) or {}
        except yaml.YAMLError as cause:
            raise BadConfig(f"the pod template {name} is no YAML", op="config", subject=name) from cause
        if not isinstance(spec, dict):
            raise BadConfig(f"the pod template {name} is no object of fields", op="config", subject=name)
        templates[name.rpartition(".")[0]] = spec
    return templates


def _is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))

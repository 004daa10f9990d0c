"""Labels and annotations of a pod. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from copilot.control_plane.lifecycle.observe import MAIN_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings

MANAGED: Final = "copilot.dev/managed"
_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_KEY: Final = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def pod_labels(work: AttemptWork, settings: PodSettings) -> tuple[dict[str, str], list[str]]:
    """The labels, and a sentence for each that Kubernetes would not take and that was left out.

    Ours cannot be overwritten: the server finds its pods by them.
    """
    template = work.spec.task_template
    wished = {**template.metadata.metadata.labels, **work.run_spec.labels.values, **settings.labels}
    if template.HasField("k8s_pod"):
        wished = {**template.k8s_pod.metadata.labels, **wished}
    kept = {key: value for key, value in wished.items() if _KEY.fullmatch(key) and _VALUE.fullmatch(value)}
    left = [f"The label {key} is not put on the pod: Kubernetes does not take it." for key in wished if key not in kept]
    ours = {
        MANAGED: "true",
        "copilot.dev/project": work.project,
        "copilot.dev/domain": work.domain,
        "copilot.dev/run": work.run,
        "copilot.dev/action": work.action,
        "copilot.dev/attempt": str(work.attempt),
        "copilot.dev/task": template.id.name,
    }
    return {**kept, **{key: _fitting(value) for key, value in ours.items()}}, left


def pod_annotations(work: AttemptWork, main: str) -> dict[str, str]:
    """The annotations: the task's, the run's, and which container is main."""
    template = work.spec.task_template
    wished: Mapping[str, str] = {**template.metadata.metadata.annotations, **work.run_spec.annotations.values}
    if template.HasField("k8s_pod"):
        wished = {**template.k8s_pod.metadata.annotations, **wished}
    return {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        **{key: value for key, value in wished.items() if _KEY.fullmatch(key)},
        MAIN_ANNOTATION: main,
        "kubectl.kubernetes.io/default-container": main,
    }


def _fitting(value: str) -> str:
    """The value as a label can hold it: other characters become ``_``, what is too long is cut."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", value)[:63].strip("_.-")

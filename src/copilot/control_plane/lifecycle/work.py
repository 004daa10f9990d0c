"""What the scheduler hands to the pure parts and gets back: an attempt to be made into a pod, and how one ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flyteidl2.core.literals_pb2 import LiteralMap
    from flyteidl2.task.run_pb2 import RunSpec
    from flyteidl2.task.task_definition_pb2 import TaskSpec

    from copilot.control_plane.lifecycle.moves import Ending
    from copilot.control_plane.lifecycle.observe import Pod


@dataclass(frozen=True, slots=True)
class AttemptWork:
    """Everything a pod is made from.

    Attributes:
        project, domain, run, action, attempt: who it is; attempts count from 1.
        parent: the action that called it, or empty.
        spec: the task.
        run_spec: the run's labels, annotations, variables and so on.
        inputs: the literals, for ``{{.inputs.x}}``; None without inputs.
        input_uri: their ``…/inputs.pb``, or empty.
        output_prefix: what the attempt leaves goes there, without a ``/`` at its end.
        previous_prefix: the attempt's before, for checkpoints, or empty.
        run_output_base: ``_U_RUN_BASE``.
        run_start_s: when the run was made, seconds since the epoch.
        namespace, pod_name: the pod's.
        report_url, report_token: where the pod reports its steps and the token that is good for it; empty: nowhere.
        endpoint: this server for the task itself (``_U_EP_OVERRIDE``), ``host:port``.
        pod_env: variables for our own containers.
        task_env: variables for a task that reads and writes the store itself.
    """

    project: str
    domain: str
    run: str
    action: str
    attempt: int
    parent: str
    spec: TaskSpec
    run_spec: RunSpec
    inputs: LiteralMap | None
    input_uri: str
    output_prefix: str
    previous_prefix: str
    run_output_base: str
    run_start_s: float
    namespace: str
    pod_name: str
    report_url: str = ""
    report_token: str = ""
    endpoint: str = ""
    pod_env: Mapping[str, str] = field(default_factory=dict)
    task_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuiltPod:
    """A manifest, Secret objects that live and go with it, and what its submitter should be told."""

    manifest: Mapping[str, Any]
    secrets: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What an attempt has left in the store.

    Attributes:
        outputs: ``outputs.pb`` is there.
        error: ``error.pb``, or None.
        manifest: ``_manifest.json``, or None.
        receipt: ``_receipt.json``, or None.
    """

    outputs: bool = False
    error: bytes | None = None
    manifest: bytes | None = None
    receipt: bytes | None = None


class PodMaker(Protocol):
    """The pure parts: they decide, and touch nothing."""

    def build(self, work: AttemptWork) -> BuiltPod:
        """The attempt's pod. Raises ``CopilotError`` of kind USER for a task that cannot be made into one."""
        ...

    def judge(self, work: AttemptWork, pod: Pod | None, published: Published) -> Ending | None:
        """How the attempt ended; None: it has not, or it cannot be said yet. ``pod`` is None when it is gone."""
        ...

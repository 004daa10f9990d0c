"""What of a pod's manifest the rules need, as frozen values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INIT: Final = "init"
SIDECAR: Final = "sidecar"
MAIN: Final = "main"

STARTUP: Final = "startup"
LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
PROBE_KINDS: Final = (STARTUP, LIVENESS, READINESS)

DEFAULT_GRACE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe with the defaults of the Kubernetes API (all times in seconds)."""

    handler: Mapping[str, Any]
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Probe:
        """From ``startupProbe``, ``livenessProbe`` or ``readinessProbe``."""
        return cls(
            handler=manifest,
            initial_delay_s=float(manifest.get("initialDelaySeconds") or 0),
            period_s=float(manifest.get("periodSeconds") or 10),
            timeout_s=float(manifest.get("timeoutSeconds") or 1),
            success_threshold=int(manifest.get("successThreshold") or 1),
            failure_threshold=int(manifest.get("failureThreshold") or 3),
        )


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container: its name, its part in the pod, its probes, and the manifest it came from."""

    name: str
    role: str
    manifest: Mapping[str, Any]
    probes: Mapping[str, Probe] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any], *, init: bool) -> ContainerSpec:
        """From an entry of ``containers`` or (``init``) ``initContainers``; a native sidecar is one that always restarts."""
        role = MAIN if not init else SIDECAR if manifest.get("restartPolicy") == "Always" else INIT
        probes = (
            {}
            if role == INIT
            else {kind: Probe.of(manifest[f"{kind}Probe"]) for kind in PROBE_KINDS if manifest.get(f"{kind}Probe")}
        )
        return cls(name=str(manifest["name"]), role=role, manifest=manifest, probes=probes)


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as the rules see it: containers in their order, and the pod's own settings."""

    name: str
    containers: Sequence[ContainerSpec]
    restart_policy: str = "Always"
    grace_s: float = DEFAULT_GRACE_S
    active_deadline_s: float | None = None

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> PodSpec:
        """From a whole manifest (``metadata`` and ``spec``)."""
        spec = pod["spec"]
        grace = spec.get("terminationGracePeriodSeconds")
        deadline = spec.get("activeDeadlineSeconds")
        return cls(
            name=str(pod["metadata"]["name"]),
            containers=tuple(
                [ContainerSpec.of(each, init=True) for each in spec.get("initContainers") or ()]
                + [ContainerSpec.of(each, init=False) for each in spec["containers"]]
            ),
            restart_policy=str(spec.get("restartPolicy") or "Always"),
            grace_s=DEFAULT_GRACE_S if grace is None else float(grace),
            active_deadline_s=None if deadline is None else float(deadline),
        )

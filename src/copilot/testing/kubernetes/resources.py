"""What kinds of objects the double serves, and how a new pod is checked and completed, as the API server does."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from copilot.testing.kubernetes.errors import ApiError, bad_request, invalid
from copilot.testing.kubernetes.pod_rules import check_lease, check_metadata, check_pod, completed_secret

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_MAX_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: where it is served, and what may be done with it."""

    plural: str
    kind: str
    group: str = ""
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/v1``."""
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def base(self) -> str:
        """The path before ``/namespaces``."""
        return f"/apis/{self.group}/v1" if self.group else "/api/v1"


RESOURCES: Final = (
    Resource("pods", "Pod", subresources=("status", "log", "eviction")),
    Resource("secrets", "Secret"),
    Resource("configmaps", "ConfigMap"),
    Resource("events", "Event"),
    Resource("serviceaccounts", "ServiceAccount"),
    Resource("leases", "Lease", "coordination.k8s.io"),
)
VERBS: Final = ("create", "delete", "get", "list", "patch", "update", "watch")


def discovery(path: str) -> dict[str, Any] | None:
    """The answers of ``/version``, ``/api``, ``/apis`` and the lists of resources; None for another path."""
    groups = sorted({each.group for each in RESOURCES if each.group})
    version = {"major": "1", "minor": "32", "gitVersion": "v1.32.13", "platform": "linux/amd64"}
    if path == "/version":
        return version
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        listed = [
            {
                "name": each,
                "versions": [{"groupVersion": f"{each}/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": f"{each}/v1", "version": "v1"},
            }
            for each in groups
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    for base in {each.base for each in RESOURCES}:
        if path == base:
            served = [each for each in RESOURCES if each.base == base]
            return {"kind": "APIResourceList", "groupVersion": served[0].api_version, "resources": _listed(served)}
    return None


def _listed(served: list[Resource]) -> list[dict[str, Any]]:
    listed = []
    for each in served:
        entry = {"singularName": each.kind.lower(), "namespaced": True, "kind": each.kind}
        listed.append({"name": each.plural, **entry, "verbs": list(VERBS)})
        listed += [{"name": f"{each.plural}/{sub}", **entry, "verbs": ["get", "patch", "update"]} for sub in each.subresources]
    return listed


def check_new(resource: Resource, manifest: Any, namespace: str) -> None:  # noqa: ANN401  whatever JSON came
    """Raises 400 or 422 for what can never be."""
    if not isinstance(manifest, Mapping):
        raise bad_request("the object provided is unrecognized (must be of type " + resource.kind + ")")
    if manifest.get("kind", resource.kind) != resource.kind:
        raise bad_request(f'{manifest.get("kind")} in version "{resource.api_version}" cannot be handled as a {resource.kind}')
    metadata = manifest.get("metadata") or {}
    name = str(metadata.get("name") or "")
    if metadata.get("namespace") not in {None, "", namespace}:
        raise bad_request(f"the namespace of the provided object does not match the namespace sent on the request: {namespace}")
    if not name and not metadata.get("generateName"):
        raise invalid(resource.kind, name, "metadata.name", "Required value: name or generateName is required")
    if name and (len(name) > _MAX_NAME or not _NAME.fullmatch(name)):
        raise invalid(
            resource.kind, name, "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of …'
        )
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            raise invalid(resource.kind, name, "metadata.labels", f'Invalid value: "{value}": a valid label must be … ({key})')
    check_metadata(resource.kind, metadata)
    if resource.plural == "pods":
        check_pod(manifest, name)
    if resource.plural == "leases":
        check_lease(manifest)


def completed_pod(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A new pod with the server's defaults."""
    pod: dict[str, Any] = copy.deepcopy(dict(manifest))
    spec = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
        **pod["spec"],
    }
    for part in ("initContainers", "containers"):
        if spec.get(part):
            spec[part] = [
                {
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": _pull_policy(str(each["image"])),
                    **each,
                    "resources": _resources(each.get("resources") or {}),
                }
                for each in spec[part]
            ]
    return {**pod, "spec": spec, "status": {"phase": "Pending", "qosClass": "BestEffort"}}


def completed(resource: Resource, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A new object with the server's defaults. Raises 400 or 422."""
    match resource.plural:
        case "pods":
            return completed_pod(manifest)
        case "secrets":
            return completed_secret(manifest)
    return manifest


def _pull_policy(image: str) -> str:
    """What moves is pulled each time: ``latest``, said or not."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "IfNotPresent" if "@" in image or tag not in {"", "latest"} else "Always"


def _resources(given: Mapping[str, Any]) -> dict[str, Any]:
    """Who sets a limit and no request asks for the limit."""
    if not given.get("limits"):
        return dict(given)
    return {**given, "requests": {**given["limits"], **(given.get("requests") or {})}}


def resource_at(base: str, plural: str) -> Resource:
    """The kind served at a path. Raises 404."""
    for each in RESOURCES:
        if (each.base, each.plural) == (base, plural):
            return each
    raise ApiError(404, "NotFound", "the server could not find the requested resource")

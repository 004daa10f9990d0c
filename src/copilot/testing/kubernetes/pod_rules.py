"""What the API server refuses of a pod, a Secret or a Lease: the rules that what we write could break. Pure.

Held against a real API server (Kubernetes 1.33), which answers each with the same code and reason.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from copilot.core.quantities import quantity
from copilot.testing.kubernetes.errors import ApiError, bad_request, invalid

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED: Final = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_ENV_NAME: Final = re.compile(r"[ -<>-~]+")
_DATA_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_NOT_IN_PLAIN_INIT: Final = (*_PROBES, "lifecycle")
_MUTABLE: Final = frozenset({"activeDeadlineSeconds", "tolerations"})
_MOST_SECRET_BYTES: Final = 1024 * 1024

Json = Mapping[str, Any]


def check_metadata(kind: str, metadata: Json) -> None:
    """Raises 400, 422 or 500."""
    name = str(metadata.get("name") or "")
    if metadata.get("resourceVersion"):
        raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
    for field in ("labels", "annotations"):
        for key, value in (metadata.get(field) or {}).items():
            if not isinstance(value, str):
                raise bad_request(f"{kind} cannot be handled: metadata.{field} takes strings, and {key} is none")
            if not _QUALIFIED.fullmatch(key):
                raise invalid(kind, name, f"metadata.{field}", f'Invalid value: "{key}": name part must consist of …')
    for place, each in enumerate(metadata.get("finalizers") or ()):
        if "/" not in each:
            why = f'Invalid value: "{each}": name is neither a standard finalizer name nor is it fully qualified'
            raise invalid(kind, name, f"metadata.finalizers[{place}]", why)
    for owner in metadata.get("ownerReferences") or ():
        if not owner.get("uid"):
            raise invalid(kind, name, "metadata.ownerReferences.uid", 'Invalid value: "": uid must not be empty')


def check_pod(pod: Json, name: str) -> None:
    """Raises 400 or 422."""
    spec = pod.get("spec") or {}
    if not spec.get("containers"):
        raise invalid("Pod", name, "spec.containers", "Required value")
    _one_of(name, "spec.restartPolicy", spec.get("restartPolicy", "Always"), ("Always", "OnFailure", "Never"))
    if spec.get("activeDeadlineSeconds", 1) < 1:
        raise invalid("Pod", name, "spec.activeDeadlineSeconds", "Invalid value: must be between 1 and 2147483647, inclusive")
    volumes = _volumes(spec, name)
    seen = set[str]()
    for where, part, each in _containers(spec):
        if not each.get("name"):
            raise invalid("Pod", name, f"{where}.name", "Required value")
        if not _DNS_LABEL.fullmatch(each["name"]):
            raise invalid("Pod", name, f"{where}.name", f'Invalid value: "{each["name"]}": a lowercase RFC 1123 label …')
        if each["name"] in seen:
            raise invalid("Pod", name, f"{where}.name", f'Duplicate value: "{each["name"]}"')
        seen.add(each["name"])
        if not each.get("image"):
            raise invalid("Pod", name, f"{where}.image", "Required value")
        if part == "initContainers":
            _check_init(each, name, where)
        _check_probes(each, name, where)
        _check_mounts(each, name, where, volumes)
        _check_environment(each, name, where)
        _check_resources(each, name, where)


def check_changed_pod(before: Json, after: Json, name: str) -> None:
    """Raises 422 for what cannot be changed: nearly all of a spec."""
    old, new = before["spec"], after.get("spec") or {}
    fixed = [{key: value for key, value in each.items() if key not in _MUTABLE} for each in (old, new)]
    for each in fixed:
        for part in ("initContainers", "containers"):
            each[part] = [{**one, "image": ""} for one in each.get(part) or ()]
    if fixed[0] != fixed[1]:
        raise invalid(
            "Pod", name, "spec", "Forbidden: pod updates may not change fields other than `spec.containers[*].image` …"
        )
    deadlines = old.get("activeDeadlineSeconds"), new.get("activeDeadlineSeconds")
    if deadlines[0] is not None and (deadlines[1] is None or deadlines[1] > deadlines[0]):
        why = f"Invalid value: {deadlines[1]}: must be less than or equal to previous value"
        raise invalid("Pod", name, "spec.activeDeadlineSeconds", why)


def check_changed_finalizers(kind: str, before: Json, after: Json) -> None:
    """Raises 422: what is being deleted gets no further finalizers."""
    added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if "deletionTimestamp" in before and added:
        why = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
        raise invalid(kind, str(before["name"]), "metadata.finalizers", why)


def completed_secret(secret: Json) -> dict[str, Any]:
    """A Secret as it is kept. Raises 400 or 422."""
    name = str((secret.get("metadata") or {}).get("name") or "")
    data = dict(secret.get("data") or {})
    size = 0
    for key, value in data.items():
        try:
            size += len(base64.b64decode(value, validate=True))
        except (binascii.Error, TypeError) as cause:
            raise bad_request(f"Secret cannot be handled: illegal base64 data of {key}") from cause
    for key, text in (secret.get("stringData") or {}).items():
        data[key] = base64.b64encode(str(text).encode()).decode()
    for key in data:
        if not _DATA_KEY.fullmatch(key):
            raise invalid("Secret", name, f"data[{key}]", f'Invalid value: "{key}": a valid config key must consist of …')
    if size > _MOST_SECRET_BYTES:
        raise invalid("Secret", name, "data", f"Too long: may not be more than {_MOST_SECRET_BYTES} bytes")
    return {"type": "Opaque", **{key: value for key, value in secret.items() if key != "stringData"}, "data": data}


def check_lease(lease: Json) -> None:
    """Raises 400 or 422."""
    spec = lease.get("spec") or {}
    for field in ("acquireTime", "renewTime"):
        if spec.get(field) is not None and not _MICRO_TIME.fullmatch(str(spec[field])):
            raise bad_request(f'Lease cannot be handled: parsing time "{spec[field]}": six digits of a second are wanted')
    if spec.get("leaseDurationSeconds", 1) < 1:
        name = str((lease.get("metadata") or {}).get("name"))
        raise invalid("Lease", name, "spec.leaseDurationSeconds", "Invalid value: must be greater than 0")


def _containers(spec: Json) -> Iterator[tuple[str, str, Json]]:
    for part in ("initContainers", "containers"):
        for place, each in enumerate(spec.get(part) or ()):
            yield f"spec.{part}[{place}]", part, each


def _one_of(name: str, where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        supported = ", ".join(f'"{each}"' for each in allowed)
        raise invalid("Pod", name, where, f'Unsupported value: "{value}": supported values: {supported}')


def _volumes(spec: Json, name: str) -> set[str]:
    seen = set[str]()
    for place, each in enumerate(spec.get("volumes") or ()):
        where = f"spec.volumes[{place}]"
        if each.get("name") in seen:
            raise invalid("Pod", name, f"{where}.name", f'Duplicate value: "{each["name"]}"')
        seen.add(str(each.get("name")))
        if len(each) > 2:
            raise invalid("Pod", name, where, "Forbidden: may not specify more than 1 volume type")
    return seen


def _check_init(each: Json, name: str, where: str) -> None:
    if each.get("restartPolicy") is not None:
        _one_of(name, f"{where}.restartPolicy", each["restartPolicy"], ("Always",))
        return
    for field in _NOT_IN_PLAIN_INIT:
        if field in each:
            why = "Forbidden: may not be set for init containers without restartPolicy=Always"
            raise invalid("Pod", name, f"{where}.{field}", why)


def _check_probes(each: Json, name: str, where: str) -> None:
    for field in _PROBES:
        probe = each.get(field) or {}
        if sum(handler in probe for handler in _HANDLERS) > 1:
            raise invalid("Pod", name, f"{where}.{field}", "Forbidden: may not specify more than 1 handler type")
        if field != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            raise invalid("Pod", name, f"{where}.{field}.successThreshold", "Invalid value: must be 1")


def _check_mounts(each: Json, name: str, where: str, volumes: set[str]) -> None:
    paths = set[str]()
    for mount in each.get("volumeMounts") or ():
        if mount.get("name") not in volumes:
            raise invalid("Pod", name, f"{where}.volumeMounts", f'Not found: "{mount.get("name")}"')
        if mount["mountPath"] in paths:
            raise invalid("Pod", name, f"{where}.volumeMounts", f'Invalid value: "{mount["mountPath"]}": must be unique')
        paths.add(mount["mountPath"])


def _check_environment(each: Json, name: str, where: str) -> None:
    for variable in each.get("env") or ():
        if not isinstance(variable.get("value", ""), str):
            raise bad_request(f"Pod cannot be handled: {where}.env takes strings, and {variable.get('name')} is none")
        if not _ENV_NAME.fullmatch(str(variable.get("name") or "")):
            raise invalid(
                "Pod", name, f"{where}.env", f'Invalid value: "{variable.get("name")}": a valid environment variable …'
            )


def _check_resources(each: Json, name: str, where: str) -> None:
    resources = each.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for value in [*limits.values(), *requests.values()]:
        if quantity(value) is None:
            raise bad_request(f"Pod cannot be handled: {where}.resources: {value} is no quantity")
    for what, value in requests.items():
        asked, most = quantity(value), quantity(limits.get(what, value))
        if asked is not None and most is not None and asked > most:
            why = f'Invalid value: "{value}": must be less than or equal to {what} limit of {limits[what]}'
            raise invalid("Pod", name, f"{where}.resources.requests", why)

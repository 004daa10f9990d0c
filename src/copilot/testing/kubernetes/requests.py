"""One request of the API double, without the wire: path, query and body in; objects out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from copilot.testing.kubernetes.errors import ApiError, bad_request, conflict, gone, invalid
from copilot.testing.kubernetes.patching import patched
from copilot.testing.kubernetes.pod_rules import check_changed_finalizers, check_changed_pod, check_lease
from copilot.testing.kubernetes.resources import Resource, check_new, completed, resource_at
from copilot.testing.kubernetes.selectors import selector

if TYPE_CHECKING:
    from copilot.testing.kubernetes.storage import Object, Storage

EVICTED: Final = ("EvictionByEvictionAPI", "Eviction API: evicting")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def counted(self) -> str:
        """As faults count it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is neither a watch nor a log."""

    method: str
    target: Target
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"


def target_of(path: str) -> Target:
    """Raises 404."""
    parts = [each for each in path.split("/") if each]
    base_length = 2 if parts[:1] == ["api"] else 3
    base, rest = "/" + "/".join(parts[:base_length]), parts[base_length:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    resource = resource_at(base, rest[0])
    sub = rest[2] if len(rest) == 3 else ""
    if sub and sub not in resource.subresources:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return Target(resource, namespace, rest[1] if len(rest) > 1 else "", sub)


def answer(storage: Storage, call: Call) -> tuple[int, Object]:
    """The HTTP status and the object. Raises ``ApiError``."""
    target = call.target
    plural, namespace, name = target.resource.plural, target.namespace, target.name
    match (call.method, bool(name), target.subresource):
        case ("GET", False, ""):
            return 200, _list(storage, call)
        case ("GET", True, "" | "status"):
            return 200, _shown(storage.get(plural, namespace, name), target.resource)
        case ("POST", False, ""):
            check_new(target.resource, call.body, namespace)
            manifest = completed(target.resource, call.body)
            return 201, _shown(storage.create(plural, namespace, manifest), target.resource)
        case ("POST", True, "eviction"):
            return 201, _evict(storage, call)
        case ("PUT" | "PATCH", True, "" | "status"):
            return 200, _shown(_change(storage, call), target.resource)
        case ("DELETE", True, ""):
            options = call.body if isinstance(call.body, Mapping) else {}
            grace = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
            wanted = options.get("preconditions") or {}
            now = storage.get(plural, namespace, name)["metadata"]
            if wanted.get("resourceVersion") not in {None, "", now["resourceVersion"]}:
                raise conflict(
                    plural, name, "the ResourceVersion in the precondition does not match the ResourceVersion in record"
                )
            uid = str(wanted.get("uid") or "")
            deleted = storage.delete(plural, namespace, name, grace_s=None if grace is None else int(grace), uid=uid)
            if plural == "pods" or deleted["metadata"].get("finalizers"):
                return 200, _shown(deleted, target.resource)
            details = {"name": name, "kind": plural, "uid": now["uid"]}
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def _list(storage: Storage, call: Call) -> Object:
    resource, query = call.target.resource, call.query
    wanted = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    found, version = storage.listed(resource.plural, call.target.namespace)
    items = [each for each in found if wanted(each)]
    start, limit = 0, _whole(query, "limit")
    asked = _whole(query, "resourceVersion")
    if asked > version:
        raise ApiError(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {version}", retry_after_s=1)
    if query.get("continue"):
        try:
            token = json.loads(base64.urlsafe_b64decode(query["continue"]))
            version, after = int(token["v"]), str(token["after"])
        except (ValueError, KeyError) as cause:
            raise bad_request("continue key is not valid") from cause
        try:
            storage.since(version)
        except ApiError:
            raise gone(storage.version, version) from None
        start = next((place for place, each in enumerate(items) if each["metadata"]["name"] > after), len(items))
    page = items[start : start + limit] if limit else items[start:]
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    left = len(items) - start - len(page)
    if left:
        token_text = json.dumps({"v": version, "after": page[-1]["metadata"]["name"]})
        metadata["continue"] = base64.urlsafe_b64encode(token_text.encode()).decode()
        metadata["remainingItemCount"] = left
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": page}


def _whole(query: Mapping[str, str], name: str) -> int:
    try:
        return int(query.get(name) or 0)
    except ValueError as cause:
        raise bad_request(f"{name}: Invalid value: {query[name]!r}: invalid syntax") from cause


def _change(storage: Storage, call: Call) -> Object:
    target = call.target

    def changing(before: Object) -> Object:
        if call.method == "PUT":
            if not isinstance(call.body, Mapping):
                raise bad_request("an object is wanted")
            after = dict(call.body)
            _check_put(target, after)
        else:
            after = patched(before, call.body, call.content_type)
        if target.subresource == "status":
            kept = {"metadata": {**before["metadata"], "resourceVersion": _version(after)}}
            return {**before, **kept, "status": after.get("status", {})}
        check_changed_finalizers(target.resource.kind, before["metadata"], after.get("metadata") or {})
        if target.resource.plural == "pods":
            check_changed_pod(before, after, target.name)
            after = {**after, "status": before.get("status", {})}
        if target.resource.plural == "leases":
            check_lease(after)
        return after

    return storage.change(target.resource.plural, target.namespace, target.name, changing)


def _check_put(target: Target, after: Mapping[str, Any]) -> None:
    """Raises 400 for another's name, and 422 for a Lease that does not say which version it replaces."""
    name = str((after.get("metadata") or {}).get("name") or target.name)
    if name != target.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
    if target.resource.plural == "leases" and not _version(after):
        raise invalid("Lease", name, "metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")


def _version(after: Mapping[str, Any]) -> str:
    return str((after.get("metadata") or {}).get("resourceVersion") or "")


def _evict(storage: Storage, call: Call) -> Object:
    """The condition first, then the deletion, as the eviction subresource does."""
    target, reason = call.target, EVICTED
    if ((call.body or {}).get("metadata") or {}).get("name", target.name) != target.name:
        raise bad_request("name in URL does not match name in Eviction object")

    def marked(pod: Object) -> Object:
        status = dict(pod.get("status") or {})
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": reason[0],
            "message": reason[1],
            "lastProbeTime": None,
            "lastTransitionTime": storage.now(),
        }
        others = [each for each in status.get("conditions") or [] if each["type"] != "DisruptionTarget"]
        return {**pod, "status": {**status, "conditions": [*others, condition]}}

    storage.change("pods", target.namespace, target.name, marked)
    options = (call.body or {}).get("deleteOptions") or {}
    grace = options.get("gracePeriodSeconds")
    storage.delete("pods", target.namespace, target.name, grace_s=None if grace is None else int(grace))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _shown(each: Object, resource: Resource) -> Object:
    return {"kind": resource.kind, "apiVersion": resource.api_version, **each}


__all__ = ["EVICTED", "Call", "Target", "answer", "target_of"]

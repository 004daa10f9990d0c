"""A service-account token for those of our containers that ask the Kubernetes API, and for no other. Pure.

What a pod gets of itself (``automountServiceAccountToken``) goes to each of its containers. This one is a volume in ours alone,
at the place where everybody looks; the API server adds nothing of its own where something is mounted already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_VOLUME: Final = "copilot-token"  # noqa: S105 - a volume's name
TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a directory
_VALID_S: Final = 3607  # as the API server asks for its own: the kubelet renews it


def token_volume() -> dict[str, Any]:
    """Token, authority and namespace, as the API server itself would mount them."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _VALID_S}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": TOKEN_VOLUME, "projected": {"sources": sources}}


def with_token(container: Mapping[str, Any]) -> dict[str, Any]:
    """``container`` with the token's volume mounted."""
    mount = {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": True}
    return {**container, "volumeMounts": [*container.get("volumeMounts", ()), mount]}

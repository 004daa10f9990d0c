"""A Kubernetes API server and kubelet in this process: the real wire protocol, and pods that really run, as processes."""

from __future__ import annotations

from copilot.testing.kubernetes.double import KubernetesDouble

__all__ = ["KubernetesDouble"]

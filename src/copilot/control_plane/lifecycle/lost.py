"""Pods whose node tells nothing any more. Pure.

A kubelet that lives ends a pod that is to go by its deletion timestamp, and says so. Where it is dead the pod stays as it was
last seen, "running", for as long as the node's object is there: five minutes after the node's last word the cluster asks for
its deletion, and nobody is left to confirm it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.control_plane.lifecycle.moves import Blame, Ending
from copilot.control_plane.lifecycle.observe import Pod, look, seconds
from copilot.control_plane.lifecycle.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping


def node_lost(pod: Pod, *, now: float, patience_s: float) -> bool:
    """The pod should have ended ``patience_s`` ago at the latest, and nobody has said so."""
    due = seconds((pod.get("metadata") or {}).get("deletionTimestamp"))
    return due is not None and now >= due + patience_s and not look(pod).finished


def lost_ending(pod: Pod) -> Ending:
    """How an attempt ends of which nothing else is known."""
    node = str((pod.get("spec") or {}).get("nodeName") or "no node")
    conditions: list[Mapping[str, object]] = (pod.get("status") or {}).get("conditions") or []
    said = next((str(each.get("message") or "") for each in conditions if each.get("type") == "DisruptionTarget"), "")
    message = f"The pod was to end, and its node ({node}) has not said that it did: the node is lost. {said}".strip()
    return Ending(Phase.FAILED, Blame.PREEMPTION, "NodeLost", message)

"""What a pod is made of. ``build_pod`` is the whole of it; the other modules are its parts. Pure."""

from __future__ import annotations

from copilot.control_plane.pods.build import FINALIZER, build_pod
from copilot.control_plane.pods.settings import CONTROL_DIR, PodSettings, load_templates

__all__ = ["CONTROL_DIR", "FINALIZER", "PodSettings", "build_pod", "load_templates"]

"""The scheduler's ``PodMaker``: the pure functions with their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.control_plane.lifecycle.outcome import attempt_outcome
from copilot.control_plane.pods.build import build_pod

if TYPE_CHECKING:
    from copilot.control_plane.lifecycle.moves import Ending
    from copilot.control_plane.lifecycle.observe import Pod
    from copilot.control_plane.lifecycle.work import AttemptWork, BuiltPod, Published
    from copilot.control_plane.pods.settings import PodSettings


class Pods:
    """Makes pods and judges their ends.

    Args:
        settings: the pods'.
    """

    def __init__(self, settings: PodSettings) -> None:
        """See the class."""
        self.settings = settings

    def build(self, work: AttemptWork) -> BuiltPod:
        """See ``build_pod``."""
        return build_pod(work, self.settings)

    def judge(self, work: AttemptWork, pod: Pod | None, published: Published) -> Ending | None:
        """See ``attempt_outcome``."""
        return attempt_outcome(work, pod, published)

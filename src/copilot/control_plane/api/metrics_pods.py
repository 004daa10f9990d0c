"""The pods' API, counted and timed: another ``PodApi`` in front of the one that does the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from copilot.core.errors import CopilotError
from copilot.core.ports import PodApi

if TYPE_CHECKING:
    from copilot.control_plane.api.metrics import ServerMetrics
    from copilot.core.ports import CancelToken

T = TypeVar("T")
Pod = Mapping[str, object]


class MeasuredPods(PodApi):
    """What ``pods`` does, and ``metrics`` hears of it.

    Args:
        pods: does the work; what it has beside the port can be reached through this.
        metrics: counts and times.
    """

    def __init__(self, pods: PodApi, metrics: ServerMetrics) -> None:
        """See the class."""
        self._pods, self._metrics = pods, metrics

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the executor has
        return getattr(self._pods, name)

    def create(self, manifest: Pod, *, secrets: Sequence[Pod] = ()) -> Pod:
        """See the port."""
        return self._call("create", lambda: self._pods.create(manifest, secrets=secrets))

    def get(self, namespace: str, name: str) -> Pod:
        """See the port."""
        return self._call("get", lambda: self._pods.get(namespace, name))

    def watch(self, namespace: str, cancel: CancelToken) -> Iterator[tuple[str, Pod]]:
        """See the port."""
        with self._metrics.pod_watches.track_inprogress():
            for kind, pod in self._pods.watch(namespace, cancel):
                self._metrics.pod_event(kind)
                yield kind, pod

    def logs(
        self, namespace: str, name: str, container: str, *, follow: bool, cancel: CancelToken, timestamps: bool = False
    ) -> Iterator[bytes]:
        """See the port. What is timed is the beginning: how long a log is, is the task's affair."""
        return self._call(
            "logs",
            lambda: self._pods.logs(namespace, name, container, follow=follow, cancel=cancel, timestamps=timestamps),
        )

    def delete(self, namespace: str, name: str, *, grace_s: float) -> None:
        """See the port."""
        self._call("delete", lambda: self._pods.delete(namespace, name, grace_s=grace_s))

    def release(self, namespace: str, name: str) -> None:
        """See the port."""
        self._call("release", lambda: self._pods.release(namespace, name))

    def _call(self, op: str, call: Callable[[], T]) -> T:
        began, result = time.perf_counter(), "ok"
        try:
            return call()
        except CopilotError as error:
            result = error.reason
            raise
        finally:
            self._metrics.pod_call(op, time.perf_counter() - began, result)

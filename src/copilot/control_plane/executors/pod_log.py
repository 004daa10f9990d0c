"""One container's log from the Kubernetes API: whole lines, taken up where it broke off, never ended by what only failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from copilot.control_plane.executors.pod_watch import read_until
from copilot.core.errors import CopilotError, PodNotFound, PodRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from copilot.control_plane.executors.api_client import ApiClient
    from copilot.core.ports import CancelToken, Clock

_AGAIN_S: Final = 0.3


class PodLog:
    """One reading of one log.

    Args:
        client: the API server.
        path: the log's (``/api/v1/namespaces/x/pods/y/log``).
        container: whose.
        follow: until the container's end, and not only what is there.
        state: whether the container writes nothing more, and whether it has written nothing yet.
        clock: for patience.
        patience_s: how long what is written already is asked for while the API, or the node, does not give it.
    """

    def __init__(
        self,
        client: ApiClient,
        path: str,
        container: str,
        *,
        follow: bool,
        state: Callable[[], tuple[bool, bool]],
        clock: Clock,
        patience_s: float,
    ) -> None:
        """See the class."""
        self._client, self._path, self._state = client, path, state
        self._query = {"container": container, "timestamps": "true", **({"follow": "true"} if follow else {})}
        self._follow, self._clock, self._patience_s = follow, clock, patience_s
        self._last = b""
        self._over = self._waits = False
        self._failing_s: float | None = None

    def lines(self, cancel: CancelToken, *, timestamps: bool) -> Iterator[bytes]:
        """The lines. Raises what keeps those of an ended container from being read for too long."""
        while not cancel.cancelled:
            try:
                yield from self._rest(cancel, timestamps=timestamps)
                done = self._over
            except PodNotFound:
                return
            except CopilotError as error:
                done = self._bear(error)
            if done or cancel.wait(_AGAIN_S):
                return

    def _rest(self, cancel: CancelToken, *, timestamps: bool) -> Iterator[bytes]:
        """What is newer than the last line."""
        self._over, self._waits, from_here = not self._follow, False, self._last
        ended, self._waits = self._state()
        self._over = self._over or ended
        since = {"sinceTime": from_here.decode()} if from_here else {}
        for line in read_until(self._client.stream(self._path, {**self._query, **since}), cancel):
            at, _, text = line.partition(b" ")
            if at > from_here:
                self._last, self._failing_s = at, None
                yield line if timestamps else text

    def _bear(self, error: CopilotError) -> bool:
        """Whether the log has ended by this. Raises ``error`` where it is one."""
        if not error.transient:
            # A container that waited when we asked has no log yet; that it may have begun since changes nothing.
            if not (self._waits and isinstance(error, PodRefused)):
                raise error
            return not self._follow
        now_s = self._clock.monotonic_s()
        self._failing_s = now_s if self._failing_s is None else self._failing_s
        if self._over and now_s - self._failing_s >= self._patience_s:
            raise error
        return False

"""Our own pod, as the Kubernetes API shows it: the container's status, and whether the pod was to go.

Needs one right, ``get`` on ``pods`` in its own namespace; two paths of the API would not justify a client library.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from copilot.core.completion import Witness
from copilot.core.completion_pod import gone_sighting, pod_sighting
from copilot.core.errors import BadFlag, PodApiUnavailable, PodNotFound, PodRefused

if TYPE_CHECKING:
    import urllib3

    from copilot.core.ports import CancelToken, Clock, Completion, Log
    from copilot.upload.watchers.context import PodSource, WatcherContext

HURRIED_S: Final = 0.1
REFUSED_S: Final = 30.0
_SLICE_S: Final = 0.05
_TIMEOUT_S: Final = 1.0
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


class PodWatcher:
    """Waits until the task's container has ended.

    An API server that is away for a while is asked again; one that refuses us is so for half a minute: rights that are given
    together with the pod come when they come.

    Args:
        source: where the pod is looked up.
        clock: for the time of the observation.
        log: hears ``watch.retry`` when the API does not answer, or refuses us.
    """

    witness: Final = Witness.POD

    def __init__(self, source: PodSource, clock: Clock, log: Log) -> None:
        """See the class."""
        self._source = source
        self._clock = clock
        self._log = log
        self._hurried = threading.Event()
        self._pool: urllib3.PoolManager | None = None
        self._uid: str | None = None
        self._refused_s: float | None = None

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until the container has ended, says the status, or the pod is gone. After ``cancel``, one last look decides.

        Raises:
            PodRefused: we may not read the pod.
            PodNotFound: there never was one of that name.
        """
        while not cancel.cancelled:
            seen = self._look(last_word=False)
            if seen is not None:
                return seen
            self._pause(cancel)
        return self._look(last_word=True)

    def may_speak(self) -> bool:
        """A pod has a status."""
        return True

    def hurry(self) -> None:
        """Asks at once, and often: somebody waits for it."""
        self._hurried.set()

    def _pause(self, cancel: CancelToken) -> None:
        if self._hurried.is_set():
            cancel.wait(HURRIED_S)
            return
        until_s = self._clock.monotonic_s() + self._source.every_s
        while not cancel.cancelled and self._clock.monotonic_s() < until_s and not self._hurried.wait(_SLICE_S):
            pass

    def _look(self, *, last_word: bool) -> Completion | None:
        try:
            pod = self._get()
        except (PodApiUnavailable, PodRefused) as error:
            if isinstance(error, PodRefused) and self._refused_for_good(last_word=last_word):
                raise
            self._log.event("watch.retry", level="warning", reason=error.reason, message=error.message)
            return None
        except PodNotFound:
            if self._uid is None:
                raise
            return gone_sighting(self._clock.now_s())
        uid = str((pod.get("metadata") or {}).get("uid", ""))
        if self._uid is None:
            self._uid = uid
        elif uid != self._uid:
            return gone_sighting(self._clock.now_s())
        return pod_sighting(pod, observed_at_s=self._clock.now_s(), container=self._source.container, last_word=last_word)

    def _refused_for_good(self, *, last_word: bool) -> bool:
        now_s = self._clock.monotonic_s()
        if self._refused_s is None:
            self._refused_s = now_s
        return last_word or self._hurried.is_set() or now_s - self._refused_s >= REFUSED_S

    def _get(self) -> dict[str, Any]:
        import urllib3  # noqa: PLC0415 — paid for by who watches

        source = self._source
        namespace = source.namespace or _text(source.namespace_file) or "default"
        subject = f"{namespace}/{source.name}"
        url = f"{source.api.rstrip('/')}/api/v1/namespaces/{quote(namespace)}/pods/{quote(source.name)}"
        token = _text(source.token_file)
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            response = self._http().request("GET", url, headers=headers, retries=False, redirect=False)
        except urllib3.exceptions.HTTPError as cause:
            raise PodApiUnavailable("the Kubernetes API does not answer", op="watch", subject=subject) from cause
        if response.status == _NOT_FOUND:
            raise PodNotFound(
                f"there is no pod {source.name} in {namespace}",
                op="watch",
                subject=subject,
                hint="Set COPILOT_POD_NAME from metadata.name by the downward API.",
            )
        if response.status in {_UNAUTHORIZED, _FORBIDDEN}:
            raise PodRefused(
                f"the Kubernetes API does not let us read our own pod ({response.status})",
                op="watch",
                subject=subject,
                hint=f"Grant the service account get on pods in {namespace}, or leave the witness pod out.",
            )
        if response.status != _OK:
            raise PodApiUnavailable(f"the Kubernetes API answered {response.status}", op="watch", subject=subject)
        try:
            found: dict[str, Any] = json.loads(response.data)
        except ValueError as cause:
            raise PodApiUnavailable("the Kubernetes API's answer is no JSON", op="watch", subject=subject) from cause
        return found

    def _http(self) -> urllib3.PoolManager:
        if self._pool is None:
            import urllib3  # noqa: PLC0415 — paid for by who watches

            trusted = self._source.ca_file if Path(self._source.ca_file).exists() else None
            self._pool = urllib3.PoolManager(maxsize=1, ca_certs=trusted, timeout=urllib3.Timeout(_TIMEOUT_S))
        return self._pool


def open_watcher(context: WatcherContext) -> PodWatcher:
    """For the registry. Raises ``BadFlag`` outside of a pod."""
    if context.pod is None:
        raise BadFlag(
            "the pod witness needs a Kubernetes API and the pod's name, and there is none",
            op="watch",
            subject="pod",
            hint="It works inside a cluster only; outside, set COPILOT_KUBERNETES_API and COPILOT_POD_NAME.",
        )
    return PodWatcher(context.pod, context.clock, context.log)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip() if path else ""
    except (OSError, UnicodeDecodeError):
        return ""

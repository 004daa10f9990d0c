"""Steps of our containers, told to the control plane as they happen: hints, sent beside the work.

A report is a JSON object with ``step`` and ``message``, sent with ``POST`` and a bearer token that is good for this attempt
alone. It makes the server look at once; without it the server still finds out by itself. So nothing here raises or is tried
again, and the only wait is a short one at the very end, for what has not been sent yet.
"""

from __future__ import annotations

import json
import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import Log

SEND_S: Final = 1.0
GOODBYE_S: Final = 1.0
MAX_MESSAGE_CHARACTERS: Final = 4096
_MOST_WAITING: Final = 64
_ACCEPTED: Final = range(200, 300)


class Reporter:
    """Reports to one address, from a thread of its own.

    Args:
        url: where to.
        token: the bearer token.
        log: hears, at debug level, of reports that did not arrive.
        mask: goes over every message.
        send_s: how long one report may take, in seconds.
    """

    def __init__(
        self, url: str, token: str, *, log: Log, mask: Callable[[str], str] = lambda text: text, send_s: float = SEND_S
    ) -> None:
        """See the class."""
        self._url, self._token, self._log, self._mask, self._send_s = url, token, log, mask, send_s
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def say(self, step: str, message: str = "") -> None:
        """Tells of ``step`` (one word, at most 63 characters), soon. Returns at once; never raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="report", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((step, self._mask(message)[:MAX_MESSAGE_CHARACTERS]))
        except queue.Full:
            self._log.event("report.dropped", level="debug", step=step)

    def close(self, wait_s: float = GOODBYE_S) -> None:
        """Waits for what has not been sent, at most ``wait_s`` seconds. Harmless when called again."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        thread.join(wait_s)

    def _work(self) -> None:
        import urllib3  # noqa: PLC0415 - on this thread, and only where somebody wants to know

        with urllib3.PoolManager(num_pools=1, retries=False) as pool:
            while (report := self._waiting.get()) is not None:
                step, message = report
                try:
                    answer = pool.request(
                        "POST",
                        self._url,
                        body=json.dumps({"step": step, "message": message}).encode(),
                        headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
                        timeout=urllib3.Timeout(total=self._send_s),
                        redirect=False,
                    )
                except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                    self._log.event("report.failed", level="debug", step=step, error=type(error).__name__)
                else:
                    if answer.status not in _ACCEPTED:
                        self._log.event("report.refused", level="debug", step=step, status=answer.status)

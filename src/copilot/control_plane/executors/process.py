"""PodApi on this machine: each pod is a directory and a small detached supervisor; no cluster, no daemon, no image.

A server that is killed and started again finds its pods where they were: the supervisors went on without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from copilot.control_plane.executors.processes.log_files import read_log
from copilot.control_plane.executors.processes.lost import lost_status
from copilot.control_plane.executors.processes.memory_cgroup import memory_limits_work, remove_groups
from copilot.control_plane.executors.processes.nursery_process import NurseryProcess
from copilot.control_plane.executors.processes.records import Listeners, PodRecord, write_whole
from copilot.control_plane.executors.processes.sandbox import FULL, Sandbox, find_sandbox
from copilot.control_plane.executors.processes.status import TERMINAL, rfc3339
from copilot.control_plane.executors.processes.volumes import memory_directory, remove_memory
from copilot.core.errors import PodApiUnavailable, PodExists, PodNotFound, PodRefused
from copilot.core.ports import CancelToken, PodApi

INITIAL_EVENTS_END: Final = {"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}
LOOK_AROUND_S: Final = 2.0
_STARTING_S: Final = 10.0
_FOLLOW_S: Final = 0.05
_LEFT_BEHIND_S: Final = 3600.0
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY})

Pod = Mapping[str, Any]
Event = tuple[str, Pod]


class ProcessExecutor(PodApi):
    """Runs pods as processes.

    Args:
        root: the directory of everything it keeps; one executor's pods survive it there.
        sandbox: how processes are shut in; found out when not given.
        path: the ``PATH`` of containers; by default the server's own, with its Python's directory first.
        require_images: refuse pods instead of running their commands without their image.
        limits: enforce memory limits where this machine permits.

    Threads: safe from any; one thread of its own listens to the supervisors, another clears away what is over.
    """

    def __init__(
        self, root: Path, *, sandbox: Sandbox | None = None, path: str = "", require_images: bool = False, limits: bool = True
    ) -> None:
        """Finds the pods that are there and listens."""
        self._root = root.resolve()
        (self._root / "pods").mkdir(parents=True, exist_ok=True)
        self._root.chmod(0o700)
        (self._root / "new").mkdir(exist_ok=True)
        self.sandbox = sandbox or find_sandbox()
        self._base_env = {
            "PATH": path or os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }
        self._require_images, self._limits = require_images, limits
        self._lock = threading.RLock()
        self._seen: dict[tuple[str, str], Pod] = {}
        self._watchers: dict[str, list[queue.SimpleQueue[Event]]] = {}
        self._born: dict[tuple[str, str], float] = {}
        self._listeners = Listeners(self._root / "listeners")
        self._pipe_name = uuid.uuid4().hex
        self._pipe = self._listeners.open(self._pipe_name)
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC)
        self._closed = False
        self._sweeper = ThreadPoolExecutor(1, "process-executor-sweep")
        self._sweep_left_behind()
        self._nursery = NurseryProcess(self._base_env["PATH"])
        self._look_around()
        self._thread = threading.Thread(target=self._listen, name="process-executor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening. The pods go on."""
        if self._closed:
            return
        self._closed = True
        os.write(self._waker, b"\0")
        self._thread.join()
        self._sweeper.shutdown(cancel_futures=True)
        self._nursery.close()
        self._listeners.close(self._pipe_name)
        for descriptor in (self._pipe, self._woken, self._waker):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- PodApi ----------------------------------------------------------------------------------------------------

    def create(self, manifest: Pod, *, secrets: Sequence[Pod] = ()) -> Pod:
        """See the port. A new pod's supervisor is on its way when this returns."""
        metadata = manifest.get("metadata") or {}
        namespace, name = str(metadata.get("namespace") or "default"), str(metadata.get("name") or "")
        self._refuse_what_cannot_run(manifest, name)
        uid = str(uuid.uuid4())
        created = {"uid": uid, "namespace": namespace, "creationTimestamp": rfc3339(time.time(), precise=True)}
        pod = {"apiVersion": "v1", "kind": "Pod", **manifest, "metadata": {**metadata, **created}}
        new, place = self._root / "new" / uid, self._root / "pods" / namespace / name
        try:
            with _disk("create", namespace, name):
                new.mkdir()
                place.parent.mkdir(exist_ok=True)
                write_whole(new / "pod.json", pod)
                if secrets:
                    objects = _objects(pod)
                    objects.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    write_whole(objects, list(secrets), 0o600)  # type: ignore[arg-type]  # a list is JSON as well
                new.rename(place)
        except PodApiUnavailable as error:
            shutil.rmtree(new, ignore_errors=True)
            remove_memory(pod)
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _TAKEN:
                raise PodExists(
                    f"a pod named {name} is there already", op="create", subject=f"{namespace}/{name}"
                ) from error.__cause__
            raise
        self._supervise(place, pod)
        with _disk("create", namespace, name):
            self._look(namespace, name)
        return self.get(namespace, name)

    def get(self, namespace: str, name: str) -> Pod:
        """See the port."""
        with _disk("get", namespace, name):
            pod = self._record(namespace, name).read()
        if pod is None:
            raise PodNotFound(f"there is no pod named {name}", op="get", subject=f"{namespace}/{name}")
        return pod

    def watch(self, namespace: str, cancel: CancelToken) -> Iterator[Event]:
        """See the port."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        with self._lock:
            for (of, _), pod in sorted(self._seen.items()):
                if of == namespace:
                    events.put(("ADDED", pod))
            events.put(("BOOKMARK", INITIAL_EVENTS_END))
            self._watchers.setdefault(namespace, []).append(events)
        try:
            while not cancel.cancelled and not self._closed:
                with contextlib.suppress(queue.Empty):
                    yield events.get(timeout=min(0.2, cancel.remaining_s() or 0.2))
        finally:
            with self._lock:
                self._watchers[namespace].remove(events)

    def logs(
        self, namespace: str, name: str, container: str, *, follow: bool, cancel: CancelToken, timestamps: bool = False
    ) -> Iterator[bytes]:
        """See the port."""
        pod = self.get(namespace, name)
        attempt = _container_status(pod, container).get("restartCount", 0)
        file = self._record(namespace, name).directory / "logs" / container / f"{attempt}.log"

        def more() -> bool:
            if not follow or cancel.cancelled:
                return False
            try:
                now = _container_status(self.get(namespace, name), container)
            except PodNotFound:
                return False
            over = "terminated" in now.get("state", {}) or now.get("restartCount", 0) != attempt
            return not over and not self._over(namespace, name) and not cancel.wait(_FOLLOW_S)

        def text() -> Iterator[bytes]:
            try:
                yield from read_log(file, timestamps=timestamps, more=more)
            except FileNotFoundError:
                self.get(namespace, name)  # a pod that went took its log along; one that is there has said nothing yet

        return text()

    def delete(self, namespace: str, name: str, *, grace_s: float) -> None:
        """See the port."""
        with self._lock, _disk("delete", namespace, name):
            record = self._record(namespace, name)
            if record.read() is None:
                return
            known = record.deletion()
            if known is None or grace_s < known["deletionGracePeriodSeconds"]:
                record.write_deletion(rfc3339(time.time() + grace_s, precise=True), grace_s)
            record.poke()
            self._look(namespace, name)

    def release(self, namespace: str, name: str) -> None:
        """See the port."""
        with self._lock, _disk("release", namespace, name):
            record = self._record(namespace, name)
            if record.read() is None:
                return
            record.release()
            self._look(namespace, name)

    # --- what people should know --------------------------------------------------------------------------------------

    def notes(self, manifest: Pod) -> list[str]:
        """What of this pod is not as on a cluster here, a sentence each: for the run's events."""
        spec = manifest["spec"]
        images = sorted({str(each["image"]) for each in spec["containers"] if each.get("image")})
        said = [f"The image {image} is not used: the command runs as it stands on this machine." for image in images]
        if self.sandbox.mode != FULL:
            said.append(f"Processes are not isolated fully here (mode {self.sandbox.mode}): install bubblewrap.")
        limited = any("memory" in ((each.get("resources") or {}).get("limits") or {}) for each in spec["containers"])
        if limited and not (self._limits and memory_limits_work()):
            said.append("Memory limits are not enforced here: this server may not make control groups.")
        return said

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _refuse_what_cannot_run(self, manifest: Pod, name: str) -> None:
        containers = (manifest.get("spec") or {}).get("containers")
        if not name or "/" in name or name.startswith(".") or not containers:
            raise PodRefused("the manifest is no pod: it needs metadata.name and spec.containers", op="create", subject=name)
        if self._require_images:
            raise PodRefused(
                "this executor runs commands without their image, and images are required",
                op="create",
                subject=name,
                hint="Use the Kubernetes executor, or start the server without --require-images.",
            )

    def _record(self, namespace: str, name: str) -> PodRecord:
        return PodRecord(self._root / "pods" / namespace / name)

    def _over(self, namespace: str, name: str) -> bool:
        with _disk("logs", namespace, name):
            pod = self._record(namespace, name).read()
        return pod is None or pod["status"].get("phase") in TERMINAL

    def _supervise(self, place: Path, pod: Pod) -> None:
        told = {
            "directory": str(place),
            "root": str(self._root),
            "objects": str(_objects(pod)),
            "sandbox": [self.sandbox.mode, self.sandbox.bubblewrap],
            "base_env": self._base_env,
            "limits": self._limits,
        }
        with self._lock:
            self._born[(pod["metadata"]["namespace"], pod["metadata"]["name"])] = time.monotonic()
            self._nursery.ask(told)

    def _listen(self) -> None:
        rest, next_look = b"", time.monotonic() + LOOK_AROUND_S
        while not self._closed:
            ready, _, _ = select.select([self._pipe, self._woken], [], [], max(0.0, next_look - time.monotonic()))
            if self._pipe in ready:
                with contextlib.suppress(BlockingIOError):
                    *lines, rest = (rest + os.read(self._pipe, 65536)).split(b"\n")
                    for line in dict.fromkeys(lines):
                        namespace, _, name = line.decode().partition("/")
                        with contextlib.suppress(OSError):  # what could not be read now is looked at again soon
                            self._look(namespace, name)
            if time.monotonic() >= next_look:
                self._look_around()
                next_look = time.monotonic() + LOOK_AROUND_S

    def _look_around(self) -> None:
        """Everything there is: what was missed, supervisors that died, pods made by a server that died at once after."""
        found = {(each.parent.name, each.name) for each in (self._root / "pods").glob("*/*")}
        for namespace, name in found | set(self._seen):
            with contextlib.suppress(OSError):  # a machine out of files, say: the others, and this one the next time
                self._look(namespace, name, check_supervisor=True)

    def _look(self, namespace: str, name: str, *, check_supervisor: bool = False) -> None:
        key, record = (namespace, name), self._record(namespace, name)
        with self._lock:
            pod = record.read()
            if pod is not None and pod["status"].get("phase") in TERMINAL:
                if _may_go(pod, released=record.released()):
                    self._remove(key, record, pod)
                    return
            elif pod is not None and check_supervisor:
                self._check_supervisor(key, record, pod)
                pod = record.read()
            before = self._seen.get(key)
            if before is not None and (pod is None or pod["metadata"]["uid"] != before["metadata"]["uid"]):
                self._forget(key, before)
                before = None
            if pod is not None and pod != before:
                self._seen[key] = pod
                self._tell(namespace, "ADDED" if before is None else "MODIFIED", pod)

    def _check_supervisor(self, key: tuple[str, str], record: PodRecord, pod: Pod) -> None:
        young = time.monotonic() - self._born.get(key, -_STARTING_S) < _STARTING_S
        if young or record.supervised():
            return
        if not record.begun():
            self._supervise(record.directory, pod)
            return
        fresh = record.read()
        if fresh is not None and fresh["status"].get("phase") not in TERMINAL:
            record.kill_processes()
            remove_groups(str(pod["metadata"]["uid"]))
            record.write_status(lost_status(fresh, time.time()))
            remove_memory(pod)

    def _remove(self, key: tuple[str, str], record: PodRecord, pod: Pod) -> None:
        trash = self._root / "new" / uuid.uuid4().hex
        try:
            record.directory.rename(trash)
        except FileNotFoundError:  # another server was faster
            pass
        else:
            self._sweep(trash)
        remove_memory(pod)
        self._forget(key, pod)

    def _forget(self, key: tuple[str, str], pod: Pod) -> None:
        self._seen.pop(key, None)
        self._born.pop(key, None)
        self._tell(key[0], "DELETED", pod)

    def _sweep(self, trash: Path) -> None:
        """A task may leave a million files: nobody waits for their removal."""
        with contextlib.suppress(RuntimeError):  # closed: the next start finds it
            self._sweeper.submit(shutil.rmtree, trash, ignore_errors=True)

    def _sweep_left_behind(self) -> None:
        """What a server that was killed had begun to make, or to clear away."""
        for each in (self._root / "new").iterdir():
            with contextlib.suppress(OSError):
                if time.time() - each.stat().st_mtime > _LEFT_BEHIND_S:
                    shutil.rmtree(memory_directory(each.name), ignore_errors=True)
                    self._sweep(each)

    def _tell(self, namespace: str, kind: str, pod: Pod) -> None:
        for events in self._watchers.get(namespace, ()):
            events.put((kind, pod))


def _container_status(pod: Pod, container: str) -> Pod:
    statuses = [*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())]
    return next((each for each in statuses if each["name"] == container), {})


def _may_go(pod: Pod, *, released: bool) -> bool:
    """An ended pod whose last state nobody needs any more."""
    wanted_gone = released or pod["metadata"].get("deletionTimestamp")
    return bool(wanted_gone) and not pod["metadata"].get("finalizers")


@contextlib.contextmanager
def _disk(op: str, namespace: str, name: str) -> Iterator[None]:
    """Trouble with a pod's files, told as what it is: nothing is known of the pod, not that it is gone."""
    try:
        yield
    except OSError as cause:
        raise PodApiUnavailable(
            f"the pod's files cannot be used: {cause.strerror or type(cause).__name__}",
            op=op,
            subject=f"{namespace}/{name}",
            hint="See whether the server's data directory is full, or the server has too many files open.",
        ) from cause


def _objects(pod: Pod) -> Path:
    """Where the Secrets that came with a pod wait for its supervisor: in memory, never on disk."""
    return memory_directory(str(pod["metadata"]["uid"])) / ".objects.json"

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec
from sqlalchemy import select

from copilot.control_plane import runs
from copilot.control_plane.db.models import Action, Attempt, Event, Project
from copilot.control_plane.executors.bridge import Executor
from copilot.control_plane.hub import action_topic
from copilot.control_plane.keys import FixedKeys
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.lifecycle.moves import Blame, Budgets, Ending
from copilot.control_plane.lifecycle.observe import Pod, main_status
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.lifecycle.scheduler import Scheduler
from copilot.control_plane.lifecycle.work import AttemptWork, BuiltPod, Published
from copilot.control_plane.objects import Objects
from copilot.control_plane.office import Office
from copilot.control_plane.secret_store import EmbeddedSecrets
from copilot.control_plane.settings import Limits, ServerSettings, Timing
from copilot.control_plane.signing import UrlSigner
from copilot.control_plane.vault import Vault
from copilot.stores.registry import open_stores
from copilot.testing.fake_pods import FakePods
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Database, Unit
    from copilot.core.ports import Stores

FAST = Timing(
    lease_s=3.0,
    resync_s=1.0,
    sweep_s=0.1,
    abort_grace_s=1.0,
    settle_s=1.0,
    retry_s=0.05,
    start_s=2.0,
    crash_s=0.05,
    lost_s=1.0,
    log_s=1.0,
)


class WallClock:
    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


class PlainMaker:
    """The smallest pods there can be, judged by main's exit code and by what is in the store.

    Attributes:
        bug: what making a pod raises, as a bug of ours would.
    """

    def __init__(self) -> None:
        self.bug: Exception | None = None

    def build(self, work: AttemptWork) -> BuiltPod:
        if self.bug is not None:
            raise self.bug
        metadata = {"name": work.pod_name, "namespace": work.namespace}
        return BuiltPod({"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "none"}]}})

    def judge(self, work: AttemptWork, pod: Pod | None, published: Published) -> Ending | None:
        del work
        if published.outputs:
            return Ending(Phase.SUCCEEDED)
        if pod is None:
            return Ending(Phase.FAILED, Blame.PREEMPTION, "PodGone", "the pod is gone")
        terminated = ((main_status(pod) or {}).get("state") or {}).get("terminated")
        if terminated is None:
            return None
        if terminated["exitCode"] == 0:
            return Ending(Phase.SUCCEEDED)
        if terminated["reason"] == "Evicted":
            return Ending(Phase.FAILED, Blame.PREEMPTION, "Evicted", "evicted")
        if terminated["reason"] == "NodeLost":
            return Ending(Phase.FAILED, Blame.SYSTEM, "NodeLost", "the node is lost")
        retryable = terminated["reason"] != "Fatal"
        return Ending(Phase.FAILED, Blame.USER, "TaskFailed", f"exit code {terminated['exitCode']}", retryable=retryable)


class ListeningLog(RecordingLog):
    """Remembers, and tells when an attempt had to be looked at again."""

    def __init__(self) -> None:
        super().__init__()
        self.heard_again = threading.Event()

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None:
        super().event(name, level=level, **fields)
        if name == "attempt.again":
            self.heard_again.set()


class World:
    """A scheduler with pods that the test runs by hand."""

    def __init__(self, database: Database, directory: Path, pods: FakePods, limits: Limits) -> None:
        self.database = database
        self.pods = pods
        self.log = ListeningLog()
        self.settings = ServerSettings(
            data=directory, limits=limits, timing=FAST, budgets=Budgets(backoff_s=0.01, system_failures=2, preemptions=2)
        )
        self.maker = PlainMaker()
        self.stores: Stores = open_stores()
        self._servers: list[tuple[Scheduler, Office]] = []

    async def start(self) -> Scheduler:
        self.database.hub.bind()
        vault = Vault(FixedKeys([b"k" * 32]))
        office = Office(
            database=self.database,
            objects=Objects(self.stores, max_bytes=1_000_000),
            executor=Executor(self.pods, "copilot", self.log),
            vault=vault,
            secrets=EmbeddedSecrets(self.database, vault, WallClock()),
            maker=self.maker,
            clock=WallClock(),
            log=self.log,
            settings=self.settings,
            signer=UrlSigner(b"k"),
        )
        scheduler = Scheduler(office)
        await scheduler.start()
        self._servers.append((scheduler, office))
        return scheduler

    async def stop(self, *, release: bool = True) -> None:
        """Stops every scheduler; without ``release`` as a crash would: nothing is let go, nothing is finished."""
        for scheduler, office in self._servers:
            if release:
                await scheduler.stop()
            else:
                tasks = [*scheduler._loops, *scheduler._keepers.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            office.executor.close()
            office.objects.close()
        self._servers.clear()

    async def submit(self, name: str = "", *, project: str = "p", retries: int = 0, **metadata: timedelta) -> int:
        spec = task_spec(retries=retries, **metadata)

        def create(unit: Unit) -> int:
            if unit.session.get(Project, project) is None:
                unit.session.add(Project(id=project, created_at=1.0))
                unit.session.flush()
            new = runs.NewRun(project, "development", name, spec, RunSpec(), "", "digest")
            _, action = runs.create_run(unit, new, now=time.time(), store_base=self.settings.store_base)
            return action.id

        return await self.database.write(create)

    async def begun(self, *, retries: int = 0) -> tuple[int, str]:
        """A first action whose main runs: its id, and its pod's name."""
        action_id = await self.submit(retries=retries)
        (pod,) = await self.created(1)
        self.pods.start(pod)
        await self.until(action_id, Phase.RUNNING)
        return action_id, pod

    async def call(self, parent_id: int, name: str) -> int:
        """A child action, as a task that calls another one makes it."""

        def create(unit: Unit) -> int:
            parent = unit.session.get_one(Action, parent_id)
            run = moves.run_of(unit.session, parent)
            action = runs.task_action(unit, run, name, task_spec(), parent=parent.name, group="", input_uri="", now=time.time())
            return action.id

        return await self.database.write(create)

    async def abort(self, action_id: int, reason: str = "because") -> bool:
        def abort(unit: Unit) -> bool:
            action = moves.lock(unit.session, action_id)
            assert action is not None
            return moves.abort(unit, action, reason=reason, by="", now=time.time())

        return await self.database.write(abort)

    async def change(self, action_id: int, **values: float) -> None:
        """Other values in the action's row, whatever its keeper writes there meanwhile; and everybody looks at it."""

        def change(unit: Unit) -> None:
            action = moves.lock(unit.session, action_id)
            assert action is not None
            for name, value in values.items():
                setattr(action, name, value)
            moves.told(unit, action)

        await self.database.write(change)

    async def action(self, action_id: int) -> Action:
        return await self.database.read(lambda session: session.get_one(Action, action_id))

    async def attempts(self, action_id: int) -> list[Attempt]:
        query = select(Attempt).where(Attempt.action_id == action_id).order_by(Attempt.number)
        return await self.database.read(lambda session: list(session.scalars(query)))

    async def events(self, action_id: int, attempt: int) -> list[Event]:
        query = select(Event).where(Event.action_id == action_id, Event.attempt == attempt).order_by(Event.id)
        return await self.database.read(lambda session: list(session.scalars(query)))

    async def until(self, action_id: int, *phases: Phase) -> Action:
        """Waits for one of ``phases``, woken by commits alone."""
        with self.database.hub.subscribe(action_topic(action_id)) as subscription:
            while True:
                action = await self.action(action_id)
                if action.phase in phases:
                    return action
                await subscription.wait()

    async def cleared(self, action_id: int) -> list[Attempt]:
        """Waits until nothing is left to do for any attempt, woken by commits alone."""
        with self.database.hub.subscribe(action_topic(action_id)) as subscription:
            while True:
                attempts = await self.attempts(action_id)
                if all(attempt.pod_gone for attempt in attempts):
                    return attempts
                await subscription.wait()

    async def created(self, count: int) -> list[str]:
        return await asyncio.to_thread(self.pods.wait_created, count)

    async def empty(self) -> None:
        await asyncio.to_thread(self.pods.wait_empty)


def task_spec(*, retries: int = 0, **metadata: timedelta) -> TaskSpec:
    spec = TaskSpec()
    spec.task_template.id.name = "t"
    spec.task_template.container.image = "none"
    spec.task_template.metadata.retries.retries = retries
    for key, value in metadata.items():
        getattr(spec.task_template.metadata, key).FromTimedelta(value)
    return spec


@pytest.fixture
def pods() -> FakePods:
    return FakePods()


@pytest.fixture
def world_on(tmp_path: Path, pods: FakePods) -> Callable[[Database], contextlib.AbstractAsyncContextManager[World]]:
    @contextlib.asynccontextmanager
    async def open_world(database: Database) -> AsyncIterator[World]:
        world = World(database, tmp_path, pods, Limits())
        await world.start()
        try:
            yield world
        finally:
            await world.stop()

    return open_world


@pytest.fixture
def world(database: Database, tmp_path: Path, pods: FakePods) -> Callable[..., contextlib.AbstractAsyncContextManager[World]]:
    @contextlib.asynccontextmanager
    async def open_world(**limits: int) -> AsyncIterator[World]:
        world = World(database, tmp_path, pods, replace(Limits(), **limits))
        await world.start()
        try:
            yield world
        finally:
            await world.stop()

    return open_world

"""``flyteidl2.actions.ActionsService``: what a running task calls to run other tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from flyteidl2.actions import actions_service_pb2 as pb
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.workflow.state_service_pb2 import ControlMessage
from sqlalchemy import select

from copilot.control_plane import layout, runs, task_checks
from copilot.control_plane.api import messages
from copilot.control_plane.api.callers import CALLER
from copilot.control_plane.api.required import need, need_action
from copilot.control_plane.api.watching import changes
from copilot.control_plane.db.models import Action, Run
from copilot.control_plane.errors import Conflict, InvalidRequest, NotServed, ResourceExists
from copilot.control_plane.hub import run_topic
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.lifecycle.phases import ROOT, TERMINAL, Phase
from copilot.control_plane.signals import signal_condition
from copilot.control_plane.tasks import find_task

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]


class ActionsService:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def enqueue(self, request: pb.EnqueueRequest, ctx: Context) -> pb.EnqueueResponse:
        """Adds an action to a run that is going on. The same action again changes nothing."""
        del ctx
        need(request, "action")
        asked = request.action
        need(asked, "action_id")
        need_action(asked.action_id)
        layout.check_action_name(asked.action_id.name)
        kind = asked.WhichOneof("spec")
        if kind is None:
            raise InvalidRequest("action.spec is required: a task, a trace or a condition")
        now, limits = self._office.clock.now_s(), self._office.settings.limits

        def add(unit: Unit) -> None:
            run = runs.require_run(unit.session, asked.action_id.run)
            known = unit.session.scalars(
                select(Action).where(Action.run_id == run.id, Action.name == asked.action_id.name)
            ).one_or_none()
            if known is not None:
                raise ResourceExists(f"action {run.name}/{known.name} exists already")
            parent_name = asked.parent_action_name or ROOT
            parent = runs.require_action(unit.session, run, parent_name, locked=True)
            if Phase(parent.phase).terminal:
                raise Conflict(f"action {run.name}/{parent.name} has ended and calls nothing any more")
            if asked.input_uri:
                layout.check_inside(asked.input_uri, run.output_base, "input_uri")
            if kind == "task":
                spec = asked.task.spec
                if not asked.task.HasField("spec"):
                    spec = runs.get_spec(unit.session, find_task(unit.session, asked.task.id).spec_digest)
                task_checks.check_spec(spec, RunSpec(), limits)
                runs.task_action(
                    unit,
                    run,
                    asked.action_id.name,
                    spec,
                    parent=parent.name,
                    group=asked.group,
                    input_uri=asked.input_uri,
                    now=now,
                )
            else:
                _other(unit, run, asked, kind, parent.name, now)

        await self._office.database.write(add)
        return pb.EnqueueResponse()

    async def watch_for_updates(
        self, request: pb.WatchForUpdatesRequest, ctx: Context
    ) -> AsyncIterator[pb.WatchForUpdatesResponse]:
        """Every action below a parent as it is, then the sentinel, then each change. Ends when the parent has ended."""
        del ctx
        if request.WhichOneof("filter") is None:
            raise InvalidRequest("filter is required")
        identifier = request.parent_action_id
        need_action(identifier, "parent_action_id")

        def find(session: Session) -> tuple[Run, Action]:
            run = runs.require_run(session, identifier.run)
            return run, runs.require_action(session, run, identifier.name)

        run, parent = await self._office.database.read(find)

        def look(session: Session) -> list[Action]:
            below = (Action.parent == parent.name) | (Action.id == parent.id)
            return list(session.scalars(select(Action).where(Action.run_id == run.id, below).order_by(Action.id)))

        sent: dict[int, int] = {}
        replayed = False
        async for rows in changes(self._office.database, run_topic(run.id), look):
            for action in rows:
                if sent.get(action.id) != action.version:
                    sent[action.id] = action.version
                    yield pb.WatchForUpdatesResponse(action_update=messages.action_update(run, action))
            if not replayed:
                replayed = True
                yield pb.WatchForUpdatesResponse(control_message=ControlMessage(sentinel=True))
            if any(action.id == parent.id and Phase(action.phase).terminal for action in rows):
                return

    async def abort(self, request: pb.AbortRequest, ctx: Context) -> pb.AbortResponse:
        """Aborts an action with everything below it; one that has ended stays as it is."""
        del ctx
        need_action(request.action_id)
        now, who = self._office.clock.now_s(), request.aborted_by.user.id.subject or CALLER.get().name

        def abort(unit: Unit) -> None:
            run = runs.require_run(unit.session, request.action_id.run)
            action = runs.require_action(unit.session, run, request.action_id.name, locked=True)
            moves.abort(unit, action, reason=request.reason, by=who, now=now)

        await self._office.database.write(abort)
        return pb.AbortResponse()

    async def signal(self, request: pb.SignalRequest, ctx: Context) -> pb.SignalResponse:
        """Lets a waiting condition go on with a value."""
        del ctx
        if not request.value.scalar.HasField("primitive"):
            raise InvalidRequest("signal value must be a concrete bool/int/float/str literal")
        need_action(request.action_id)
        await signal_condition(self._office, request.action_id, request.value)
        return pb.SignalResponse()

    async def update(self, request: pb.UpdateRequest, ctx: Context) -> pb.UpdateResponse:
        """Between parts of Flyte itself; here they are one."""
        del request, ctx
        raise NotServed("ActionsService.Update is not served here")


def _other(unit: Unit, run: Run, asked: pb.Action, kind: str, parent: str, now: float) -> None:  # noqa: PLR0917 - a private step
    detail: Any = getattr(asked, kind)
    phase = Phase.PAUSED
    if kind == "trace":
        said = detail.phase or Phase.SUCCEEDED
        if said not in TERMINAL:
            raise InvalidRequest(f"a trace is recorded when it has ended, not in phase {said}")
        phase = Phase(said)
        task_checks.check_times(detail.start_time, detail.end_time)
    runs.other_action(
        unit, run, asked.action_id.name, kind=kind, detail=detail, phase=phase, parent=parent, group=asked.group, now=now
    )

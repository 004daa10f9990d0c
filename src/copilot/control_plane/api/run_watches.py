"""The streams of ``flyteidl2.workflow.RunService``: each says how things are now, then every change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from flyteidl2.workflow import run_service_pb2 as pb
from sqlalchemy import select

from copilot.control_plane import runs
from copilot.control_plane.api import messages
from copilot.control_plane.api.required import need_action, need_run
from copilot.control_plane.api.watching import changes
from copilot.control_plane.db.models import Action, Attempt, Event, Run
from copilot.control_plane.errors import NotServed
from copilot.control_plane.hub import action_topic, project_topic, run_topic
from copilot.control_plane.lifecycle.phases import ROOT, Phase

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
    from sqlalchemy.orm import Session

    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]


class RunWatches:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def watch_run_details(
        self, request: pb.WatchRunDetailsRequest, ctx: Context
    ) -> AsyncIterator[pb.WatchRunDetailsResponse]:
        """A run as it is, and at each change of its root action, until it has ended."""
        del ctx
        need_run(request.run_id)
        run, action = await self._office.database.read(lambda session: find_root(session, request.run_id))

        def look(session: Session) -> pb.WatchRunDetailsResponse:
            now = session.get_one(Action, action.id)
            return pb.WatchRunDetailsResponse(details=messages.run_details(session, run, now))

        async for message in changes(self._office.database, action_topic(action.id), look):
            yield message
            if Phase(message.details.action.status.phase).terminal:
                return

    async def watch_action_details(
        self, request: pb.WatchActionDetailsRequest, ctx: Context
    ) -> AsyncIterator[pb.WatchActionDetailsResponse]:
        """An action as it is, and at each change; the last message carries its end."""
        del ctx
        need_action(request.action_id)
        run, action = await self._office.database.read(lambda session: find_action(session, request.action_id))

        def look(session: Session) -> pb.WatchActionDetailsResponse:
            now = session.get_one(Action, action.id)
            return pb.WatchActionDetailsResponse(details=messages.action_details(session, run, now))

        async for message in changes(self._office.database, action_topic(action.id), look):
            yield message
            if Phase(message.details.status.phase).terminal:
                return

    async def watch_cluster_events(
        self, request: pb.WatchClusterEventsRequest, ctx: Context
    ) -> AsyncIterator[pb.WatchClusterEventsResponse]:
        """What the cluster says of one attempt, until that has ended."""
        del ctx
        need_action(request.id, "id")
        _, action = await self._office.database.read(lambda session: find_action(session, request.id))
        number = request.attempt or 1

        def look(session: Session) -> tuple[int, list[Event], bool]:
            query = select(Event).where(Event.action_id == action.id, Event.attempt == number, Event.kind == "cluster")
            events = list(session.scalars(query.order_by(Event.id)))
            attempt = session.scalars(
                select(Attempt).where(Attempt.action_id == action.id, Attempt.number == number)
            ).one_or_none()
            ended = attempt is not None and attempt.ended_at is not None
            # The length alone says whether there is something new: events are only ever added.
            return len(events), events, ended or Phase(session.get_one(Action, action.id).phase).terminal

        sent = 0
        async for count, events, ended in changes(self._office.database, action_topic(action.id), look):
            if count > sent:
                yield pb.WatchClusterEventsResponse(cluster_events=messages.cluster_events(events[sent:]))
                sent = count
            if ended:
                return

    async def watch_runs(self, request: pb.WatchRunsRequest, ctx: Context) -> AsyncIterator[pb.WatchRunsResponse]:
        """The newest runs of a project, and again those that changed."""
        del ctx
        target = request.WhichOneof("target")
        if target != "project_id":
            raise NotServed("runs are watched by project here", hint="Set project_id.")
        project, domain = request.project_id.name, request.project_id.domain
        limit = self._office.settings.limits.max_page

        def look(session: Session) -> list[tuple[Run, Action]]:
            query = select(Run, Action).join(Action, (Action.run_id == Run.id) & (Action.name == ROOT))
            query = query.where(Run.project == project, Run.domain == domain).order_by(Run.id.desc()).limit(limit)
            return [(run, action) for run, action in session.execute(query)]

        sent: dict[int, int] = {}
        async for rows in changes(self._office.database, project_topic(project), look):
            fresh = [(run, action) for run, action in rows if sent.get(run.id) != action.version]
            sent = {run.id: action.version for run, action in rows}
            if fresh:
                yield pb.WatchRunsResponse(runs=[messages.run_message(run, action) for run, action in fresh])

    async def watch_actions(self, request: pb.WatchActionsRequest, ctx: Context) -> AsyncIterator[pb.WatchActionsResponse]:
        """A run's actions, and again those that changed, until the run has ended."""
        del ctx
        need_run(request.run_id)
        run, root = await self._office.database.read(lambda session: find_root(session, request.run_id))

        def look(session: Session) -> list[Action]:
            return list(session.scalars(select(Action).where(Action.run_id == run.id).order_by(Action.id)))

        sent: dict[int, int] = {}
        async for rows in changes(self._office.database, run_topic(run.id), look):
            fresh = [action for action in rows if sent.get(action.id) != action.version]
            sent = {action.id: action.version for action in rows}
            if fresh:
                response = pb.WatchActionsResponse()
                for action in fresh:
                    response.enriched_actions.add(action=messages.action_message(run, action), meets_filter=True)
                yield response
            if all(Phase(action.phase).terminal for action in rows if action.id == root.id):
                return


def find_root(session: Session, identifier: RunIdentifier) -> tuple[Run, Action]:
    """A run with its root action. Raises ``NoSuchResource``."""
    run = runs.require_run(session, identifier)
    return run, runs.require_action(session, run, ROOT)


def find_action(session: Session, identifier: ActionIdentifier) -> tuple[Run, Action]:
    """A run with one of its actions. Raises ``NoSuchResource``."""
    run = runs.require_run(session, identifier.run)
    return run, runs.require_action(session, run, identifier.name)

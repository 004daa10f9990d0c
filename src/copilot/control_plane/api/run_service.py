"""``flyteidl2.workflow.RunService``: runs are made, watched, listed and aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flyteidl2.common.identifier_pb2 import ActionIdentifier
from flyteidl2.core.literals_pb2 import LiteralMap
from flyteidl2.workflow import run_service_pb2 as pb
from google.protobuf.message import DecodeError
from sqlalchemy import ColumnElement, exists, select

from copilot.control_plane import layout, runs, task_checks
from copilot.control_plane.api import messages
from copilot.control_plane.api.callers import CALLER
from copilot.control_plane.api.lists import Page
from copilot.control_plane.api.required import need, need_action, need_domain, need_run
from copilot.control_plane.api.run_watches import RunWatches, find_action
from copilot.control_plane.db.models import Action, Attempt, Run, RunLabel
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, NotServed
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.lifecycle.phases import ROOT, Phase
from copilot.control_plane.notes import NOTES, notes_text
from copilot.control_plane.signals import literal_of, signal_condition
from copilot.control_plane.tasks import find_task
from copilot.core import podfiles

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from flyteidl2.task.task_definition_pb2 import TaskSpec
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit

    Context = RequestContext[Any, Any]

_RUN_COLUMNS: Final = {
    "created_at": Run.created_at,
    "updated_at": Action.updated_at,
    "start_time": Action.created_at,
    "ended_at": Action.ended_at,
    "end_time": Action.ended_at,
    "name": Run.name,
    "run_name": Run.name,
    "phase": Action.phase,
    "task_name": Action.task_name,
    "task_version": Action.task_version,
    "environment_name": Action.environment,
    "created_by": Run.created_by,
    "created_by.subject": Run.created_by,
}
_ACTION_COLUMNS: Final = {
    "created_at": Action.created_at,
    "updated_at": Action.updated_at,
    "start_time": Action.created_at,
    "end_time": Action.ended_at,
    "name": Action.name,
    "phase": Action.phase,
    "parent_name": Action.parent,
    "parent": Action.parent,
    "group": Action.group_name,
    "task_name": Action.task_name,
    "task_version": Action.task_version,
}


class RunService(RunWatches):
    """See the module."""

    # --- making -------------------------------------------------------------------------------------------------------

    async def create_run(self, request: pb.CreateRunRequest, ctx: Context) -> pb.CreateRunResponse:
        """A run, made now or by the same request before."""
        office = self._office
        project, domain, name = _place(request)
        need_domain(domain, office.settings)
        kind = request.WhichOneof("task")
        if kind is None:
            raise InvalidRequest("task is required: a task_spec or a task_id")
        if kind == "trigger_name":
            raise NotServed("triggers are not served here")
        digest = runs.request_digest(request)
        known = await office.database.read(lambda session: runs.find_run(session, project, domain, name)) if name else None
        if known is not None:
            # The same request again: whatever became of its inputs meanwhile, the answer is the same run.
            runs.check_same(known, digest)
            action = await office.database.read(lambda session: runs.require_action(session, known, ROOT))
            return pb.CreateRunResponse(run=messages.run_message(known, action))
        spec = request.task_spec if kind == "task_spec" else await self._deployed(request)
        task_checks.check_spec(spec, request.run_spec, office.settings.limits)
        if request.run_spec.run_base_dir:
            layout.check_inside(f"{request.run_spec.run_base_dir.rstrip('/')}/", office.settings.store_base, "run_base_dir")
        await office.database.read(lambda session: runs.require_project(session, project))
        input_uri = await self._inputs(request, spec, project, domain)
        new = runs.NewRun(
            project=project,
            domain=domain,
            name=name,
            spec=spec,
            run_spec=request.run_spec,
            input_uri=input_uri,
            digest=digest,
            source=request.source,
            created_by=CALLER.get().name,
        )
        now, base = office.clock.now_s(), office.settings.store_base

        def create(unit: Unit) -> tuple[Run, Action]:
            return runs.create_run(unit, new, now=now, store_base=base)

        run, action = await office.database.write(create)
        if notes := office.executor_notes({"spec": {"containers": [{"image": spec.task_template.container.image}]}}):
            ctx.response_headers()[NOTES] = notes_text(notes)
        return pb.CreateRunResponse(run=messages.run_message(run, action, dict(request.run_spec.labels.values)))

    async def _deployed(self, request: pb.CreateRunRequest) -> TaskSpec:
        def look(session: Session) -> TaskSpec:
            return runs.get_spec(session, find_task(session, request.task_id).spec_digest)

        return await self._office.database.read(look)

    async def _inputs(self, request: pb.CreateRunRequest, spec: TaskSpec, project: str, domain: str) -> str:
        """The URI of ``inputs.pb``, once what is in it fits the task; empty for a task without inputs that got none."""
        objects, kind = self._office.objects, request.WhichOneof("input_wrapper")
        if kind == "offloaded_input_data":
            uri = str(request.offloaded_input_data.uri).rstrip("/")
            if not uri:
                raise InvalidRequest("offloaded_input_data.uri is required")
            uri = uri if uri.endswith(".pb") else f"{uri}/inputs.pb"
            # A token that is good for one project must not read another's inputs by naming them.
            base = self._office.settings.store_base
            scoped = f"{base}/uploads/{project}/" if CALLER.get().project else base
            layout.check_inside(uri, scoped, "offloaded_input_data.uri")
            data = await objects.read(uri)
            if data is None:
                raise NoSuchResource(f"no inputs at {uri}", hint="Upload them with DataProxyService/UploadInputs first.")
        else:
            data = request.inputs.SerializeToString(deterministic=True)
            task_checks.check_size(data, self._office.settings.limits)
            uri = ""
        try:
            literals = LiteralMap.FromString(data)
        except DecodeError as cause:
            raise InvalidRequest("the inputs are no literals") from cause
        task_checks.check_inputs(spec, set(literals.literals))
        if not uri and literals.literals:
            base = request.run_spec.run_base_dir or self._office.settings.store_base
            # Named by what is in them: a request that loses its name to another one has written over nobody's inputs.
            uri = f"{layout.offloaded_inputs_uri(base, project, domain, layout.inputs_digest(data))}/{podfiles.INPUTS_PB}"
            await objects.write(uri, data)
        return uri

    # --- looking ------------------------------------------------------------------------------------------------------

    async def get_run_details(self, request: pb.GetRunDetailsRequest, ctx: Context) -> pb.GetRunDetailsResponse:
        """A run with what was asked and its root action."""
        del ctx
        need_run(request.run_id)

        def look(session: Session) -> pb.GetRunDetailsResponse:
            run = runs.require_run(session, request.run_id)
            action = runs.require_action(session, run, ROOT)
            return pb.GetRunDetailsResponse(details=messages.run_details(session, run, action))

        return await self._office.database.read(look)

    async def get_action_details(self, request: pb.GetActionDetailsRequest, ctx: Context) -> pb.GetActionDetailsResponse:
        """An action with its attempts."""
        del ctx
        need_action(request.action_id)

        def look(session: Session) -> pb.GetActionDetailsResponse:
            run, action = find_action(session, request.action_id)
            return pb.GetActionDetailsResponse(details=messages.action_details(session, run, action))

        return await self._office.database.read(look)

    async def get_action_data_u_r_is(self, request: pb.GetActionDataURIsRequest, ctx: Context) -> pb.GetActionDataURIsResponse:
        """Where an action's inputs and, once it has succeeded, its outputs are."""
        del ctx
        need_action(request.action_id)
        _, action = await self._office.database.read(lambda session: find_action(session, request.action_id))
        return pb.GetActionDataURIsResponse(inputs_uri=action.input_uri, outputs_uri=outputs_uri(action))

    async def get_action_log_context(
        self, request: pb.GetActionLogContextRequest, ctx: Context
    ) -> pb.GetActionLogContextResponse:
        """Which pod's logs are an attempt's."""
        del ctx
        need_action(request.action_id)
        number = request.attempt or 1

        def look(session: Session) -> Attempt | None:
            _, action = find_action(session, request.action_id)
            return session.scalars(
                select(Attempt).where(Attempt.action_id == action.id, Attempt.number == number)
            ).one_or_none()

        attempt = await self._office.database.read(look)
        if attempt is None:
            raise NoSuchResource(f"attempt {number} of {request.action_id.run.name}/{request.action_id.name} not found")
        response = pb.GetActionLogContextResponse(
            log_context=messages.log_context(attempt), start_time=messages.stamp(attempt.created_at)
        )
        if attempt.ended_at is not None:
            response.end_time.CopyFrom(messages.stamp(attempt.ended_at))
        return response

    # --- lists --------------------------------------------------------------------------------------------------------

    async def list_runs(self, request: pb.ListRunsRequest, ctx: Context) -> pb.ListRunsResponse:
        """A page of runs."""
        del ctx
        page = Page(request.request, _RUN_COLUMNS, max_page=self._office.settings.limits.max_page, labels=_has_label)
        conditions = _scope(request)
        if request.paused_actions_only:
            paused = select(Action.run_id).where(Action.phase == int(Phase.PAUSED))
            conditions.append(Run.id.in_(paused))

        def look(session: Session) -> pb.ListRunsResponse:
            query = select(Run, Action).join(Action, (Action.run_id == Run.id) & (Action.name == ROOT)).where(*conditions)
            rows = session.execute(page.apply(query, Run.id)).all()
            shown = rows[: page.limit]
            labels = _labels(session, [run.id for run, _ in shown])
            listed = [messages.run_message(run, action, labels.get(run.id)) for run, action in shown]
            return pb.ListRunsResponse(runs=listed, token=page.token(len(rows)))

        return await self._office.database.read(look)

    async def list_actions(self, request: pb.ListActionsRequest, ctx: Context) -> pb.ListActionsResponse:
        """A page of a run's actions; of a run that is not there, none."""
        del ctx
        need(request, "run_id")
        need_run(request.run_id)
        page = Page(request.request, _ACTION_COLUMNS, max_page=self._office.settings.limits.max_page)

        def look(session: Session) -> pb.ListActionsResponse:
            run = runs.find_run(session, request.run_id.project, request.run_id.domain, request.run_id.name)
            if run is None:
                return pb.ListActionsResponse()
            rows = session.scalars(page.apply(select(Action).where(Action.run_id == run.id), Action.id)).all()
            listed = [messages.action_message(run, action) for action in rows[: page.limit]]
            return pb.ListActionsResponse(actions=listed, token=page.token(len(rows)))

        return await self._office.database.read(look)

    # --- ending -------------------------------------------------------------------------------------------------------

    async def abort_run(self, request: pb.AbortRunRequest, ctx: Context) -> pb.AbortRunResponse:
        """Aborts a run with everything below it; one that has ended stays as it is."""
        del ctx
        need_run(request.run_id)
        await self._abort(ActionIdentifier(run=request.run_id, name=ROOT), request.reason)
        return pb.AbortRunResponse()

    async def abort_action(self, request: pb.AbortActionRequest, ctx: Context) -> pb.AbortActionResponse:
        """Aborts an action with everything below it; one that has ended stays as it is."""
        del ctx
        need_action(request.action_id)
        await self._abort(request.action_id, request.reason)
        return pb.AbortActionResponse()

    async def _abort(self, identifier: ActionIdentifier, reason: str) -> None:
        now, who = self._office.clock.now_s(), CALLER.get().name

        def abort(unit: Unit) -> None:
            run = runs.require_run(unit.session, identifier.run)
            action = runs.require_action(unit.session, run, identifier.name, locked=True)
            moves.abort(unit, action, reason=reason, by=who, now=now)

        await self._office.database.write(abort)

    async def signal_event(self, request: pb.SignalEventRequest, ctx: Context) -> pb.SignalEventResponse:
        """Lets a waiting condition go on with a value."""
        del ctx
        need_action(request.action_id)
        await signal_condition(self._office, request.action_id, literal_of(request.payload))
        return pb.SignalEventResponse()

    # --- not here -----------------------------------------------------------------------------------------------------

    async def get_action_data(self, request: pb.GetActionDataRequest, ctx: Context) -> pb.GetActionDataResponse:
        """Deprecated by Flyte itself."""
        del request, ctx
        raise NotServed("RunService.GetActionData is deprecated", hint="Use DataProxyService.GetActionData.")


def outputs_uri(action: Action) -> str:
    """Where the outputs of an action that has succeeded are, else empty."""
    return f"{action.output_uri.rstrip('/')}/outputs.pb" if action.output_uri and action.phase == Phase.SUCCEEDED else ""


def _place(request: pb.CreateRunRequest) -> tuple[str, str, str]:
    kind = request.WhichOneof("id")
    if kind is None:
        raise InvalidRequest("run_id or project_id is required")
    if kind == "project_id":
        return request.project_id.name, request.project_id.domain, ""
    need(request.run_id, "name")
    layout.check_run_name(request.run_id.name)
    return request.run_id.project, request.run_id.domain, request.run_id.name


def _scope(request: pb.ListRunsRequest) -> list[ColumnElement[bool]]:
    kind = request.WhichOneof("scope_by")
    if kind == "trigger_name":
        raise NotServed("triggers are not served here")
    if kind == "project_id":
        conditions = [Run.project == request.project_id.name]
        return [*conditions, Run.domain == request.project_id.domain] if request.project_id.domain else conditions
    if kind in ("task_name", "task_id"):
        task = getattr(request, kind)
        conditions = [Action.task_name == task.name]
        conditions += [Run.project == task.project] if task.project else []
        conditions += [Run.domain == task.domain] if task.domain else []
        return [*conditions, Action.task_version == task.version] if kind == "task_id" and task.version else conditions
    return []


def _has_label(key: str, value: str | None) -> ColumnElement[bool]:
    query = exists().where(RunLabel.run_id == Run.id, RunLabel.key == key)
    return query if value is None else query.where(RunLabel.value == value)


def _labels(session: Session, run_ids: list[int]) -> dict[int, dict[str, str]]:
    labels: dict[int, dict[str, str]] = {}
    for row in session.scalars(select(RunLabel).where(RunLabel.run_id.in_(run_ids))):
        labels.setdefault(row.run_id, {})[row.key] = row.value
    return labels

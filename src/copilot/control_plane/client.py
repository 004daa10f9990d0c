"""A small client of a control plane, for the command line: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import urllib3
from connectrpc.client import ResponseMetadata
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.auth import identity_pb2
from flyteidl2.auth.identity_connect import IdentityServiceClientSync
from flyteidl2.common.identifier_pb2 import ActionIdentifier, ProjectIdentifier, RunIdentifier
from flyteidl2.common.list_pb2 import ListRequest
from flyteidl2.core.literals_pb2 import LiteralMap
from flyteidl2.core.security_pb2 import Secret
from flyteidl2.core.tasks_pb2 import Resources
from flyteidl2.dataproxy import dataproxy_service_pb2 as data
from flyteidl2.dataproxy.dataproxy_service_connect import DataProxyServiceClientSync
from flyteidl2.project import project_service_pb2 as projects
from flyteidl2.project.project_service_connect import ProjectServiceClientSync
from flyteidl2.secret import definition_pb2 as secret_pb2
from flyteidl2.secret import payload_pb2 as secrets
from flyteidl2.secret.secret_connect import SecretServiceClientSync
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.workflow import run_definition_pb2 as rd
from flyteidl2.workflow import run_service_pb2 as pb
from flyteidl2.workflow.run_service_connect import RunServiceClientSync

from copilot.control_plane import errors as ours
from copilot.control_plane.interruptible import Patience, interruptible
from copilot.control_plane.lifecycle.phases import ROOT, Phase
from copilot.control_plane.notes import read_notes
from copilot.core.errors import CopilotError, Unreachable
from copilot.engine.cancel import never
from copilot.engine.clock import SystemClock

if TYPE_CHECKING:
    from flyteidl2.core.types_pb2 import LiteralType

    from copilot.core.ports import CancelToken

_CLASSES: Final[Mapping[Code, type[CopilotError]]] = {
    Code.INVALID_ARGUMENT: ours.InvalidRequest,
    Code.NOT_FOUND: ours.NoSuchResource,
    Code.ALREADY_EXISTS: ours.ResourceExists,
    Code.UNAUTHENTICATED: ours.NotAuthenticated,
    Code.PERMISSION_DENIED: ours.NotAllowed,
    Code.RESOURCE_EXHAUSTED: ours.TooLarge,
    Code.FAILED_PRECONDITION: ours.Conflict,
    Code.UNIMPLEMENTED: ours.NotServed,
    Code.UNAVAILABLE: Unreachable,
}

_PAGE: Final = 100

RESOURCES: Final[Mapping[str, Resources.ResourceName]] = {
    "cpu": Resources.CPU,
    "memory": Resources.MEMORY,
    "gpu": Resources.GPU,
    "disk": Resources.EPHEMERAL_STORAGE,
}


class ControlPlaneClient:
    """Speaks to one server about one project and domain.

    Args:
        url: ``http://host:port``.
        project, domain: what names mean.
        token: a bearer token, or empty.
        cancel: ends whatever waits for the server; None for what only the server ends.
        away: told in words when the server does not answer and is asked again.
    """

    def __init__(
        self,
        url: str,
        *,
        project: str,
        domain: str,
        token: str = "",
        cancel: CancelToken | None = None,
        away: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self.url, self.project, self.domain = url, project, domain
        self._cancel = cancel or never(SystemClock())
        self._away = away
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._runs = RunServiceClientSync(url)
        self._data = DataProxyServiceClientSync(url)
        self._identity = IdentityServiceClientSync(url)
        self._projects = ProjectServiceClientSync(url)
        self._secrets = SecretServiceClientSync(url)

    def submit(
        self, spec: TaskSpec, literals: LiteralMap, name: str = "", noted: Callable[[str], None] = lambda _note: None
    ) -> str:
        """Makes a run; its name. ``noted`` is told what the server does otherwise than the task may expect."""
        request = pb.CreateRunRequest(task_spec=spec, source=rd.RUN_SOURCE_CLI)
        inputs = Inputs()
        for key in sorted(literals.literals):
            inputs.literals.add(name=key, value=literals.literals[key])
        request.inputs.CopyFrom(inputs)
        if name:
            request.run_id.CopyFrom(self._run(name))
        else:
            request.project_id.CopyFrom(ProjectIdentifier(name=self.project, domain=self.domain))
        notes: list[str] = []

        def create(asked: pb.CreateRunRequest, headers: Mapping[str, str]) -> pb.CreateRunResponse:
            with ResponseMetadata() as answer:
                response = self._runs.create_run(asked, headers=headers)
            notes.extend(read_notes(answer.headers()))
            return response

        run = self._call(create, request).run.action.id.run.name
        for note in notes:
            noted(note)
        return str(run)

    def runs(self, limit: int) -> list[dict[str, Any]]:
        """The newest runs."""
        place = ProjectIdentifier(name=self.project, domain=self.domain)
        request = pb.ListRunsRequest(request=ListRequest(limit=limit), project_id=place)
        return [_row(run.action) for run in self._call(self._runs.list_runs, request).runs]

    def describe(self, name: str) -> dict[str, Any]:
        """A run with its attempts and what was said of them."""
        request = pb.GetRunDetailsRequest(run_id=self._run(name))
        details = self._call(self._runs.get_run_details, request).details.action
        return _details(details)

    def wait(self, name: str, seen: Callable[[str], None] = lambda _phase: None) -> dict[str, Any]:
        """A run's end, once it is there, through broken connections; ``seen`` is told each phase that it is found in."""
        last = ""

        def ended(details: rd.ActionDetails) -> bool:
            nonlocal last
            phase = Phase(details.status.phase)
            if phase.name != last:
                last = phase.name
                seen(last)
            return phase.terminal

        return _details(self._until(name, ended))

    def wait_times(self, name: str) -> dict[str, float]:
        """When the last attempt's main started, and when the run ended, in seconds since the epoch."""
        attempt = self._until(name, lambda details: Phase(details.status.phase).terminal).attempts[-1]
        began = [each.start_time for each in attempt.phase_transitions if each.phase == Phase.RUNNING]
        started = began[0].ToMicroseconds() / 1e6 if began else 0.0
        return {"started": started, "ended": attempt.end_time.ToMicroseconds() / 1e6}

    def abort(self, name: str, reason: str) -> None:
        """Aborts a run."""
        self._call(self._runs.abort_run, pb.AbortRunRequest(run_id=self._run(name), reason=reason))

    def logs(self, name: str, attempt: int) -> Iterator[str]:
        """A run's log, line by line, until its end; waits for its beginning."""
        self._until(name, lambda details: _may_have_log(details, attempt))
        request = data.TailLogsRequest(action_id=self._action(name), attempt=attempt)
        patience, seen = Patience(self._cancel, self._away), 0
        while True:
            try:
                for number, line in enumerate(self._lines(request)):
                    patience.answered()
                    if number >= seen:  # a connection that was made again begins at the beginning
                        seen += 1
                        yield line
            except Unreachable as error:
                patience.refused(error)
            else:
                return

    def _lines(self, request: data.TailLogsRequest) -> Iterator[str]:
        for message in self._stream(self._data.tail_logs, request):
            for logs in message.logs:
                for line in logs.lines:
                    yield line.message

    def _until(self, name: str, enough: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - the details' message
        """The first state of a run that is ``enough``; a server that went away is waited for."""
        request = pb.WatchActionDetailsRequest(action_id=self._action(name))
        patience = Patience(self._cancel, self._away)
        while True:
            try:
                for message in self._stream(self._runs.watch_action_details, request):
                    patience.answered()
                    if enough(message.details):
                        return message.details
                gone = Unreachable(f"the server at {self.url} ended the connection", op="rpc", subject=self.url)
            except Unreachable as error:
                gone = error
            patience.refused(gone)

    def outputs(self, name: str) -> LiteralMap:
        """A run's outputs."""
        answer = self._call(self._data.get_action_data, data.GetActionDataRequest(action_id=self._action(name)))
        return LiteralMap.FromString(answer.outputs.SerializeToString())

    def projects(self) -> list[dict[str, Any]]:
        """Every project."""
        answer = self._call(self._projects.list_projects, projects.ListProjectsRequest())
        return [{"id": each.id, "name": each.name, "description": each.description} for each in answer.projects.projects]

    def create_project(self, identifier: str, name: str) -> None:
        """Makes a project."""
        project = projects.Project(id=identifier, name=name)
        self._call(self._projects.create_project, projects.CreateProjectRequest(project=project))

    def set_secret(self, name: str, value: bytes) -> None:
        """Gives a secret a value, or another one."""
        identifier, spec = self._secret(name), secret_pb2.SecretSpec(binary_value=value)
        try:
            self._call(self._secrets.create_secret, secrets.CreateSecretRequest(id=identifier, secret_spec=spec))
        except ours.ResourceExists:
            self._call(self._secrets.update_secret, secrets.UpdateSecretRequest(id=identifier, secret_spec=spec))

    def secrets(self) -> list[dict[str, Any]]:
        """Every secret of the project: its name and since when, never its value."""
        found: list[dict[str, Any]] = []
        request = secrets.ListSecretsRequest(project=self.project, domain=self.domain, limit=_PAGE)
        while True:
            answer = self._call(self._secrets.list_secrets, request)
            found += [
                {"name": each.id.name, "created": each.secret_metadata.created_time.ToJsonString()} for each in answer.secrets
            ]
            request.token = answer.token
            if not request.token:
                return found

    def delete_secret(self, name: str) -> None:
        """Deletes a secret."""
        self._call(self._secrets.delete_secret, secrets.DeleteSecretRequest(id=self._secret(name)))

    # --- looking after the server -------------------------------------------------------------------------------------

    def health(self, path: str) -> str:
        """What a health endpoint says. Raises ``Unreachable``."""
        try:
            answer = urllib3.request("GET", f"{self.url}{path}", timeout=10, retries=False)
        except urllib3.exceptions.HTTPError as cause:
            raise Unreachable(
                f"the server at {self.url} does not answer", op="get", hint="Start it: copilot server."
            ) from cause
        if answer.status != HTTPStatus.OK:
            raise Unreachable(answer.data.decode(errors="replace")[:200], op="get", subject=path)
        return f"{self.url} answers"

    def whoami(self) -> str:
        """Who we are to the server."""
        try:
            answer = self._identity.user_info(identity_pb2.UserInfoRequest(), headers=self._headers)
        except ConnectError as error:
            if error.code == Code.UNAUTHENTICATED and not self._headers:
                return "nobody: no token was given"
            raise _ours(error, self.url) from error
        return str(answer.subject)

    def check_project(self) -> str:
        """That the project is there."""
        found = self._call(self._projects.get_project, projects.GetProjectRequest(id=self.project)).project
        if self.domain not in [domain.id for domain in found.domains]:
            raise ours.NoSuchResource(f"project {self.project} has no domain {self.domain}")
        return f"{self.project}/{self.domain} is there"

    def check_store(self) -> str:
        """That the server can write to its store: it stores an empty set of inputs."""
        place = ProjectIdentifier(name=self.project, domain=self.domain)
        answer = self._call(self._data.upload_inputs, data.UploadInputsRequest(project_id=place, inputs=Inputs()))
        return f"{answer.offloaded_input_data.uri} was written"

    def check_executor(self, image: str) -> str:
        """That a task of ``image`` that does nothing runs."""
        spec = container_task("doctor", image, ["true"], inputs={}, outputs={})
        run = self.wait(self.submit(spec, LiteralMap()))
        if run["phase"] != Phase.SUCCEEDED.name:
            raise ours.ControlPlaneError(f"run {run['run']} ended {run['phase']}: {run.get('error', {}).get('message', '')}")
        return f"run {run['run']} took {run['seconds']} s"

    def _run(self, name: str) -> RunIdentifier:
        return RunIdentifier(project=self.project, domain=self.domain, name=name)

    def _secret(self, name: str) -> secret_pb2.SecretIdentifier:
        return secret_pb2.SecretIdentifier(project=self.project, domain=self.domain, name=name)

    def _action(self, name: str) -> ActionIdentifier:
        return ActionIdentifier(run=self._run(name), name=ROOT)

    def _call(self, method: Any, request: object) -> Any:  # noqa: ANN401 - a client's method
        (answer,) = self._stream(lambda asked, headers: [method(asked, headers=headers)], request)
        return answer

    def _stream(self, method: Any, request: object) -> Iterator[Any]:  # noqa: ANN401 - a client's method
        try:
            yield from interruptible(lambda: method(request, headers=self._headers), self._cancel)
        except ConnectError as error:
            raise _ours(error, self.url) from error


def container_task(
    name: str,
    image: str,
    command: Sequence[str],
    *,
    inputs: Mapping[str, LiteralType],
    outputs: Mapping[str, LiteralType],
    secrets: Sequence[tuple[str, str]] = (),
    variables: Iterable[tuple[str, str]] = (),
    resources: Iterable[tuple[str, str]] = (),
) -> TaskSpec:
    """A container task that finds its inputs under ``/var/inputs`` and leaves its outputs under ``/var/outputs``.

    ``secrets`` are pairs: a variable that gets the secret's value, or an empty one for a file below ``/etc/flyte/secrets``;
    and the secret's name. ``variables`` are its environment's. ``resources`` are what it asks for: a name of ``RESOURCES``, and
    a quantity.
    """
    spec = TaskSpec(short_name=name)
    template = spec.task_template
    template.id.name, template.id.version, template.type = name, "cli", "raw-container"
    template.container.image = image
    template.container.args.extend(command)
    template.container.data_config.enabled = True
    template.container.data_config.input_path, template.container.data_config.output_path = "/var/inputs", "/var/outputs"
    for key, value in variables:
        template.container.env.add(key=key, value=value)
    for key, value in resources:
        template.container.resources.requests.add(name=RESOURCES[key], value=value)
    for interface, declared in ((template.interface.inputs, inputs), (template.interface.outputs, outputs)):
        for key, kind in sorted(declared.items()):
            interface.variables.add(key=key).value.type.CopyFrom(kind)
    for variable, key in secrets:
        how = Secret.ENV_VAR if variable else Secret.FILE
        template.security_context.secrets.add(key=key, env_var=variable, mount_requirement=how)
    return spec


def _row(action: rd.Action) -> dict[str, Any]:
    row = {
        "run": action.id.run.name,
        "task": action.metadata.task.id.name,
        "phase": Phase(action.status.phase).name,
        "attempts": action.status.attempts,
        "started": action.status.start_time.ToJsonString(),
    }
    if action.status.HasField("end_time"):
        row["seconds"] = round(action.status.duration_ms / 1000, 3)
    return row


def _may_have_log(details: rd.ActionDetails, attempt: int) -> bool:
    mine = [each for each in details.attempts if each.attempt == attempt]
    return Phase(details.status.phase).terminal or bool(mine and mine[0].logs_available)


def _details(details: rd.ActionDetails) -> dict[str, Any]:
    found = _row(rd.Action(id=details.id, metadata=details.metadata, status=details.status))
    if details.HasField("error_info"):
        found["error"] = {"code": details.error_info.code, "message": details.error_info.message}
    if details.HasField("abort_info"):
        found["aborted"] = details.abort_info.reason
    found["history"] = [_attempt(attempt) for attempt in details.attempts]
    return found


def _attempt(attempt: rd.ActionAttempt) -> dict[str, Any]:
    told: dict[str, Any] = {"attempt": attempt.attempt, "phase": Phase(attempt.phase).name}
    if attempt.error_info.message:
        told["error"] = attempt.error_info.message
    if prefix := attempt.outputs.output_uri.rpartition("/")[0]:
        told["prefix"] = prefix
    # A report's word comes when it comes; what it tells of has a time of its own.
    events = sorted(attempt.cluster_events, key=lambda event: event.occurred_at.ToNanoseconds())
    told["events"] = [f"{event.occurred_at.ToJsonString()} {event.message}" for event in events]
    return told


def _ours(error: ConnectError, url: str) -> CopilotError:
    kind = _CLASSES.get(error.code, ours.ControlPlaneError)
    if kind is Unreachable and error.__cause__ is not None:  # without a cause it is the server's own word
        return Unreachable(f"the server at {url} does not answer", op="rpc", subject=url, hint="Start it: copilot server.")
    told = kind(error.message.rstrip("."), op="rpc", subject=url)
    if told.hint.rstrip(".") in told.message:  # the server's sentence ends with it
        told.hint = ""
    return told

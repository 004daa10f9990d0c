"""What a client of Flyte's API does, in few words: for tests of a control plane."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
from flyteidl2.common.identifier_pb2 import ActionIdentifier, ProjectIdentifier, RunIdentifier
from flyteidl2.dataproxy.dataproxy_service_connect import DataProxyServiceClientSync
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.workflow import run_service_pb2
from flyteidl2.workflow.run_service_connect import RunServiceClientSync

if TYPE_CHECKING:
    from flyteidl2.workflow.run_definition_pb2 import ActionDetails

    from copilot.testing.control_plane import RunningControlPlane
    from copilot.testing.fake_pods import FakePods

_PATIENCE_MS = 30_000
PROJECT = ProjectIdentifier(name="flytesnacks", domain="development")


class FlyteClient:
    """A server and everything a client needs to talk to it."""

    def __init__(self, running: RunningControlPlane, pods: FakePods) -> None:
        self.running = running
        self.url = running.url
        self.plane = running.plane
        self.pods = pods
        self.runs = RunServiceClientSync(running.url)
        self.data = DataProxyServiceClientSync(running.url)
        self.http = httpx.Client(base_url=running.url, timeout=30)

    def rpc(
        self, method: str, message: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One unary call in JSON: HTTP status and answer."""
        answer = self.http.post(f"/flyteidl2.{method}", json=message or {}, headers=headers)
        return answer.status_code, answer.json() if answer.content else {}

    def code(self, method: str, message: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> str:
        """The Connect code of one unary call: ``ok`` or an error's."""
        status, answer = self.rpc(method, message, headers)
        return "ok" if status == 200 else str(answer.get("code", status))

    def stream(self, method: str, message: Mapping[str, Any] | None = None, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Every message of a stream in JSON, the end frame last."""
        body = json.dumps(message or {}).encode()
        frame = b"\0" + len(body).to_bytes(4, "big") + body
        headers = {"content-type": "application/connect+json", "connect-protocol-version": "1"}
        answer = self.http.post(f"/flyteidl2.{method}", content=frame, headers=headers, timeout=timeout_s)
        frames, data = [], answer.content
        while data:
            size = int.from_bytes(data[1:5], "big")
            frames.append(json.loads(data[5 : 5 + size]))
            data = data[5 + size :]
        return frames

    def submit(self, spec: TaskSpec | None = None, name: str = "", **fields: object) -> RunIdentifier:
        """Makes a run; further fields are the request's."""
        request = run_service_pb2.CreateRunRequest(task_spec=spec or task_spec(), **fields)
        if name:
            request.run_id.CopyFrom(RunIdentifier(project=PROJECT.name, domain=PROJECT.domain, name=name))
        else:
            request.project_id.CopyFrom(PROJECT)
        return self.runs.create_run(request).run.action.id.run

    def watch(self, run: RunIdentifier, name: str = "a0") -> list[ActionDetails]:
        """Every message of an action's stream, until its end."""
        request = run_service_pb2.WatchActionDetailsRequest(action_id=ActionIdentifier(run=run, name=name))
        return [message.details for message in self.runs.watch_action_details(request, timeout_ms=_PATIENCE_MS)]

    def details(self, run: RunIdentifier, name: str = "a0") -> ActionDetails:
        """The action as it is."""
        request = run_service_pb2.GetActionDetailsRequest(action_id=ActionIdentifier(run=run, name=name))
        return self.runs.get_action_details(request).details

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    def finish(self, count: int, exit_code: int = 0) -> str:
        """Runs the newest of ``count`` pods to its end."""
        pod = self.pods.wait_created(count)[count - 1]
        self.pods.start(pod)
        self.pods.finish(pod, exit_code)
        return pod


def task_spec(*, name: str = "t", version: str = "v1", inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> TaskSpec:
    """A container task with integers in and out."""
    spec = TaskSpec(short_name=name)
    template = spec.task_template
    template.id.name, template.id.version = name, version
    template.id.project, template.id.domain = PROJECT.name, PROJECT.domain
    template.type = "raw-container"
    template.container.image = "localhost/task:1"
    template.container.args.extend(["/bin/true"])
    template.container.data_config.enabled = True
    for each in inputs:
        template.interface.inputs.variables.add(key=each).value.type.simple = 1
    for each in outputs:
        template.interface.outputs.variables.add(key=each).value.type.simple = 1
    return spec

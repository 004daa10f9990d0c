"""``flyteidl2.dataproxy.DataProxyService``: uploads, inputs, outputs, reports and logs."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.dataproxy import dataproxy_service_pb2 as pb
from flyteidl2.task.common_pb2 import Inputs, Outputs
from google.protobuf.message import DecodeError

from copilot.control_plane import layout, runs, task_checks
from copilot.control_plane.api.alive import alive
from copilot.control_plane.api.messages import stamp
from copilot.control_plane.api.required import need, need_action, need_domain
from copilot.control_plane.api.run_service import outputs_uri
from copilot.control_plane.api.run_watches import find_action
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, NotServed
from copilot.control_plane.lifecycle.records import AttemptRecord, find_attempt
from copilot.control_plane.logs import attempt_lines
from copilot.control_plane.signing import Grant
from copilot.control_plane.tasks import find_task
from copilot.core import podfiles

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
    from sqlalchemy.orm import Session

    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]

_DEFAULT_EXPIRY_S: Final = 900.0
_MD5_BYTES: Final = 16
_REPORT: Final = "report.html"


class DataProxyService:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    # --- uploads ------------------------------------------------------------------------------------------------------

    async def create_upload_location(
        self, request: pb.CreateUploadLocationRequest, ctx: Context
    ) -> pb.CreateUploadLocationResponse:
        """A URL to ``PUT`` one file to, inside the project's and domain's own prefix."""
        settings = self._office.settings
        if not request.filename_root and not request.content_md5:
            raise InvalidRequest("either filename_root or content_md5 must be provided")
        need(request, "project", "filename")
        need_domain(request.domain, settings)
        if request.content_md5 and len(request.content_md5) != _MD5_BYTES:
            raise InvalidRequest(f"content_md5 has {len(request.content_md5)} bytes, an MD5 has {_MD5_BYTES}")
        if request.content_length > settings.limits.max_upload_bytes or request.content_length < 0:
            raise InvalidRequest(
                f"content_length ({request.content_length} bytes) exceeds {settings.limits.max_upload_bytes} bytes"
            )
        uri = layout.upload_uri(
            settings.store_base,
            request.project,
            request.domain,
            root=request.filename_root,
            md5=request.content_md5,
            filename=request.filename,
        )
        await self._office.database.read(lambda session: runs.require_project(session, request.project))
        now, expires_s = self._office.clock.now_s(), self._expiry_s(request)
        headers = {}
        if request.content_md5:
            headers["Content-MD5"] = base64.b64encode(request.content_md5).decode()
        signed = await self._signed(uri, "PUT", expires_s, ctx, md5=request.content_md5, size=request.content_length)
        return pb.CreateUploadLocationResponse(
            signed_url=signed, native_url=uri, expires_at=stamp(now + expires_s), headers=headers
        )

    async def upload_inputs(self, request: pb.UploadInputsRequest, ctx: Context) -> pb.UploadInputsResponse:
        """Stores a set of inputs; the same inputs are the same object."""
        del ctx
        settings = self._office.settings
        kind = request.WhichOneof("id")
        if kind is None:
            raise InvalidRequest("id is required: a run_id or a project_id")
        place = request.run_id if kind == "run_id" else request.project_id
        project, domain = (place.project if kind == "run_id" else place.name), place.domain
        need_domain(domain, settings)
        await self._office.database.read(lambda session: runs.require_project(session, project))
        data = request.inputs.SerializeToString(deterministic=True)
        task_checks.check_size(data, settings.limits)
        spec = await self._spec(request)
        literals = {each.name for each in request.inputs.literals}
        if len(literals) != len(request.inputs.literals):
            raise InvalidRequest("an input is given twice")
        if spec is not None:
            task_checks.check_inputs(spec, literals)
        digest = layout.inputs_digest(self._hashed(request.inputs, spec))
        base = request.base_dir or settings.store_base
        layout.check_inside(f"{base.rstrip('/')}/", settings.store_base, "base_dir")
        uri = layout.offloaded_inputs_uri(base, project, domain, layout.inputs_digest(data))
        await self._office.objects.write(f"{uri}/{podfiles.INPUTS_PB}", data)
        response = pb.UploadInputsResponse()
        response.offloaded_input_data.uri, response.offloaded_input_data.inputs_hash = uri, digest
        return response

    async def _spec(self, request: pb.UploadInputsRequest) -> TaskSpec | None:
        kind = request.WhichOneof("task")
        if kind == "trigger_name":
            raise NotServed("triggers are not served here")
        if kind == "task_spec":
            return request.task_spec
        return await self._deployed(request.task_id) if kind == "task_id" else None

    async def _deployed(self, identifier: TaskIdentifier) -> TaskSpec:
        def look(session: Session) -> TaskSpec:
            return runs.get_spec(session, find_task(session, identifier).spec_digest)

        return await self._office.database.read(look)

    def _hashed(self, inputs: Inputs, spec: TaskSpec | None) -> bytes:
        """What a cache goes by: the inputs without those the task says to ignore."""
        ignored = set(spec.task_template.metadata.cache_ignore_input_vars) if spec is not None else set()
        kept = Inputs(
            literals=sorted((each for each in inputs.literals if each.name not in ignored), key=lambda each: each.name)
        )
        return bytes(kept.SerializeToString(deterministic=True))

    # --- what an action had and made ----------------------------------------------------------------------------------

    async def get_action_data(self, request: pb.GetActionDataRequest, ctx: Context) -> pb.GetActionDataResponse:
        """An action's inputs and, once it has succeeded, its outputs, as messages."""
        del ctx
        need(request, "action_id")
        need_action(request.action_id)
        _, action = await self._office.database.read(lambda session: find_action(session, request.action_id))
        made = outputs_uri(action)
        response = pb.GetActionDataResponse(inputs_uri=action.input_uri)
        inputs = await self._office.objects.read(action.input_uri) if action.input_uri else None
        outputs = await self._office.objects.read(made) if made else None
        try:
            response.inputs.CopyFrom(Inputs.FromString(inputs or b""))
            response.outputs.CopyFrom(Outputs.FromString(outputs or b""))
        except DecodeError as cause:
            raise NoSuchResource("the action's data in the store are no literals") from cause
        if outputs is not None:
            response.outputs_uri = made
        return response

    async def create_download_link(self, request: pb.CreateDownloadLinkRequest, ctx: Context) -> pb.CreateDownloadLinkResponse:
        """A URL to ``GET`` an attempt's report or a task's code bundle."""
        if request.artifact_type == pb.ARTIFACT_TYPE_UNSPECIFIED:
            raise InvalidRequest("artifact_type is required")
        source = request.WhichOneof("source")
        if source is None:
            raise InvalidRequest("source is required: an action_attempt_id or a task_id")
        if source == "app_id":
            raise NotServed("apps are not served here")
        uri = await self._artifact(request, source)
        if not uri or await self._office.objects.size(uri) is None:
            raise NoSuchResource(f"artifact not found at {uri or 'this task'}")
        expires_s = self._expiry_s(request)
        signed = await self._signed(uri, "GET", expires_s, ctx)
        response = pb.CreateDownloadLinkResponse()
        response.pre_signed_urls.signed_url.append(signed)
        response.pre_signed_urls.expires_at.CopyFrom(stamp(self._office.clock.now_s() + expires_s))
        return response

    async def _artifact(self, request: pb.CreateDownloadLinkRequest, source: str) -> str:
        if source == "task_id":
            if request.artifact_type != pb.ARTIFACT_TYPE_CODE_BUNDLE:
                raise InvalidRequest("a task has a code bundle, not a report", hint="Give an action_attempt_id.")
            spec = await self._deployed(request.task_id)
            return self._bundle(spec, request.task_id.project)
        identifier = request.action_attempt_id
        need_action(identifier.action_id, "action_attempt_id.action_id")
        record = await self._attempt(identifier.action_id, identifier.attempt or 1)
        if request.artifact_type == pb.ARTIFACT_TYPE_CODE_BUNDLE:
            return self._bundle(record.spec, record.run.project)
        return f"{record.attempt.output_prefix}/{_REPORT}"

    def _bundle(self, spec: TaskSpec, project: str) -> str:
        """The bundle's URI, if it is one of this project's uploads: what a task says is no leave to read anything else."""
        uri = str(spec.task_template.metadata.code_bundle_uri)
        try:
            layout.check_inside(uri, f"{self._office.settings.store_base}/uploads/{project}/", "code_bundle_uri")
        except InvalidRequest:
            return ""
        return uri

    async def _attempt(self, identifier: Any, number: int) -> AttemptRecord:  # noqa: ANN401 - a generated message
        def look(session: Session) -> AttemptRecord:
            run, action = find_action(session, identifier)
            attempt = find_attempt(session, action.id, number)
            if attempt is None:
                raise NoSuchResource(f"attempt {number} of {run.name}/{action.name} not found")
            return AttemptRecord(attempt, action, run, runs.get_spec(session, action.spec_digest))

        return await self._office.database.read(look)

    # --- logs ---------------------------------------------------------------------------------------------------------

    async def tail_logs(self, request: pb.TailLogsRequest, ctx: Context) -> AsyncIterator[pb.TailLogsResponse]:
        """An attempt's log until the task's end; afterwards, from the store."""
        del ctx
        need_action(request.action_id)
        record = await self._attempt(request.action_id, request.attempt or 1)
        every_s = self._office.settings.timing.alive_s
        # An empty one is a sign of life: the SDK's own --follow fails when nothing has come for 30 s.
        async for response in alive(self._responses(record), every_s, pb.TailLogsResponse):
            yield response

    async def _responses(self, record: AttemptRecord) -> AsyncGenerator[pb.TailLogsResponse, None]:
        async for lines in attempt_lines(self._office, record):
            response = pb.TailLogsResponse()
            response.logs.add(lines=lines)
            yield response

    # --- signing ------------------------------------------------------------------------------------------------------

    def _expiry_s(self, request: Any) -> float:  # noqa: ANN401 - one of two generated messages
        most = self._office.settings.limits.max_url_s
        expires_s = request.expires_in.ToTimedelta().total_seconds() if request.HasField("expires_in") else _DEFAULT_EXPIRY_S
        if not 0 < expires_s <= most:
            raise InvalidRequest(f"expires_in ({expires_s:g} s) must be above 0 and at most {most:g} s")
        return float(expires_s)

    async def _signed(self, uri: str, method: str, expires_s: float, ctx: Context, *, md5: bytes = b"", size: int = 0) -> str:
        """The store's own signed URL, else one of ours."""
        office = self._office
        presign = office.presign
        if presign is not None:
            location = office.objects.stores.locate(uri)
            signed = await office.objects.run(lambda: presign(location, method, expires_s))
            if signed is not None:
                return signed
        headers = ctx.request_headers()
        scheme = headers.get("x-forwarded-proto", "http")
        server = office.settings.public_url or f"{scheme}://{headers.get('host', '')}"
        expires = int(office.clock.now_s() + expires_s) + 1
        return office.signer.url(server.rstrip("/"), Grant(uri, method, expires, size, md5))

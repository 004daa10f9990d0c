"""What every keeper of a server shares, and what an attempt's pod is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flyteidl2.core.literals_pb2 import LiteralMap
from google.protobuf.message import DecodeError

from copilot.control_plane import layout
from copilot.control_plane.lifecycle.work import AttemptWork, PodMaker
from copilot.core.errors import BadInputs, ObjectNotFound, SecretNotFound

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Database
    from copilot.control_plane.executors.bridge import Executor
    from copilot.control_plane.hub import Hub
    from copilot.control_plane.lifecycle.records import AttemptRecord
    from copilot.control_plane.objects import Objects
    from copilot.control_plane.secret_store import SecretStore
    from copilot.control_plane.settings import ServerSettings
    from copilot.control_plane.signing import UrlSigner
    from copilot.control_plane.vault import Vault
    from copilot.core.ports import Clock, Location, Log

    Presign = Callable[[Location, str, float], str | None]


@dataclass(slots=True)
class Office:
    """One server's parts.

    Attributes:
        database, objects, executor, vault: where things are.
        secrets: who keeps the projects' secrets.
        maker: the pure parts that make pods and judge their ends.
        clock, log, settings: as everywhere.
        signer: makes and checks our own signed URLs.
        presign: the store's own signed URLs (``stores.presign``), or None.
        address: ``http://host:port`` of this server as pods reach it; empty until it listens.
    """

    database: Database
    objects: Objects
    executor: Executor
    vault: Vault
    secrets: SecretStore
    maker: PodMaker
    clock: Clock
    log: Log
    settings: ServerSettings
    signer: UrlSigner
    presign: Presign | None = None
    address: str = ""

    @property
    def hub(self) -> Hub:
        """Where commits are told."""
        return self.database.hub

    async def work_for(self, record: AttemptRecord, *, token: str) -> AttemptWork:
        """The attempt's work. With ``token`` it is to become a pod: then its inputs are read too.

        Raises:
            SecretNotFound: a secret that the task asks for is not there.
            BadInputs, ObjectNotFound: the inputs are not there, or are not inputs.
        """
        run, action, attempt = record.run, record.action, record.attempt
        if token:
            await self._check_secrets(record)
        previous = layout.attempt_prefix(run.output_base, action.name, attempt.number - 1) if attempt.number > 1 else ""
        return AttemptWork(
            project=run.project,
            domain=run.domain,
            run=run.name,
            action=action.name,
            attempt=attempt.number,
            parent=action.parent,
            spec=record.spec,
            run_spec=record.run_spec,
            inputs=await self._inputs(action.input_uri) if token and action.input_uri else None,
            input_uri=action.input_uri,
            output_prefix=attempt.output_prefix,
            previous_prefix=previous,
            run_output_base=run.output_base,
            run_start_s=run.created_at,
            namespace=attempt.pod_namespace,
            pod_name=attempt.pod_name,
            report_url=f"{self.address}/copilot/v1/report" if self.address and token else "",
            report_token=token,
            endpoint=self.address.partition("://")[2],
            pod_env=self.settings.pod_env,
            task_env=self.settings.task_env,
        )

    def executor_notes(self, manifest: Mapping[str, Any]) -> list[str]:
        """What this executor does otherwise than a cluster, for the run's events."""
        notes = getattr(self.executor.pods, "notes", None)
        return list(notes(manifest)) if notes is not None else []

    async def known_secrets(self, record: AttemptRecord) -> list[bytes]:
        """The values that must not be seen in what the task says: of the secrets it asks for, those this server can read."""
        wanted = sorted({secret.key for secret in record.spec.task_template.security_context.secrets})
        values = [await self.secrets.value(record.run.project, record.run.domain, key) for key in wanted]
        return [value for value in values if value is not None]

    async def _inputs(self, uri: str) -> LiteralMap:
        data = await self.objects.read(uri)
        if data is None:
            raise ObjectNotFound("the task's inputs are not in the store", op="read", subject=uri)
        try:
            return LiteralMap.FromString(data)
        except DecodeError as cause:
            raise BadInputs("the task's inputs are no literals", op="read", subject=uri) from cause

    async def _check_secrets(self, record: AttemptRecord) -> None:
        """What is not there is said before anything runs. The values are read by the pod itself, and by nobody else."""
        wanted = {secret.key for secret in record.spec.task_template.security_context.secrets}
        project, domain = record.run.project, record.run.domain
        missing = await self.secrets.missing(project, domain, wanted)
        if missing is not None:
            raise SecretNotFound(
                f"there is no secret called {missing}",
                op="pod",
                subject=missing,
                hint=f"Create it: copilot secrets set {missing} --project {project} --domain {domain}.",
            )

"""Copilot's own containers in a task's pod: the native sidecar, the init container, and the volumes they share. Pure."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.core.tasks_pb2 import DataLoadingConfig, IOStrategy

from copilot.control_plane.pods.settings import BIN_DIR, CONTROL_DIR
from copilot.core.errors import PodRefused
from copilot.core.gotext import NANOS_PER_SECOND, format_duration
from copilot.core.quantities import quantity_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings
    from copilot.control_plane.pods.task_secrets import TaskSecrets
    from copilot.core import idl

SIDECAR: Final = "copilot-sidecar"
INSTALL: Final = "copilot-install"
INIT: Final = "copilot-init"
INPUTS_VOLUME: Final = "flyte-inputs"
OUTPUTS_VOLUME: Final = "flyte-outputs"
CONTROL_VOLUME: Final = "copilot-control"
SCRATCH_VOLUME: Final = "copilot-scratch"
BIN_VOLUME: Final = "copilot-bin"
SECRETS_VOLUME: Final = "flyte-secrets"
RESERVED_VOLUMES: Final = frozenset({INPUTS_VOLUME, OUTPUTS_VOLUME, CONTROL_VOLUME, SCRATCH_VOLUME, BIN_VOLUME, SECRETS_VOLUME})
OWN_RESOURCES: Final = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
CONTROL_SIZE: Final = "4Mi"
SECRETS_SIZE: Final = "64Mi"
RESERVED_CONTAINERS: Final = frozenset({SIDECAR, INIT, INSTALL})
DEFAULT_INPUT_PATH: Final = "/var/flyte/inputs"
DEFAULT_OUTPUT_PATH: Final = "/var/flyte/outputs"
PROBE_TRIES: Final = 60

_LARGE: Final = frozenset({"blob", "schema", "structured_dataset_type"})


@dataclass(frozen=True, slots=True)
class DataParts:
    """What moving data adds to a pod; everything empty for a task that moves none."""

    inits: list[dict[str, Any]] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    main_mounts: list[dict[str, Any]] = field(default_factory=list)
    input_dir: str = ""
    output_dir: str = ""
    grace_s: int = 30
    wrapper: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there are containers of ours."""
        return bool(self.inits or self.beside)


def data_parts(
    work: AttemptWork,
    config: DataLoadingConfig,
    settings: PodSettings,
    defaults: Mapping[str, Any],
    *,
    secret: str,
    secrets: TaskSecrets,
) -> DataParts:
    """The containers and volumes for a task that does not read and write the store by itself, or that asks for secrets.

    Args:
        work: the attempt.
        config: its ``data_config``; not enabled means a task that moves its data by itself.
        settings: the pods'.
        defaults: fields of both containers, from the pod template's container ``copilot``.
        secret: the Secret that holds our containers' variables, or empty.
        secrets: what the task asks for.
    """
    interface = work.spec.task_template.interface
    reads = config.enabled and bool(interface.inputs.variables) and bool(work.input_uri)
    writes = config.enabled and bool(interface.outputs.variables)
    if not (reads or writes or secrets):
        return DataParts()
    input_dir, output_dir = config.input_path or DEFAULT_INPUT_PATH, config.output_path or DEFAULT_OUTPUT_PATH
    common = common_fields(settings, defaults, secret)
    memory = {"medium": "Memory", "sizeLimit": SECRETS_SIZE if secrets else CONTROL_SIZE}
    volumes: list[dict[str, Any]] = [{"name": CONTROL_VOLUME, "emptyDir": memory}]
    if settings.scratch:
        volumes.append({"name": SCRATCH_VOLUME, "emptyDir": {}})
    inits, beside, mounts, wrapper = [], list[dict[str, Any]](), [], list[str]()
    kept = {SECRETS_VOLUME: secrets.directory} if secrets.directory else {}
    wrapped = bool(secrets.variables) or (writes and _wrapped(work, settings))
    if writes:
        volumes.append({"name": OUTPUTS_VOLUME, "emptyDir": {}})
        mounts.append({"name": OUTPUTS_VOLUME, "mountPath": output_dir})
        seen = {OUTPUTS_VOLUME: output_dir, **kept}
        sidecar = _sidecar(work, config, settings, common, seen, wrapped=wrapped, keeps=bool(secrets))
        if settings.sidecar == "native":
            inits.append(sidecar)
        else:
            _check_told(wrapped=wrapped)
            beside.append(plain(sidecar))
    if wrapped:
        wrapper = [*settings.wrapper, "exec", "--control-dir", CONTROL_DIR, "--"]
        mounts.append({"name": CONTROL_VOLUME, "mountPath": CONTROL_DIR})
    if wrapped and settings.install:
        volumes.append({"name": BIN_VOLUME, "emptyDir": {}})
        mounts.append({"name": BIN_VOLUME, "mountPath": BIN_DIR, "readOnly": True})
        inits.append(installer(settings, common))
    if reads:
        volumes.append({"name": INPUTS_VOLUME, "emptyDir": {}})
        mounts.append({"name": INPUTS_VOLUME, "mountPath": input_dir})
    if kept:
        volumes.append({"name": SECRETS_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": SECRETS_SIZE}})
        mounts.append({"name": SECRETS_VOLUME, "mountPath": secrets.directory, "readOnly": True})
    if reads or secrets:
        asked = [*(_inputs(work, config, input_dir) if reads else ()), *secrets.arguments]
        # Without a sidecar there is nobody to keep them fresh.
        asked += ["--secrets-once"] if secrets and not writes else []
        arguments = ["init", "--to-output-prefix", work.output_prefix, *asked]
        seen = {**({INPUTS_VOLUME: input_dir} if reads else {}), **kept}
        inits.append(
            {
                **common,
                "name": INIT,
                "command": list(settings.command),
                "args": arguments,
                "volumeMounts": own_mounts(settings, seen),
            }
        )
    grace = _grace_s(work, settings) if writes else 30
    return DataParts(inits, beside, volumes, mounts, input_dir if reads else "", output_dir if writes else "", grace, wrapper)


def _check_told(*, wrapped: bool) -> None:
    """Raises ``PodRefused`` for a plain sidecar that would never hear of main's end."""
    if not wrapped:
        raise PodRefused(
            "the task is not run under copilot exec, and nothing else tells a plain sidecar of its end",
            op="pod",
            subject="sidecar",
            hint="What the SDK and copilot submit call a command are arguments: run all under copilot exec (--wrap always).",
        )


def plain(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """A native sidecar as a container beside main."""
    return {key: value for key, value in sidecar.items() if key not in {"restartPolicy", "startupProbe"}}


def _wrapped(work: AttemptWork, settings: PodSettings) -> bool:
    if settings.wrap == "command":
        return bool(work.spec.task_template.container.command)
    return settings.wrap == "always"


def installer(settings: PodSettings, common: Mapping[str, Any]) -> dict[str, Any]:
    """The init container that copies the wrapper to where main finds it."""
    return {
        **common,
        "name": INSTALL,
        "command": list(settings.command),
        "args": ["install", BIN_DIR],
        "volumeMounts": own_mounts(settings, {BIN_VOLUME: BIN_DIR}),
    }


def common_fields(settings: PodSettings, defaults: Mapping[str, Any], secret: str) -> dict[str, Any]:
    """What all of our own containers have; see ``data_parts`` for the arguments."""
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if settings.run_as_user is not None:
        context |= {"runAsNonRoot": True, "runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_user}
    common: dict[str, Any] = {
        **defaults,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "env": [*defaults.get("env", ()), {"name": "COPILOT_CONTROL_DIR", "value": CONTROL_DIR}],
        "securityContext": {**defaults.get("securityContext", {}), **context},
    }
    if secret:
        common["envFrom"] = [*defaults.get("envFrom", ()), {"secretRef": {"name": secret}}]
    return common


def own_mounts(settings: PodSettings, volumes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The control directory, scratch space, and ``volumes`` (name → path) for one of our own containers."""
    scratch = [{"name": SCRATCH_VOLUME, "mountPath": "/tmp"}] if settings.scratch else []  # noqa: S108  the container's own
    others = [{"name": name, "mountPath": path} for name, path in volumes.items()]
    return [{"name": CONTROL_VOLUME, "mountPath": CONTROL_DIR}, *scratch, *others]


def _sidecar(
    work: AttemptWork,
    config: DataLoadingConfig,
    settings: PodSettings,
    common: Mapping[str, Any],
    volumes: Mapping[str, str],
    *,
    wrapped: bool,
    keeps: bool,
) -> dict[str, Any]:
    interface = base64.b64encode(work.spec.task_template.interface.SerializeToString(deterministic=True)).decode()
    arguments = [
        "sidecar",
        "--timeout",
        format_duration(settings.upload_timeout_s * NANOS_PER_SECOND),
        "--to-raw-output",
        work.output_prefix,
        "--to-output-prefix",
        work.output_prefix,
        "--from-local-dir",
        volumes[OUTPUTS_VOLUME],
        "--interface",
        interface,
        f"--trust-signal={str(settings.trust_signal and not wrapped).lower()}",
    ]
    if wrapped:
        arguments += ["--witnesses", "wrapper,marker"]
    if keeps:
        arguments.append("--secrets")
    strategy = config.io_strategy
    if config.HasField("io_strategy"):
        arguments += ["--upload-mode", IOStrategy.UploadMode.Name(strategy.upload_mode)]
    return {
        **common,
        "name": SIDECAR,
        "command": list(settings.command),
        "args": arguments,
        "restartPolicy": "Always",
        "startupProbe": startup_probe(settings),
        "volumeMounts": own_mounts(settings, volumes),
    }


def told_grace(inits: Sequence[Mapping[str, Any]], grace_s: int) -> list[Mapping[str, Any]]:
    """``inits`` with a sidecar that knows the pod's ``terminationGracePeriodSeconds``, the time of its last upload."""
    told = {"name": "COPILOT_GRACE_S", "value": str(grace_s)}
    return [{**each, "env": [*each.get("env", ()), told]} if each["name"] == SIDECAR else each for each in inits]


def startup_probe(settings: PodSettings) -> dict[str, Any]:
    """The sidecar's: the next container starts once SIGTERM is handled."""
    return {
        "exec": {"command": list(settings.probe)},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": PROBE_TRIES,
    }


def _inputs(work: AttemptWork, config: DataLoadingConfig, input_dir: str) -> list[str]:
    """What ``copilot init`` is told of the inputs."""
    interface = base64.b64encode(work.spec.task_template.interface.inputs.SerializeToString(deterministic=True)).decode()
    arguments = [
        "--from-remote",
        work.input_uri,
        "--to-local-dir",
        input_dir,
        "--format",
        DataLoadingConfig.LiteralMapFormat.Name(config.format),
        "--file-input-layout",
        _layout(config),
        "--input-interface",
        interface,
    ]
    if config.HasField("io_strategy"):
        arguments += ["--download-mode", IOStrategy.DownloadMode.Name(config.io_strategy.download_mode)]
    return arguments


def _layout(config: DataLoadingConfig) -> str:
    name = str(DataLoadingConfig.FileInputLayout.Name(config.file_input_layout))
    return "NAMED_DIR" if name.endswith("NAMED_DIR") else "DIRECT"


def _grace_s(work: AttemptWork, settings: PodSettings) -> int:
    """What an upload may need: little where only values are written, else what fits the storage the task asks for."""
    outputs = [each.value.type for each in work.spec.task_template.interface.outputs.variables]
    if not any(_may_be_large(each) for each in outputs):
        return min(settings.small_grace_s, settings.upload_timeout_s)
    resources = work.spec.task_template.container.resources
    entries = [*resources.limits, *resources.requests]
    storage = [quantity_bytes(each.value) for each in entries if each.name in {resources.STORAGE, resources.EPHEMERAL_STORAGE}]
    if not storage:
        return settings.upload_timeout_s
    needed = settings.small_grace_s + math.ceil(max(storage) / settings.assumed_bytes_per_s)
    return min(needed, settings.upload_timeout_s)


def _may_be_large(kind: idl.LiteralType) -> bool:
    of = kind.WhichOneof("type")
    if of == "collection_type":
        return _may_be_large(kind.collection_type)
    if of == "map_value_type":
        return _may_be_large(kind.map_value_type)
    if of == "union_type":
        return any(_may_be_large(each) for each in kind.union_type.variants)
    return of in _LARGE

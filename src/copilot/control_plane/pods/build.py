"""One attempt of a task → its pod. Pure: nothing is read, nothing is started."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.lifecycle.work import AttemptWork, BuiltPod
from copilot.control_plane.pod_templates.merge import checked, merged
from copilot.control_plane.pods.data_containers import (
    OWN_RESOURCES,
    RESERVED_CONTAINERS,
    RESERVED_VOLUMES,
    DataParts,
    data_parts,
    told_grace,
)
from copilot.control_plane.pods.environment import TASK_TOKEN, main_environment
from copilot.control_plane.pods.labels import pod_annotations, pod_labels
from copilot.control_plane.pods.main_container import OwnPart, own_part
from copilot.control_plane.pods.settings import DEFAULT_TEMPLATE, PodSettings
from copilot.control_plane.pods.task_secrets import TaskSecrets, task_secrets
from copilot.control_plane.pods.variables import Variables
from copilot.core.errors import PodRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flyteidl2.core.tasks_pb2 import DataLoadingConfig, TaskTemplate

FINALIZER: Final = "copilot.dev/outcome"
RAW_CONTAINER: Final = "raw-container"
_ROLES: Final = ("default", "primary", "copilot")
_START_ALLOWANCE_S: Final = 600  # what pulling images and fetching inputs may take, before the cluster's own deadline counts


def build_pod(work: AttemptWork, settings: PodSettings) -> BuiltPod:
    """The pod, the Secrets that come with it, and what its author should be warned of.

    Raises:
        PodRefused: the task, its pod template or the named template cannot be made into a pod.
        BadInputs, BadSecretRef: see the parts.
    """
    template = work.spec.task_template
    config = _data_config(template)
    base, roles = _base(settings, template.metadata.pod_template_name)
    own_variables = Secrets(work)
    secrets = task_secrets(work, settings)
    data = data_parts(work, config, settings, roles["copilot"], secret=own_variables.name, secrets=secrets)
    variables = _variables(work, data)
    own = own_part(work, settings, variables)
    _refuse_reserved(own)
    main = _main(work, settings, variables, own=own, roles=roles, data=data, secrets=secrets, config=config)
    others = [
        merged(_container(roles["default"]), each, kind="Container", where=f"containers[{each.get('name')}]")
        for each in own.others
    ]
    spec = merged(base, {key: value for key, value in own.spec.items() if key != "initContainers"}, where="pod_spec")
    if _interruptible(work):
        spec = merged(spec, settings.interruptible, where="interruptible")
    grace_s = max(data.grace_s, int(spec.get("terminationGracePeriodSeconds", 0)))
    spec |= {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_s,
        "initContainers": [
            *spec.get("initContainers", ()),
            *told_grace(data.inits, grace_s),
            *own.spec.get("initContainers", ()),
        ],
        "containers": [main, *others, *told_grace(data.beside, grace_s)],
        "volumes": [*spec.get("volumes", ()), *data.volumes, *_shared_memory(template)[0]],
    }
    spec = {key: value for key, value in spec.items() if value != []}
    _account(spec, work)
    _accelerator(spec, template, settings)
    timeout_s = template.metadata.timeout.seconds + template.metadata.timeout.nanos / 1e9
    if timeout_s > 0:
        spec["activeDeadlineSeconds"] = math.ceil(timeout_s) + _START_ALLOWANCE_S
    if data and settings.run_as_user is not None:
        spec["securityContext"] = {"fsGroup": settings.run_as_user, **spec.get("securityContext", {})}
    labels, left_out = pod_labels(work, settings)
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": work.pod_name,
            "namespace": work.namespace,
            "labels": labels,
            "annotations": pod_annotations(work, main["name"]),
            "finalizers": [FINALIZER],
        },
        "spec": checked(spec),
    }
    objects = [each for each in (own_variables.manifest if data else None, _store_secret(work, settings, config)) if each]
    warnings = (*own.warnings, *left_out, *_entrypoint_warning(work, secrets))
    return BuiltPod(manifest=manifest, warnings=warnings, secrets=tuple(objects))


class Secrets:
    """The Secret with the variables of our own containers: store credentials and the token for reports are in no manifest."""

    def __init__(self, work: AttemptWork) -> None:
        """See the class."""
        values = dict(work.pod_env)
        if work.report_url:
            values |= {"COPILOT_REPORT_URL": work.report_url, "COPILOT_REPORT_TOKEN": work.report_token}
        self.name = f"{work.pod_name}-copilot" if values else ""
        self.manifest = _secret(self.name, work.namespace, values) if values else None


def _secret(name: str, namespace: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())},
    }


def _store_name(work: AttemptWork) -> str:
    return f"{work.pod_name}-store"


def _store_secret(work: AttemptWork, settings: PodSettings, config: DataLoadingConfig) -> dict[str, Any] | None:
    """What a task that reads and writes the store itself, and may call others, needs for that."""
    values = _own_access(work, settings, config)
    return _secret(_store_name(work), work.namespace, values) if values else None


def _own_access(work: AttemptWork, settings: PodSettings, config: DataLoadingConfig) -> dict[str, str]:
    if not _reads_store(work, config):
        return {}
    token = {TASK_TOKEN: work.report_token} if settings.auth and work.report_token else {}
    return {**work.task_env, **token}


def _reads_store(work: AttemptWork, config: DataLoadingConfig) -> bool:
    """A Python task does; a raw container never gets our credentials, also when it has no ``data_config``."""
    return not config.enabled and work.spec.task_template.type != RAW_CONTAINER


def _data_config(template: TaskTemplate) -> DataLoadingConfig:
    if template.HasField("k8s_pod"):
        return template.k8s_pod.data_config
    return template.container.data_config


def _base(settings: PodSettings, name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The named template, and the defaults that its containers ``default``, ``primary`` and ``copilot`` stand for."""
    chosen = name or DEFAULT_TEMPLATE
    if name and name not in settings.templates:
        known = ", ".join(sorted(settings.templates)) or "none"
        raise PodRefused(f"there is no pod template called {name}", op="pod", subject=name, hint=f"Known templates: {known}.")
    # A team's template that does not speak of a token means none, and of our containers' needs means what they need.
    spec = {"automountServiceAccountToken": False, **checked(settings.templates.get(chosen, {}), where=f"template {chosen}")}
    containers = {each.get("name"): each for each in spec.pop("containers", ())}
    roles = {role: _container(containers.pop(role, {})) for role in _ROLES}
    roles["copilot"] = {"resources": OWN_RESOURCES, **roles["copilot"]}
    if containers:
        raise PodRefused(
            f"the pod template {chosen} has a container called {next(iter(containers))}",
            op="pod",
            subject=chosen,
            hint="Its containers are defaults: default, primary or copilot.",
        )
    return spec, roles


def _container(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "name"}


def _main(
    work: AttemptWork,
    settings: PodSettings,
    variables: Variables,
    *,
    own: OwnPart,
    roles: Mapping[str, Mapping[str, Any]],
    data: DataParts,
    secrets: TaskSecrets,
    config: DataLoadingConfig,
) -> dict[str, Any]:
    if data.wrapper:
        words = [*own.main.get("command", ()), *own.main.get("args", ())]
        if not words:
            raise PodRefused(
                f"the task asks for {_listed(secrets)}, and names no command: what its image would run is not known here",
                op="pod",
                subject="secrets",
                hint='Name the command, or ask for the secret as a file: Secret(…, mount="/etc/flyte/secrets").',
            )
        own.main["command"] = [*data.wrapper, *words]
        own.main.pop("args", None)
    defaults = merged(roles["default"], roles["primary"], kind="Container", where="primary")
    main = merged(defaults, own.main, kind="Container", where=f"containers[{own.main.get('name')}]")
    access = _own_access(work, settings, config)
    env = main_environment(work, settings, variables, calls=TASK_TOKEN in access)
    reference = {"name": _store_name(work)}
    env += [{"name": key, "valueFrom": {"secretKeyRef": {**reference, "key": key}}} for key in sorted(access)]
    told = [{"name": name, "value": value} for name, value in secrets.constants.items()]
    # A variable with a secret's value comes from copilot exec, and no other of its name beside it.
    given = [each for each in (*main.get("env", ()), *env) if each["name"] not in secrets.variables]
    main["env"] = _last_by_name([*given, *told])
    mounts = [*main.get("volumeMounts", ()), *data.main_mounts, *_shared_memory(work.spec.task_template)[1]]
    if mounts:
        main["volumeMounts"] = mounts
    return main


def _listed(secrets: TaskSecrets) -> str:
    names = ", ".join(secrets.variables)
    return f"its secrets as the variables {names}" if len(secrets.variables) > 1 else f"a secret as the variable {names}"


def _entrypoint_warning(work: AttemptWork, secrets: TaskSecrets) -> tuple[str, ...]:
    """A container's ``args`` are run by its image's entrypoint, which is not known here and so not under ``copilot exec``."""
    template = work.spec.task_template
    if not secrets.variables or template.type != RAW_CONTAINER or template.container.command or template.HasField("k8s_pod"):
        return ()
    how = "its arguments are run as the command, without the entrypoint of its image if it has one"
    return (f"the task gets {_listed(secrets)}, so {how}; a secret that is mounted as a file needs no such thing",)


def _last_by_name(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({each["name"]: each for each in entries}.values())


def _variables(work: AttemptWork, data: DataParts) -> Variables:
    return Variables(
        input_uri=work.input_uri,
        output_prefix=work.output_prefix,
        previous_prefix=work.previous_prefix,
        unique=work.pod_name,
        namespace=work.namespace,
        run=work.run,
        action=work.action,
        attempt=work.attempt,
        run_start_s=work.run_start_s,
        input_dir=data.input_dir,
        output_dir=data.output_dir,
    )


def _refuse_reserved(own: OwnPart) -> None:
    every = [own.main, *own.others, *own.spec.get("initContainers", ())]
    names = [("container", each.get("name"), RESERVED_CONTAINERS) for each in every]
    names += [("volume", each.get("name"), RESERVED_VOLUMES) for each in own.spec.get("volumes", ())]
    for what, name, reserved in names:
        if name in reserved:
            raise PodRefused(
                f"the pod template has a {what} called {name}, a name that Copilot keeps",
                op="pod",
                subject=str(name),
                hint="Rename it.",
            )
    if own.spec.get("restartPolicy", "Never") != "Never":
        raise PodRefused(
            "the pod template has a restartPolicy other than Never",
            op="pod",
            subject="restartPolicy",
            hint="Leave it out: retries are the task's own setting.",
        )


def _interruptible(work: AttemptWork) -> bool:
    if work.run_spec.HasField("interruptible"):
        return bool(work.run_spec.interruptible.value)
    return bool(work.spec.task_template.metadata.interruptible)


def _account(spec: dict[str, Any], work: AttemptWork) -> None:
    run, task = work.run_spec.security_context, work.spec.task_template.security_context
    account = run.run_as.k8s_service_account or task.run_as.k8s_service_account
    if account:
        spec |= {"serviceAccountName": account, "automountServiceAccountToken": True}


def _accelerator(spec: dict[str, Any], template: TaskTemplate, settings: PodSettings) -> None:
    device = template.extended_resources.gpu_accelerator.device
    if device:
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), settings.accelerator_label: device}


def _shared_memory(template: TaskTemplate) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``/dev/shm`` as large as the task asks for: the volume and its mount."""
    if not template.extended_resources.HasField("shared_memory"):
        return [], []
    asked = template.extended_resources.shared_memory
    name, path = asked.mount_name or "flyte-shared-memory", asked.mount_path or "/dev/shm"  # noqa: S108  the container's
    directory: dict[str, Any] = {"medium": "Memory"}
    if asked.size_limit:
        directory["sizeLimit"] = asked.size_limit
    return [{"name": name, "emptyDir": directory}], [{"name": name, "mountPath": path}]

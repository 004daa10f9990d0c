"""A pod spec that somebody wrote → the same with Copilot's containers in it. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from copilot.control_plane.pods.data_containers import (
    BIN_VOLUME,
    CONTROL_VOLUME,
    DEFAULT_INPUT_PATH,
    DEFAULT_OUTPUT_PATH,
    INIT,
    INPUTS_VOLUME,
    OUTPUTS_VOLUME,
    RESERVED_CONTAINERS,
    RESERVED_VOLUMES,
    SCRATCH_VOLUME,
    SIDECAR,
    common_fields,
    installer,
    own_mounts,
    startup_probe,
    told_grace,
)
from copilot.control_plane.pods.settings import BIN_DIR, CONTROL_DIR, PodSettings
from copilot.core.errors import PodRefused
from copilot.core.secret_refs import parse_ref

PROOFS: Final = ("auto", "wrapper", "marker", "pod", "signal")
SECRETS_VOLUME: Final = "copilot-secrets"
RESOURCES: Final = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSTEM: Final = frozenset(
    {"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/usr/bin", "/var"}
)
_NO_GRACE_S: Final = 30


@dataclass(frozen=True, slots=True)
class WrapRequest:
    """What is asked for.

    Attributes:
        inputs_uri: an ``inputs.pb``, or empty.
        inputs: ``name=value`` or ``name:type=value``, one each.
        outputs_prefix: where outputs go; empty: there are none.
        output_types: ``name`` or ``name:type``, one each; none: whatever the container leaves.
        secrets: ``NAME=reference`` or ``/path=reference``, one each.
        container: the container that is meant; empty: the only one, or the pod's default container.
        input_dir, output_dir: where that container finds its inputs, and leaves its outputs.
        proof: what proves that the task succeeded: ``wrapper`` runs the command under ``copilot exec``; ``marker`` waits for
            ``_SUCCESS``; ``pod`` asks the API server, with the pod's own service account; ``signal`` takes the end of the main
            container for success. ``auto`` is ``wrapper``.
        env_from: Secrets with variables for our own containers alone.
        pods: how our own containers are made.
    """

    inputs_uri: str = ""
    inputs: tuple[str, ...] = ()
    outputs_prefix: str = ""
    output_types: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    container: str = ""
    input_dir: str = DEFAULT_INPUT_PATH
    output_dir: str = DEFAULT_OUTPUT_PATH
    proof: str = "auto"
    env_from: tuple[str, ...] = ()
    pods: PodSettings = field(default_factory=PodSettings)

    @property
    def asks(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.inputs_uri or self.inputs or self.outputs_prefix or self.secrets)


@dataclass(frozen=True, slots=True)
class _Secrets:
    """The secrets' directories with their volumes, and whether there are variables."""

    volumes: Mapping[str, str] = field(default_factory=dict)
    variables: bool = False


def wrap_spec(
    spec: Mapping[str, Any], request: WrapRequest, *, endless: bool, default_container: str = "", where: str = "spec"
) -> dict[str, Any]:
    """``spec`` with our containers before its own, and its main container as far as it must change.

    Args:
        spec: a checked pod spec; it is not changed.
        request: what is asked for; something is.
        endless: the pod's containers are started again when they end, so that there is no end to publish outputs at.
        default_container: the container that ``kubectl`` would take.
        where: the spec's path, for messages.

    Raises:
        PodRefused: it cannot be done; the sentence names the field.
        BadSecretRef: a reference that is none.
    """
    main = _main(spec, request, default_container, where)
    outputs, secrets = bool(request.outputs_prefix), _secrets(request)
    if request.proof not in PROOFS:
        raise _refused(where, f"has the proof {request.proof!r}", hint=f"One of {', '.join(PROOFS)}.")
    if outputs and endless:
        raise _refused(
            f"{where}.restartPolicy",
            "is not Never, so the container has no end at which its outputs could be published",
            hint="Outputs need a Pod, Job or CronJob with restartPolicy: Never (a Job makes new pods by itself).",
        )
    _refuse_names(spec, where)
    settings = replace(request.pods, run_as_user=_user(spec, main, request.pods))
    wrapped = secrets.variables or (outputs and request.proof in {"auto", "wrapper"})
    spot = f"{where}.containers[{main['name']}]"
    common = _common(settings, request, main)
    grace_s = int(spec.get("terminationGracePeriodSeconds", settings.upload_timeout_s if outputs else _NO_GRACE_S))
    inits, volumes, mounts = list[dict[str, Any]](), {CONTROL_VOLUME: CONTROL_DIR}, dict[str, str]()
    if outputs:
        mounts[OUTPUTS_VOLUME] = request.output_dir
    if outputs or secrets.volumes:
        kept = {OUTPUTS_VOLUME: request.output_dir} if outputs else {}
        inits.append(_sidecar(settings, request, common, {**kept, **secrets.volumes}, grace_s))
    if wrapped and settings.install:
        inits.append(installer(settings, common))
    if request.inputs_uri or request.inputs or request.secrets:
        kept = {INPUTS_VOLUME: request.input_dir} if request.inputs_uri or request.inputs else {}
        mounts |= kept
        inits.append(_init(settings, request, common, {**kept, **secrets.volumes}, kept_fresh=outputs or bool(secrets.volumes)))
    if wrapped:
        main = _under_wrapper(main, settings, spot)
        mounts[CONTROL_VOLUME] = CONTROL_DIR
    readable = {**secrets.volumes, **({BIN_VOLUME: BIN_DIR} if wrapped and settings.install else {})}
    main = _mounted(main, mounts, readable, spot)
    volumes = {**volumes, **mounts, **readable, **({SCRATCH_VOLUME: "/tmp"} if settings.scratch else {})}  # noqa: S108
    made = {
        **spec,
        "initContainers": [*({"name": each["name"], **each} for each in inits), *spec.get("initContainers", ())],
        "containers": [main if each["name"] == main["name"] else each for each in spec["containers"]],
        "volumes": [*spec.get("volumes", ()), *(_volume(name) for name in sorted(volumes))],
    }
    if outputs:
        made["terminationGracePeriodSeconds"] = grace_s
    if settings.run_as_user:
        made["securityContext"] = {"fsGroup": settings.run_as_user, **spec.get("securityContext", {})}
    return made


def _main(spec: Mapping[str, Any], request: WrapRequest, default: str, where: str) -> dict[str, Any]:
    containers: Sequence[Mapping[str, Any]] = spec.get("containers") or ()
    names = [str(each.get("name", "")) for each in containers]
    wanted = request.container or default
    if not names:
        raise _refused(where, "has no containers")
    if not wanted and len(names) > 1:
        raise _refused(
            f"{where}.containers",
            f"has {len(names)} containers, and it is not said which one is meant",
            hint=f"Say copilot.dev/container, or --container: {', '.join(names)}.",
        )
    if wanted and wanted not in names:
        raise _refused(f"{where}.containers", f"has no container called {wanted}", hint=f"There is {', '.join(names)}.")
    return dict(containers[names.index(wanted) if wanted else 0])


def _refuse_names(spec: Mapping[str, Any], where: str) -> None:
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    taken = [("container", each.get("name")) for each in every if each.get("name") in RESERVED_CONTAINERS]
    for each in spec.get("volumes", ()):
        name = str(each.get("name"))
        if name in RESERVED_VOLUMES or name.startswith(SECRETS_VOLUME):
            taken.append(("volume", name))
    for what, name in taken:
        raise _refused(where, f"has a {what} called {name}, a name that Copilot keeps", hint="Rename it.")


def _user(spec: Mapping[str, Any], main: Mapping[str, Any], settings: PodSettings) -> int | None:
    """Main's own user, where it is told: what it writes for itself alone can then be read."""
    for context in (main.get("securityContext", {}), spec.get("securityContext", {})):
        if "runAsUser" in context:
            return int(context["runAsUser"])
    return settings.run_as_user


def _common(settings: PodSettings, request: WrapRequest, main: Mapping[str, Any]) -> dict[str, Any]:
    common = common_fields(settings, {"terminationMessagePolicy": "FallbackToLogsOnError", "resources": RESOURCES}, "")
    if settings.run_as_user == 0:
        common["securityContext"]["runAsNonRoot"] = False
    of_pod = {"COPILOT_POD_NAME": "metadata.name", "COPILOT_POD_NAMESPACE": "metadata.namespace"}
    common["env"] += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in of_pod.items()]
    common["env"].append({"name": "COPILOT_MAIN_CONTAINER", "value": main["name"]})
    if request.env_from:
        common["envFrom"] = [{"secretRef": {"name": name}} for name in request.env_from]
    return common


def _secrets(request: WrapRequest) -> _Secrets:
    """Every directory of a secret file gets a memory volume of its own."""
    directories, variables = dict[str, str](), False
    for text in request.secrets:
        target, _, reference = text.partition("=")
        parse_ref(reference)
        if not target.startswith("/"):
            if not _VARIABLE.fullmatch(target):
                raise _refused("secrets", f"has {target!r}, which is no name of a variable", hint="A file begins with /.")
            variables = True
            continue
        directory = posixpath.dirname(posixpath.normpath(target.partition(":")[0]))
        if directory in _SYSTEM:
            raise _refused("secrets", f"has {target}, and {directory} cannot be a volume", hint="Use /run/secrets/NAME.")
        directories.setdefault(directory, f"{SECRETS_VOLUME}-{len(directories)}")
    return _Secrets({volume: directory for directory, volume in directories.items()}, variables)


def _sidecar(
    settings: PodSettings, request: WrapRequest, common: Mapping[str, Any], volumes: Mapping[str, str], grace_s: int
) -> dict[str, Any]:
    arguments = ["sidecar"]
    if request.outputs_prefix:
        arguments += ["--from-local-dir", request.output_dir, "--to-output-prefix", request.outputs_prefix]
        arguments += ["--timeout", f"{grace_s}s"]
        arguments += [word for each in request.output_types for word in ("--output", each)] or ["--any-output"]
        proof = "wrapper" if request.proof == "auto" else request.proof
        arguments += {
            "wrapper": ["--witnesses", "wrapper,marker"],
            "marker": ["--witnesses", "marker"],
            "pod": ["--witnesses", "pod,marker"],
            "signal": ["--trust-signal"],
        }[proof]
    else:
        # Nothing but the pod's own end matters: a container that is started again is none.
        arguments += ["--witnesses", "signal"]
    if request.secrets:
        arguments.append("--secrets")
    sidecar = {
        **common,
        "name": SIDECAR,
        "command": list(settings.command),
        "args": arguments,
        "restartPolicy": "Always",
        "startupProbe": startup_probe(settings),
        "volumeMounts": own_mounts(settings, volumes),
    }
    return dict(told_grace([sidecar], grace_s)[0])


def _init(
    settings: PodSettings, request: WrapRequest, common: Mapping[str, Any], volumes: Mapping[str, str], *, kept_fresh: bool
) -> dict[str, Any]:
    arguments = ["init"]
    if request.inputs_uri:
        arguments += ["--from-remote", request.inputs_uri]
    arguments += [word for each in request.inputs for word in ("--input", each)]
    if request.inputs_uri or request.inputs:
        arguments += ["--to-local-dir", request.input_dir]
    if request.outputs_prefix:
        arguments += ["--to-output-prefix", request.outputs_prefix]
    arguments += [word for each in request.secrets for word in ("--secret", each)]
    if request.secrets and not kept_fresh:
        arguments.append("--secrets-once")
    return {
        **common,
        "name": INIT,
        "command": list(settings.command),
        "args": arguments,
        "volumeMounts": own_mounts(settings, volumes),
    }


def _under_wrapper(main: Mapping[str, Any], settings: PodSettings, where: str) -> dict[str, Any]:
    if not main.get("command"):
        raise _refused(
            f"{where}.command",
            "is not there, and what the image would run is not known here",
            hint="Write the image's entrypoint as command, or choose another proof: marker, pod or signal.",
        )
    words = [*main["command"], *main.get("args", ())]
    command = [*settings.wrapper, "exec", "--control-dir", CONTROL_DIR, "--", *words]
    return {**{key: value for key, value in main.items() if key != "args"}, "command": command}


def _mounted(main: Mapping[str, Any], own: Mapping[str, str], readable: Mapping[str, str], where: str) -> dict[str, Any]:
    there = {posixpath.normpath(str(each.get("mountPath", ""))) for each in main.get("volumeMounts", ())}
    for path in [*own.values(), *readable.values()]:
        if not path.startswith("/"):
            raise _refused(where, f"would get {path}, which is no absolute path")
        if posixpath.normpath(path) in there:
            raise _refused(f"{where}.volumeMounts", f"has {path}, where Copilot puts a volume", hint="Say another directory.")
    added: list[dict[str, Any]] = [{"name": name, "mountPath": path} for name, path in own.items()]
    added += [{"name": name, "mountPath": path, "readOnly": True} for name, path in readable.items()]
    return {**main, "volumeMounts": [*main.get("volumeMounts", ()), *added]}


def _volume(name: str) -> dict[str, Any]:
    if name == CONTROL_VOLUME:
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    if name.startswith(SECRETS_VOLUME):
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}
    return {"name": name, "emptyDir": {}}


def _refused(where: str, what: str, *, hint: str = "") -> PodRefused:
    return PodRefused(f"{where} {what}", op="wrap", subject=where, hint=hint)

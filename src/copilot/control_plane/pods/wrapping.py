"""A pod spec that somebody wrote → the same with Copilot's containers in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from copilot.control_plane.pods.api_token import TOKEN_VOLUME, token_volume, with_token
from copilot.control_plane.pods.data_containers import (
    BIN_VOLUME,
    CONTROL_VOLUME,
    DEFAULT_INPUT_PATH,
    DEFAULT_OUTPUT_PATH,
    INIT,
    INPUTS_VOLUME,
    OUTPUTS_VOLUME,
    OWN_RESOURCES,
    RESERVED_CONTAINERS,
    RESERVED_VOLUMES,
    SCRATCH_VOLUME,
    SIDECAR,
    common_fields,
    installer,
    own_mounts,
    plain,
    startup_probe,
    told_grace,
)
from copilot.control_plane.pods.directories import check_apart, check_mounts, directory
from copilot.control_plane.pods.refusal import refused
from copilot.control_plane.pods.settings import BIN_DIR, CONTROL_DIR, PodSettings
from copilot.control_plane.pods.shared_access import SECRETS_VOLUME, asked_secrets, for_the_group, named_user, shared_group
from copilot.core.uri import parse, redact

SIDECARS: Final = ("native", "plain")
PROOFS: Final = ("auto", "wrapper", "marker", "pod", "signal")
_NO_GRACE_S: Final = 30
_SECRET_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


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
        sidecar: ``native``, or ``plain``: a container beside main, where there are no native sidecars (before Kubernetes 1.29).
            It is not told when main has ended, so that this must be proven by something else than ``signal``.
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
    sidecar: str = "native"
    env_from: tuple[str, ...] = ()
    pods: PodSettings = field(default_factory=PodSettings)

    @property
    def stages(self) -> bool:
        """Whether there are inputs."""
        return bool(self.inputs_uri or self.inputs)

    @property
    def asks(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.stages or self.outputs_prefix or self.secrets)


def wrap_spec(
    spec: Mapping[str, Any],
    request: WrapRequest,
    *,
    endless: bool,
    claims: Sequence[str] = (),
    default_container: str = "",
    where: str = "spec",
) -> dict[str, Any]:
    """``spec`` with our containers before its own, and its main container as far as it must change.

    Args:
        spec: a checked pod spec; it is not changed.
        request: what is asked for; something is.
        endless: the pod's containers are started again when they end, so that there is no end to publish outputs at.
        claims: the names of volumes that its pods get beside those of the spec (``volumeClaimTemplates``).
        default_container: the container that ``kubectl`` would take.
        where: the spec's path, for messages.

    Raises:
        PodRefused: it cannot be done; the sentence names the field.
        BadSecretRef: a reference that is none.
    """
    main = _main(spec, request, default_container, where)
    request = _checked(request, where)
    outputs, secrets = bool(request.outputs_prefix), asked_secrets(request.secrets)
    if outputs:
        _refuse_endless(spec, main, where, endless=endless)
    _refuse_names(spec, claims, where)
    check_apart(
        inputs=request.input_dir if request.stages else "",
        outputs=request.output_dir if outputs else "",
        secrets=secrets.volumes.values(),
    )
    named = named_user(spec, main)
    settings = replace(request.pods, run_as_user=request.pods.run_as_user if named is None else named)
    if named is None and settings.run_as_user is not None:
        request = replace(request, secrets=tuple(for_the_group(each) for each in request.secrets))
    wrapped = secrets.variables or (outputs and request.proof in {"auto", "wrapper"})
    spot = f"{where}.containers[{main['name']}]"
    common = _common(settings, request, main)
    grace_s = int(spec.get("terminationGracePeriodSeconds", settings.upload_timeout_s if outputs else _NO_GRACE_S))
    inits, volumes, mounts = list[dict[str, Any]](), {CONTROL_VOLUME: CONTROL_DIR}, dict[str, str]()
    if outputs:
        mounts[OUTPUTS_VOLUME] = request.output_dir
    # Where nobody tells it of main's end, a sidecar that only keeps secrets fresh would keep its pod from ending.
    attended = outputs or bool(secrets.volumes and (endless or request.sidecar == "native"))
    if attended:
        kept = {OUTPUTS_VOLUME: request.output_dir} if outputs else {}
        inits.append(_sidecar(settings, request, common, {**kept, **secrets.volumes}, grace_s))
    if wrapped and settings.install:
        inits.append(installer(settings, common))
    if request.stages or request.secrets:
        kept = {INPUTS_VOLUME: request.input_dir} if request.stages else {}
        mounts |= kept
        inits.append(_init(settings, request, common, {**kept, **secrets.volumes}, kept_fresh=attended))
    if wrapped:
        main = _under_wrapper(main, settings, spot, for_secrets=secrets.variables)
        mounts[CONTROL_VOLUME] = CONTROL_DIR
    readable = {**secrets.volumes, **({BIN_VOLUME: BIN_DIR} if wrapped and settings.install else {})}
    check_mounts(main, [*mounts.values(), *readable.values()], outputs=request.output_dir if outputs else "", where=spot)
    main = _mounted(main, mounts, readable)
    asking = ({SIDECAR} if outputs and request.proof == "pod" else set()) | ({SIDECAR, INIT} if secrets.of_cluster else set())
    inits = [with_token(each) if each["name"] in asking else each for each in inits]
    volumes = {**volumes, **mounts, **readable, **({SCRATCH_VOLUME: "/tmp"} if settings.scratch else {})}  # noqa: S108
    inits = [{"name": each["name"], **each} for each in inits]
    beside = [plain(each) for each in inits if each["name"] == SIDECAR and request.sidecar == "plain"]
    before = [*(each for each in inits if not beside or each["name"] != SIDECAR), *spec.get("initContainers", ())]
    made = {
        **spec,
        **({"initContainers": before} if before else {}),
        "containers": [*(main if each["name"] == main["name"] else each for each in spec["containers"]), *beside],
        "volumes": [
            *spec.get("volumes", ()),
            *(_volume(name) for name in sorted(volumes)),
            *([token_volume()] if asking else ()),
        ],
    }
    if outputs:
        made["terminationGracePeriodSeconds"] = grace_s
    if settings.run_as_user:
        made["securityContext"] = shared_group(spec, settings.run_as_user, keeps_data=bool(claims))
    return made


def _checked(request: WrapRequest, where: str) -> WrapRequest:
    """``request`` with its directories as they are mounted."""
    if request.proof not in PROOFS:
        raise refused(where, f"has the proof {request.proof!r}", hint=f"One of {', '.join(PROOFS)}.")
    if request.sidecar not in SIDECARS:
        raise refused(where, f"has the sidecar {request.sidecar!r}", hint=f"One of {', '.join(SIDECARS)}.")
    if request.sidecar == "plain" and request.proof in {"signal", "marker"}:
        said = f"has a plain sidecar and the proof {request.proof}"
        hint = (
            "Nothing tells it of the end of a main that wrote no _SUCCESS: say wrapper, or pod, and the marker counts as well."
        )
        raise refused(where, said, hint=hint)
    for name in request.env_from:
        if not _SECRET_NAME.fullmatch(name):
            said = f"takes credentials from {name!r}, which is no name of a Secret"
            raise refused(where, said, hint="Give its name alone, as `kubectl get secrets` prints it.")
    for what, uri in (("the inputs.pb", request.inputs_uri), ("the outputs' prefix", request.outputs_prefix)):
        # What begins with a variable is Kubernetes' to expand.
        if uri and not uri.startswith("$(") and parse(uri).scheme == "file":
            raise refused(
                what, f"is {redact(uri)}, a path, which ends with the pod", hint="Say a URI, such as s3://bucket/key."
            )
    return replace(
        request,
        input_dir=directory(request.input_dir, "the input directory") if request.stages else request.input_dir,
        output_dir=directory(request.output_dir, "the output directory") if request.outputs_prefix else request.output_dir,
    )


def _refuse_endless(spec: Mapping[str, Any], main: Mapping[str, Any], where: str, *, endless: bool) -> None:
    """Outputs are published when main has ended, once and for all, and in the time that is left to the pod then."""
    own = f"{where}.containers[{main['name']}]"
    again = "so the container has no end at which its outputs could be published"
    if endless:
        raise refused(
            f"{where}.restartPolicy",
            f"is not Never, {again}",
            hint="Outputs need a Pod, Job or CronJob with restartPolicy: Never (a Job makes new pods by itself).",
        )
    if main.get("restartPolicy", "Never") != "Never" or main.get("restartPolicyRules"):
        raise refused(f"{own}.restartPolicy", f"starts it again, {again}", hint="Leave it out, and its rules.")
    if spec.get("terminationGracePeriodSeconds") == 0:
        raise refused(
            f"{where}.terminationGracePeriodSeconds",
            "is 0, and outputs are uploaded in that time",
            hint="Leave it out: it is an hour then.",
        )


def _main(spec: Mapping[str, Any], request: WrapRequest, default: str, where: str) -> dict[str, Any]:
    containers: Sequence[Mapping[str, Any]] = spec.get("containers") or ()
    names = [str(each.get("name", "")) for each in containers]
    wanted = request.container or default
    if not names:
        raise refused(where, "has no containers")
    if not wanted and len(names) > 1:
        raise refused(
            f"{where}.containers",
            f"has {len(names)} containers, and it is not said which one is meant",
            hint=f"Say copilot.dev/container, or --container: {', '.join(names)}.",
        )
    if wanted and wanted not in names:
        raise refused(f"{where}.containers", f"has no container called {wanted}", hint=f"There is {', '.join(names)}.")
    return dict(containers[names.index(wanted) if wanted else 0])


def _refuse_names(spec: Mapping[str, Any], claims: Sequence[str], where: str) -> None:
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    taken = [("container", each.get("name")) for each in every if each.get("name") in RESERVED_CONTAINERS]
    volumes = [*(str(each.get("name")) for each in spec.get("volumes", ())), *claims]
    kept = {*RESERVED_VOLUMES, TOKEN_VOLUME}
    taken += [("volume", name) for name in volumes if name in kept or name.startswith(SECRETS_VOLUME)]
    for what, name in taken:
        raise refused(where, f"has a {what} called {name}, a name that Copilot keeps", hint="Rename it.")


def _common(settings: PodSettings, request: WrapRequest, main: Mapping[str, Any]) -> dict[str, Any]:
    common = common_fields(settings, {"terminationMessagePolicy": "FallbackToLogsOnError", "resources": OWN_RESOURCES}, "")
    if settings.run_as_user == 0:
        common["securityContext"]["runAsNonRoot"] = False
    of_pod = {"COPILOT_POD_NAME": "metadata.name", "COPILOT_POD_NAMESPACE": "metadata.namespace"}
    common["env"] += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in of_pod.items()]
    common["env"].append({"name": "COPILOT_MAIN_CONTAINER", "value": main["name"]})
    if request.env_from:
        common["envFrom"] = [{"secretRef": {"name": name}} for name in request.env_from]
    return common


def _sidecar(
    settings: PodSettings, request: WrapRequest, common: Mapping[str, Any], volumes: Mapping[str, str], grace_s: int
) -> dict[str, Any]:
    arguments = ["sidecar"]
    if request.outputs_prefix:
        arguments += ["--from-local-dir", request.output_dir, "--to-output-prefix", request.outputs_prefix]
        arguments += ["--timeout", f"{grace_s}s"]
        arguments += [word for each in request.output_types for word in ("--output", each)] or ["--any-output"]
        proof = "wrapper" if request.proof == "auto" else request.proof
        native = request.sidecar == "native"
        arguments += {
            "wrapper": ["--witnesses", "wrapper,marker"],
            "marker": ["--witnesses", "marker"],
            # Beside main there is no signal that tells of its end: without the pod's status nobody would.
            "pod": ["--witnesses", "pod,marker"] if native else ["--exit-watcher-type", "pod", "--witnesses", "marker"],
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
    if request.stages:
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


def _under_wrapper(main: Mapping[str, Any], settings: PodSettings, where: str, *, for_secrets: bool) -> dict[str, Any]:
    if not main.get("command"):
        other = "have its secrets as files: /path=REFERENCE" if for_secrets else "choose another proof: marker, pod or signal"
        raise refused(
            f"{where}.command",
            "is not there, and what the image would run is not known here",
            hint=f"Write the image's entrypoint as command, or {other}.",
        )
    words = [*main["command"], *main.get("args", ())]
    command = [*settings.wrapper, "exec", "--control-dir", CONTROL_DIR, "--", *words]
    return {**{key: value for key, value in main.items() if key != "args"}, "command": command}


def _mounted(main: Mapping[str, Any], own: Mapping[str, str], readable: Mapping[str, str]) -> dict[str, Any]:
    added: list[dict[str, Any]] = [{"name": name, "mountPath": path} for name, path in own.items()]
    added += [{"name": name, "mountPath": path, "readOnly": True} for name, path in readable.items()]
    return {**main, "volumeMounts": [*main.get("volumeMounts", ()), *added]}


def _volume(name: str) -> dict[str, Any]:
    if name == CONTROL_VOLUME:
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    if name.startswith(SECRETS_VOLUME):
        return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}
    return {"name": name, "emptyDir": {}}

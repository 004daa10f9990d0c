"""A task's own containers: its container, or its pod template's, rendered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.core.tasks_pb2 import Container, Resources
from google.protobuf import json_format

from copilot.control_plane.pod_templates.merge import checked
from copilot.control_plane.pods.variables import Rendered, Variables, render, render_words
from copilot.core.errors import PodRefused
from copilot.core.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings
    from copilot.core.idl import LiteralMap

MAIN: Final = "main"


@dataclass(frozen=True, slots=True)
class OwnPart:
    """The task's own part of the pod.

    Attributes:
        main: the main container.
        others: further containers of its pod template.
        spec: the rest of that template.
        warnings: for its author.
    """

    main: dict[str, Any]
    others: list[dict[str, Any]]
    spec: dict[str, Any]
    warnings: tuple[str, ...]


def own_part(work: AttemptWork, settings: PodSettings, variables: Variables) -> OwnPart:
    """From ``container`` or ``k8s_pod``.

    Raises:
        PodRefused: a pod template that is none, or lacks its primary container; a quantity that is none.
        BadInputs: see ``templates.render_words``.
    """
    template = work.spec.task_template
    if template.HasField("k8s_pod"):
        return _from_pod(work, variables)
    container = template.container
    rendered = render_words([*container.command, *container.args], variables, work.inputs)
    main: dict[str, Any] = {"name": MAIN, "image": container.image, **_split(rendered, len(container.command))}
    resources = container_resources(container, settings)
    if resources:
        main["resources"] = resources
    if container.ports:
        main["ports"] = [
            {"containerPort": each.container_port, **({"name": each.name} if each.name else {})} for each in container.ports
        ]
    return OwnPart(main, [], {}, rendered.warnings)


def container_resources(container: Container, settings: PodSettings) -> dict[str, dict[str, str]]:
    """Requests and limits as Kubernetes names them. Memory and GPUs that are only requested are limited too, as in Flyte."""
    names = {
        Resources.CPU: "cpu",
        Resources.MEMORY: "memory",
        Resources.GPU: settings.gpu_resource,
        Resources.STORAGE: "ephemeral-storage",
        Resources.EPHEMERAL_STORAGE: "ephemeral-storage",
    }
    found: dict[str, dict[str, str]] = {}
    for part, entries in (("requests", container.resources.requests), ("limits", container.resources.limits)):
        for each in entries:
            if each.name not in names:
                raise PodRefused("a resource without a name was asked for", op="pod", subject=part)
            if quantity(each.value) is None:
                raise PodRefused(
                    f"{names[each.name]} is {each.value!r}, which is no quantity",
                    op="pod",
                    subject=f"resources.{part}",
                    hint="Write it like 500m, 2, 64Mi or 1Gi.",
                )
            found.setdefault(part, {})[names[each.name]] = each.value
    for name in (settings.gpu_resource, "memory"):
        asked = found.get("requests", {}).get(name)
        if asked is not None:
            found.setdefault("limits", {}).setdefault(name, asked)
    return found


def _from_pod(work: AttemptWork, variables: Variables) -> OwnPart:
    template = work.spec.task_template
    spec = checked(json_format.MessageToDict(template.k8s_pod.pod_spec), where="pod_spec")
    primary = template.k8s_pod.primary_container_name or template.config.get("primary_container_name", "")
    containers = [dict(each) for each in spec.pop("containers", ())]
    found = next(
        (each for each in containers if each.get("name") == primary), containers[0] if not primary and containers else None
    )
    if found is None:
        names = ", ".join(str(each.get("name")) for each in containers) or "no container"
        raise PodRefused(
            f"the pod template has no container called {primary!r}",
            op="pod",
            subject="primary_container_name",
            hint=f"It has {names}.",
        )
    warnings: tuple[str, ...] = ()
    for container in containers:
        rendered = render_words([*container.get("command", ()), *container.get("args", ())], variables, work.inputs)
        container.update(_split(rendered, len(container.get("command", ()))))
        _render_env(container, variables, work.inputs)
        warnings += rendered.warnings
    return OwnPart(found, [each for each in containers if each is not found], spec, warnings)


def _split(rendered: Rendered, commands: int) -> dict[str, list[str]]:
    parts = {"command": list(rendered.words[:commands]), "args": list(rendered.words[commands:])}
    return {name: words for name, words in parts.items() if words}


def _render_env(container: dict[str, Any], variables: Variables, inputs: LiteralMap | None) -> None:
    entries: list[Mapping[str, Any]] = container.get("env", [])
    if entries:
        container["env"] = [
            {**each, "value": render(each["value"], variables, inputs)} if each.get("value") else each for each in entries
        ]

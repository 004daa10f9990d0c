"""Anybody's manifest → the same with Copilot in its pod. Pure: documents in, documents out.

Driven by annotations on the pod (template), which win over what the caller gives for all of them.
"""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.pod_templates.merge import checked
from copilot.control_plane.pods.refusal import refused
from copilot.control_plane.pods.wrapping import PROOFS, SIDECARS, WrapRequest, wrap_spec
from copilot.core.errors import CopilotError, PodRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFIX: Final = "copilot.dev/"
WRAPPED: Final = f"{PREFIX}wrapped"
FORM: Final = "1"
_ENDLESS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
_KINDS: Final = {
    "Pod": (),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(_ENDLESS, ("spec", "template")),
}
_VERSIONS: Final = {"Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1", **dict.fromkeys(_ENDLESS, "apps/v1")}
#: Every annotation: what it says.
ANNOTATIONS: Final = {
    "inputs": "the URI of an inputs.pb, or a line `name: uri` (or any other value) an input",
    "input-dir": "where the container finds them",
    "outputs": "the prefix that outputs are published to",
    "output-types": "a line `name: type` an output; without it, whatever the container leaves",
    "output-dir": "where the container leaves them",
    "secrets": "a line `name: reference` a secret; a name that begins with / is a file, any other a variable",
    "container": "the container that is meant, where there are several",
    "proof": f"what proves success: {', '.join(PROOFS)}",
    "sidecar": f"how it is one: {', '.join(SIDECARS)}",
    "env-from": "a Secret with the stores' credentials, for Copilot's own containers alone",
    "image": "Copilot's image",
}
_TOLD: Final = frozenset({*ANNOTATIONS, "wrapped", "main-container", "outcome"})


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What became of the documents.

    Attributes:
        documents: all of them, in their order.
        notes: what people should know, a sentence each.
        changed: how many pods (templates) were wrapped now.
    """

    documents: tuple[Any, ...]
    notes: tuple[str, ...] = ()
    changed: int = 0


@dataclass(slots=True)
class _Course:
    request: WrapRequest
    notes: list[str] = field(default_factory=list)
    changed: int = 0


def wrap_documents(documents: Sequence[object], request: WrapRequest) -> Wrapped:
    """Wraps every Pod, Job, CronJob, Deployment, StatefulSet, DaemonSet and ReplicaSet, in Lists too; passes on the rest.

    What is wrapped already stays as it is, and so does what nothing is asked for.

    Args:
        documents: as YAML gives them; they are not changed. Empty ones are left out.
        request: what is asked for all of them.

    Raises:
        PodRefused: a document cannot be wrapped; the sentence says which one, and which field.
    """
    course = _Course(request)
    done = tuple(_document(each, f"document {number}", course) for number, each in enumerate(documents, 1) if each is not None)
    return Wrapped(done, tuple(course.notes), course.changed)


def _document(document: object, where: str, course: _Course) -> object:
    if not isinstance(document, dict):
        raise refused(where, "is no object of fields", hint="A manifest begins with apiVersion and kind.")
    kind = document.get("kind")
    if not isinstance(kind, str) or not isinstance(document.get("apiVersion"), str):
        raise refused(where, "has no apiVersion or no kind", hint="Both are texts at the manifest's top.")
    if kind == "List":
        items = document.get("items") or []
        if not isinstance(items, list):
            raise refused(f"{where} (List)", "has items that are no list")
        return {**document, "items": [_document(each, f"{where}, item {n}", course) for n, each in enumerate(items, 1)]}
    if kind not in _KINDS:
        return document
    named = f"{where} ({kind}/{_name(document)})"
    if document["apiVersion"] != _VERSIONS[kind]:
        course.notes.append(
            f"{named} is of {document['apiVersion']} and stays as it is: {kind} is wrapped in {_VERSIONS[kind]}."
        )
        return document
    made: dict[str, Any] = copy.deepcopy(document)
    pod, path = made, ""
    for step in _KINDS[kind]:
        _refuse_unread(pod, named, path, "".join(f"{each}." for each in _KINDS[kind]))
        pod, path = pod.get(step), f"{path}{step}."  # type: ignore[assignment]  # checked in the next line
        if not isinstance(pod, dict):
            raise refused(named, f"has no {path.rstrip('.')}")
    return made if _wrap(pod, named, path, kind=kind, course=course, claims=_claims(made)) else document


def _refuse_unread(above: dict[str, Any], where: str, path: str, right: str) -> None:
    """Annotations of ours that stand above the pod template would be asked for and not heeded."""
    metadata = above.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    found = [each for each in ANNOTATIONS if f"{PREFIX}{each}" in annotations] if isinstance(annotations, dict) else []
    if found:
        what = f"has {PREFIX}{found[0]} in {path}metadata.annotations, where it says nothing of the pods"
        raise refused(where, what, hint=f"Write it into {right}metadata.annotations.")


def _claims(document: dict[str, Any]) -> list[str]:
    """The names of the volumes that a StatefulSet gives its pods beside those of their spec."""
    spec = document.get("spec")
    templates = spec.get("volumeClaimTemplates") if isinstance(spec, dict) else None
    return [_name(each) for each in templates if isinstance(each, dict)] if isinstance(templates, list) else []


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    found = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, dict) else None
    return str(found or "?")


def _wrap(pod: dict[str, Any], where: str, path: str, *, kind: str, course: _Course, claims: Sequence[str]) -> bool:
    """Wraps ``pod`` in place; whether there was anything to do."""
    metadata = pod.get("metadata")
    if metadata is None:
        metadata = pod["metadata"] = {}
    annotations = metadata.get("annotations") or {} if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict):
        raise refused(where, f"has {path}metadata.annotations that are no map")
    if WRAPPED in annotations:
        course.notes.append(f"{where} is wrapped already.")
        return False
    request = _from_annotations(annotations, course.request, f"{where}: {path}metadata.annotations")
    if not request.asks:
        course.notes.append(f"{where} asks for nothing: no annotation {PREFIX}inputs, {PREFIX}outputs or {PREFIX}secrets.")
        return False
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        raise refused(where, f"has no {path}spec")
    try:
        spec = checked(spec, where=f"{path}spec")
        pod["spec"] = wrap_spec(
            spec,
            request,
            endless=kind in _ENDLESS or spec.get("restartPolicy", "Always") != "Never",
            claims=claims,
            default_container=str(annotations.get("kubectl.kubernetes.io/default-container", "")),
            where=f"{path}spec",
        )
    except CopilotError as error:
        raise PodRefused(f"{where}: {error.message}", op="wrap", subject=where, hint=error.hint) from error.__cause__
    metadata["annotations"] = {**annotations, WRAPPED: FORM}
    course.changed += 1
    return True


def _from_annotations(annotations: dict[str, Any], request: WrapRequest, where: str) -> WrapRequest:
    ours = {}
    for key, value in annotations.items():
        if not str(key).startswith(PREFIX):
            continue
        name = str(key).removeprefix(PREFIX)
        if name not in _TOLD:
            near = difflib.get_close_matches(name, ANNOTATIONS, 1)
            raise refused(where, f"has {key}, which is none of ours", hint=f"Did you mean {PREFIX}{near[0]}?" if near else "")
        if not isinstance(value, str):
            raise refused(where, f"has {key}, which is no text", hint="Put it between quotes, or write | before its lines.")
        ours[name] = value.strip()
    changes: dict[str, Any] = {
        ours_name: ours[theirs]
        for theirs, ours_name in (
            ("outputs", "outputs_prefix"),
            ("input-dir", "input_dir"),
            ("output-dir", "output_dir"),
            ("container", "container"),
            ("proof", "proof"),
            ("sidecar", "sidecar"),
        )
        if ours.get(theirs)
    }
    if ours.get("inputs"):
        lines = list(_lines(ours["inputs"], f"{where} {PREFIX}inputs", single=True))
        whole = len(lines) == 1 and not lines[0][0]
        changes |= {
            "inputs_uri": lines[0][1] if whole else "",
            "inputs": () if whole else tuple("=".join(each) for each in lines),
        }
    if ours.get("output-types"):
        changes["output_types"] = tuple(
            ":".join(each) for each in _lines(ours["output-types"], f"{where} {PREFIX}output-types")
        )
    if ours.get("secrets"):
        changes["secrets"] = tuple("=".join(each) for each in _lines(ours["secrets"], f"{where} {PREFIX}secrets"))
    if ours.get("env-from"):
        changes["env_from"] = tuple(ours["env-from"].replace(",", " ").split())
    if ours.get("image"):
        changes["pods"] = replace(request.pods, image=ours["image"])
    return replace(request, **changes)


def _lines(text: str, where: str, *, single: bool = False) -> Iterator[tuple[str, str]]:
    """``name: value`` a line; ``single``: one line that is no such pair is a value without a name."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(": ")
        if colon and name.strip() and value.strip() and not any(blank in name.strip() for blank in " \t"):
            yield name.strip(), value.strip()
        elif single and len(lines) == 1:
            yield "", line
        else:
            raise refused(where, f"has a line {number} that is no `name: value`", hint="A blank follows the colon.")

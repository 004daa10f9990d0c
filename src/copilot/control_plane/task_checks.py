"""Whether a task can run at all, and fits what this server takes; looked at before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from copilot.control_plane.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from flyteidl2.core.identifier_pb2 import Identifier
    from flyteidl2.core.literals_pb2 import KeyValuePair
    from flyteidl2.task.run_pb2 import RunSpec
    from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from copilot.control_plane.settings import Limits

_MOST_TIMES: Final = 2**31 - 1
_LONGEST_S: Final = 315_576_000_000
"""What ``google.protobuf.Duration`` allows: 10,000 years."""
_LAST_S: Final = 253_402_300_799
_NANOS: Final = 10**9
_LENGTHS: Final = {"project": 63, "domain": 63, "name": 255, "version": 255}
_LABEL: Final = (317, 255)
_NUL: Final = "\0"


def check_spec(spec: TaskSpec, run_spec: RunSpec, limits: Limits) -> None:
    """Raises ``InvalidRequest`` for a task that can never run, or that brings more of something than is sensible."""
    template = spec.task_template
    if not template.id.name:
        raise InvalidRequest("task_spec.task_template.id.name is required")
    target = template.WhichOneof("target")
    if target is None:
        raise InvalidRequest(f"task {template.id.name!r} has neither a container nor a pod")
    if target == "sql":
        raise InvalidRequest(f"task {template.id.name!r}: SQL tasks are not run here")
    if target == "container" and not template.container.image:
        raise InvalidRequest(f"task {template.id.name!r}: container.image is required")
    counts = {
        "labels": len(run_spec.labels.values) + len(template.metadata.metadata.labels),
        "annotations": len(run_spec.annotations.values) + len(template.metadata.metadata.annotations),
        "environment variables": len(run_spec.envs.values) + len(template.container.env),
        "secrets": len(template.security_context.secrets),
        "inputs": len(template.interface.inputs.variables),
        "outputs": len(template.interface.outputs.variables),
    }
    for what, count in counts.items():
        if count > limits.max_labels:
            raise InvalidRequest(f"task {template.id.name!r} has {count} {what}: at most {limits.max_labels} are taken")
    check_identifier(template.id, "task_template.id")
    _check_texts(spec, run_spec)
    _check_numbers(spec, run_spec)


def check_identifier(identifier: Identifier | TaskIdentifier, where: str) -> None:
    """Raises ``InvalidRequest`` for a part that is longer than anything is called, or cannot be kept."""
    for part, most in _LENGTHS.items():
        value = getattr(identifier, part)
        if len(value) > most:
            raise InvalidRequest(f"{where}.{part} has {len(value)} characters: at most {most} are taken")
        if _NUL in value:
            raise InvalidRequest(f"{where}.{part} holds the character NUL")


def check_times(*times: Timestamp) -> None:
    """Raises ``InvalidRequest`` for a time that nobody could be told again."""
    for at in times:
        if not (0 <= at.seconds <= _LAST_S and 0 <= at.nanos < _NANOS):
            raise InvalidRequest(f"{at.seconds} s is no time between 1970 and 9999")


def _check_texts(spec: TaskSpec, run_spec: RunSpec) -> None:
    """No process can be given a NUL, by whatever starts it; and a label has the lengths that Kubernetes gives it, or less."""
    container, name = spec.task_template.container, spec.task_template.id.name
    words = {"command": container.command, "arguments": container.args, "image": [container.image]}
    words["environment"] = list(chain(_pairs(container.env), _pairs(run_spec.envs.values)))
    for what, texts in words.items():
        if any(_NUL in text for text in texts):
            raise InvalidRequest(f"task {name!r}: its {what} cannot hold the character NUL")
    for key, value in run_spec.labels.values.items():
        if len(key) > _LABEL[0] or len(value) > _LABEL[1]:
            raise InvalidRequest(
                f"the label {key[:80]!r} is too long: a name has at most {_LABEL[0]} characters, a value {_LABEL[1]}"
            )


def _pairs(variables: Iterable[KeyValuePair]) -> Iterator[str]:
    for each in variables:
        yield each.key
        yield each.value


def _check_numbers(spec: TaskSpec, run_spec: RunSpec) -> None:
    metadata = spec.task_template.metadata
    counts = {"retries": metadata.retries.retries, "max_action_concurrency": run_spec.max_action_concurrency}
    for what, count in counts.items():
        if count > _MOST_TIMES:
            raise InvalidRequest(f"{what} is {count}: at most {_MOST_TIMES} is taken")
    durations = {
        "timeout": metadata.timeout,
        "timeouts.queued_timeout": metadata.timeouts.queued_timeout,
        "timeouts.deadline": metadata.timeouts.deadline,
        "retries.backoff.base": metadata.retries.backoff.base,
        "retries.backoff.cap": metadata.retries.backoff.cap,
    }
    for what, duration in durations.items():
        if not _sensible(duration):
            raise InvalidRequest(f"{what} is {duration.seconds} s: it must be between 0 and {_LONGEST_S} s")


def _sensible(duration: Duration) -> bool:
    return bool(0 <= duration.seconds <= _LONGEST_S and 0 <= duration.nanos < _NANOS)


def check_size(inputs: bytes, limits: Limits) -> None:
    """Raises ``TooLarge`` for inputs that nobody could take inline again."""
    if len(inputs) > limits.max_inline_bytes:
        raise TooLarge(
            f"the inputs have {len(inputs)} bytes: at most {limits.max_inline_bytes} are taken",
            hint="Upload large values as files, and pass the files.",
        )


def check_inputs(spec: TaskSpec, literals: set[str]) -> None:
    """Raises ``InvalidRequest`` when a declared input is missing and has no default."""
    defaults = {each.name for each in spec.default_inputs}
    declared = [variable.key for variable in spec.task_template.interface.inputs.variables]
    missing = [name for name in declared if name not in literals and name not in defaults]
    if missing:
        raise InvalidRequest(
            f"task {spec.task_template.id.name!r} needs the inputs {', '.join(map(repr, missing[:20]))}",
            hint="Give each declared input a value.",
        )

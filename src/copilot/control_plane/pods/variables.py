"""The variables a task's command, arguments and environment may hold, and their values. Pure.

``{{ .Name }}`` and ``{{$Name}}``, in any case, with or without blanks (the contract of Flyte's backend); further
``{{.inputs.x}}``, and ``{{.inputs.x | quote}}``, which makes the value one word for a POSIX shell. What is no variable of
ours stays as it is.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format

from copilot.core.errors import BadInputs
from copilot.core.gotext import NANOS_PER_SECOND, format_bool, format_duration, format_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot.core.idl import Literal, LiteralMap, Primitive, Scalar

_VARIABLE: Final = re.compile(r"\{\{\s*[.$]([A-Za-z]+)(?:\.([^}|\s]+))?\s*(?:\|\s*([A-Za-z]+)\s*)?\}\}")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"})
_SHELL_TEXT_FLAG: Final = re.compile(r"-[A-Za-z]*c[A-Za-z]*")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
_EXPONENT_BELOW: Final = -4
_EXPONENT_FROM: Final = 21
_SHOWN_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Variables:
    """What the variables stand for.

    Attributes:
        input_uri: ``Input``, the whole path of inputs.pb.
        output_prefix: ``OutputPrefix`` and, as in Flyte 2, ``RawOutputDataPrefix``.
        previous_prefix: the attempt's before, or empty: ``PrevCheckpointPrefix``.
        unique: ``PerRetryUniqueKey``.
        namespace: ``Namespace``.
        run, action: ``RunName``, ``ActionName``.
        attempt: from 1; ``RetryAttempt`` counts from 0.
        run_start_s: ``RunStartTime``, seconds since the epoch.
        input_dir, output_dir: ``InputDir``, ``OutputDir``: where the task finds and leaves files.
    """

    input_uri: str
    output_prefix: str
    previous_prefix: str
    unique: str
    namespace: str
    run: str
    action: str
    attempt: int
    run_start_s: float
    input_dir: str = ""
    output_dir: str = ""

    def value(self, name: str) -> str | None:
        """The text of a variable; None for a name that is none of ours."""
        checkpoints = f"{self.previous_prefix}/_flytecheckpoints" if self.previous_prefix else '""'
        known = {
            "input": self.input_uri,
            "inputprefix": self.input_uri.rpartition("/")[0],
            "outputprefix": self.output_prefix,
            "rawoutputdataprefix": self.output_prefix,
            "perretryuniquekey": self.unique,
            "tasktemplatepath": f"{self.output_prefix}/task.pb",
            "prevcheckpointprefix": checkpoints,
            "checkpointoutputprefix": f"{self.output_prefix}/_flytecheckpoints",
            "namespace": self.namespace,
            "runname": self.run,
            "actionname": self.action,
            "retryattempt": str(self.attempt - 1),
            "runstarttime": format_timestamp(int(self.run_start_s)),
        }
        local = {"inputdir": self.input_dir, "outputdir": self.output_dir}
        known |= {key: value for key, value in local.items() if value}
        return known.get(name.lower())


@dataclass(frozen=True, slots=True)
class Rendered:
    """Words with every variable replaced, and what their author should be warned of, a sentence each."""

    words: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def render_words(words: Sequence[str], variables: Variables, inputs: LiteralMap | None) -> Rendered:
    """A command line (the command and its arguments together), rendered.

    A value is pasted as it is, also into the text of a ``sh -c``, where it can change the command: then there is a warning that
    names the input and the characters.

    Raises:
        BadInputs: an input that is not there, or whose value has no text.
    """
    rendered = tuple(render(word, variables, inputs) for word in words)
    return Rendered(rendered, shell_warnings(words, inputs))


def shell_warnings(words: Sequence[str], inputs: LiteralMap | None) -> tuple[str, ...]:
    """What the author of a command line should know before it runs: which values can change the text of its ``sh -c``.

    Raises:
        BadInputs: an input that is not there, or whose value has no text.
    """
    places = sorted(_shell_texts(words))
    return tuple(dict.fromkeys(said for place in places for said in _warnings(words[place], inputs)))


def render(text: str, variables: Variables, inputs: LiteralMap | None) -> str:
    """One text, rendered. Raises as ``render_words``."""

    def replace(found: re.Match[str]) -> str:
        name, member, function = found.groups()
        if name.lower() == "inputs" and member:
            value: str | None = _input_text(inputs, member)
        else:
            value = None if member else variables.value(name)
        if value is None or (function or "quote").lower() != "quote":
            return found.group(0)
        return shlex.quote(value) if function else value

    return _VARIABLE.sub(replace, text)


def literal_text(literal: Literal, where: str) -> str:
    """A literal as Flyte pastes it: Go's ``%v`` of numbers, RFC 3339 times, URIs of files, ``[a,b]`` of lists.

    Raises:
        BadInputs: maps and binary values, which have no text.
    """
    kind = literal.WhichOneof("value")
    if kind == "scalar":
        return _scalar_text(literal.scalar, where)
    if kind == "collection":
        return "[" + ",".join(literal_text(each, f"{where}[{i}]") for i, each in enumerate(literal.collection.literals)) + "]"
    raise _no_text(where, {"map": "a map", "offloaded_metadata": "an offloaded value"}.get(str(kind), "empty"))


def go_float(value: float) -> str:
    """A float as Go's ``%v`` writes it: the shortest digits, with an exponent below 1e-4 and from 1e21 on."""
    if value != value:  # noqa: PLR0124  NaN alone is not itself
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    digits, _, exponent = f"{value:.17e}".partition("e")
    for precision in range(17):
        short = f"{value:.{precision}e}"
        if float(short) == value:
            digits, _, exponent = short.partition("e")
            break
    power = int(exponent)
    if value and not _EXPONENT_BELOW <= power < _EXPONENT_FROM:
        return f"{digits}e{power:+03d}"
    places = max(0, len(digits.lstrip("-").replace(".", "")) - 1 - power)
    return f"{value:.{places}f}"


def _input_text(inputs: LiteralMap | None, name: str) -> str:
    if inputs is None or name not in inputs.literals:
        raise BadInputs(
            f"the command uses {{{{.inputs.{name}}}}}, and there is no such input",
            op="render",
            subject=name,
            hint="Declare the input, or correct its name in the command.",
        )
    return literal_text(inputs.literals[name], name)


def _scalar_text(scalar: Scalar, where: str) -> str:
    kind = scalar.WhichOneof("value")
    match kind:
        case "primitive":
            return _primitive_text(scalar.primitive)
        case "blob":
            return str(scalar.blob.uri)
        case "schema":
            return str(scalar.schema.uri)
        case "structured_dataset":
            return str(scalar.structured_dataset.uri)
        case "none_type":
            return ""
        case "union":
            return literal_text(scalar.union.value, where)
        case "error":
            return str(scalar.error.message)
        case "generic":
            return str(json_format.MessageToJson(scalar.generic, indent=None, ensure_ascii=False))
        case _:
            raise _no_text(where, "binary" if kind == "binary" else "empty")


def _primitive_text(primitive: Primitive) -> str:
    match primitive.WhichOneof("value"):
        case "integer":
            return str(primitive.integer)
        case "float_value":
            return go_float(primitive.float_value)
        case "boolean":
            return format_bool(primitive.boolean)
        case "datetime":
            return format_timestamp(primitive.datetime.seconds, primitive.datetime.nanos)
        case "duration":
            return format_duration(primitive.duration.seconds * NANOS_PER_SECOND + primitive.duration.nanos)
        case _:
            return str(primitive.string_value)


def _no_text(where: str, what: str) -> BadInputs:
    return BadInputs(
        f"the command uses the input {where}, whose value is {what} and has no text",
        op="render",
        subject=where,
        hint="Let the task read it from its input directory instead.",
    )


def _shell_texts(words: Sequence[str]) -> frozenset[int]:
    """The places of words that a shell will read: what follows its ``-c``."""
    places = set()
    for place in range(2, len(words)):
        shell = words[place - 2].rpartition("/")[2]
        if shell in _SHELLS and _SHELL_TEXT_FLAG.fullmatch(words[place - 1]):
            places.add(place)
    return frozenset(places)


def _warnings(word: str, inputs: LiteralMap | None) -> list[str]:
    said = []
    for name, member, function in _VARIABLE.findall(word):
        if name.lower() != "inputs" or not member or function:
            continue
        value = _input_text(inputs, member)
        if not _HARMLESS.fullmatch(value):
            odd = "".join(sorted({each for each in value if not _HARMLESS.fullmatch(each)}))[:_SHOWN_CHARACTERS]
            said.append(
                f"The value of input {member} holds characters that a shell reads ({odd!r}) and is pasted into a shell text: "
                f"write {{{{.inputs.{member} | quote}}}} to keep it one word."
            )
    return said

"""The file that ``copilot submit`` takes: a task in YAML, checked word by word.

``name``, ``image``, ``command`` (a list), ``inputs`` (``name`` or ``name:type``: value), ``outputs`` (name: type), ``secrets``
(a list), ``env`` (name: value), ``resources`` (``cpu``, ``memory``, ``gpu``, ``disk``: quantity), ``retries`` and ``timeout``
(seconds). What is a text in a task is taken as it stands in the file: ``[sleep, 010]``
and ``[true]`` are the words ``010`` and ``true``, whatever YAML makes of them elsewhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from copilot.cli.staging.task_types import literal_of, split_declaration
from copilot.core.errors import BadFlag
from copilot.core.idl import Literal, LiteralMap, LiteralType
from copilot.engine.atomic import local_errors

KNOWN: Final = ("name", "image", "command", "inputs", "outputs", "secrets", "env", "resources", "retries", "timeout")
MOST: Final = 2**31 - 1
"""Of retries, or of seconds."""


def read_task_file(path: Path) -> dict[str, Any]:
    """What the file says, by the names of ``submit``'s flags; ``literals`` and ``declared`` are its inputs.

    Raises:
        BadFlag: it is no task; the sentence names what is wrong.
        LocalIOError: it cannot be read.
    """
    with local_errors(path, op="read"):
        data = path.read_bytes()
    try:
        text = data.decode()
        task, words = yaml.safe_load(text), yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - texts, lists and maps alone
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as cause:
        where = getattr(cause, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise BadFlag(f"{path} is no YAML{line}", op="flags", subject=str(path)) from cause
    if not isinstance(task, dict) or set(words) - set(KNOWN):
        odd = ", ".join(sorted(set(words) - set(KNOWN))) if isinstance(task, dict) else ""
        said = f" cannot have {odd}" if odd else " is no task"
        raise BadFlag(f"{path}{said}", op="flags", subject=str(path), hint=f"It may have {', '.join(sorted(KNOWN))}.")
    file = _TaskFile(path, task, words)
    literals, declared = file.inputs()
    found: dict[str, Any] = {key: file.text(key) for key in ("name", "image") if task.get(key) is not None}
    found |= {key: file.number(key) for key in ("retries", "timeout") if task.get(key) is not None}
    return {
        **found,
        "command": file.texts("command"),
        "literals": literals,
        "declared": declared,
        "output": [f"{name}:{kind}" for name, kind in file.pairs("outputs", "types", "{m: int}").items()],
        "secret": file.texts("secrets"),
        "env": [f"{name}={value}" for name, value in file.pairs("env", "values", "{LEVEL: debug}").items()],
        "resource": [f"{name}={value}" for name, value in file.pairs("resources", "quantities", "{memory: 1Gi}").items()],
    }


class _TaskFile:
    """A task as YAML understands it, and the same with every value a text."""

    def __init__(self, path: Path, task: Mapping[str, Any], words: Mapping[str, Any]) -> None:
        self._path, self._task, self._words = path, task, words

    def text(self, key: str) -> str:
        value = self._words[key]
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        if self._task.get(key) is None:
            return []
        values = self._words[key]
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise self._wrong(key, "a list of texts", "Write it like [echo, hello].")
        return list(values)

    def pairs(self, key: str, what: str, example: str) -> dict[str, str]:
        if self._task.get(key) is None:
            return {}
        values = self._words[key]
        if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
            raise self._wrong(key, f"a mapping of names to {what}", f"Write it like {example}.")
        return dict(values)

    def number(self, key: str) -> int:
        value = self._task[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
            raise self._wrong(key, f"a whole number from 0 to {MOST}", "A timeout is in seconds." if key == "timeout" else "")
        return value

    def inputs(self) -> tuple[LiteralMap, dict[str, LiteralType]]:
        literals, declared = LiteralMap(), dict[str, LiteralType]()
        values = self._task.get("inputs") or {}
        if not isinstance(values, dict):
            raise self._wrong("inputs", "a mapping of names to values", "Write it like {n: 5} or {'n:int': 5}.")
        for declaration, value in values.items():
            where = f"{self._path}: input"
            name, wanted = split_declaration(str(declaration), where)
            literals.literals[name].CopyFrom(self._literal(value, f"{where} {name}", wanted))
            if wanted is not None:
                declared[name] = wanted
        return literals, declared

    @staticmethod
    def _literal(value: object, where: str, wanted: LiteralType | None) -> Literal:
        # A date is YAML's own idea; a task's moment is written as in RFC 3339.
        moment = value.isoformat() if isinstance(value, dt.date) else value
        try:
            return literal_of(moment, where, wanted)
        except (ValueError, TypeError) as cause:
            raise BadFlag(f"{where} is nothing that a task can take", op="flags", subject=where) from cause

    def _wrong(self, key: str, wanted: str, hint: str = "") -> BadFlag:
        shown = str(self._words[key])
        shown = shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - enough to recognise it
        return BadFlag(f"{self._path}: {key} is {shown!r}, and must be {wanted}", op="flags", subject=key, hint=hint)

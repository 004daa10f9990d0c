"""Merging of pod specs by the Kubernetes API's own rules (maps field by field, named lists by their key), strictly. Pure.

What fields there are, of which type, and which lists have a key stands in ``fields.json``, made from the API's schema.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

from copilot.core.errors import PodRefused

_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "quantity": (str, int, float),
}


@functools.cache
def fields() -> Mapping[str, Mapping[str, str]]:
    """Object name → field → type, as ``copilot.testing.pod_fields`` describes it."""
    found: Mapping[str, Mapping[str, str]] = json.loads(resources.files(__package__).joinpath("fields.json").read_text())
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any], *, kind: str = "PodSpec", where: str = "spec") -> dict[str, Any]:
    """``base`` with ``over`` on top; both are checked whole.

    Raises:
        PodRefused: a field the API does not know, or a value of another type; the message names the path.
    """
    return _merge(checked(base, kind=kind, where=where), checked(over, kind=kind, where=where), kind)


def checked(spec: Mapping[str, Any], *, kind: str = "PodSpec", where: str = "spec") -> dict[str, Any]:
    """A copy of ``spec`` with whole numbers as integers. Raises as ``merged``."""
    known = fields()[kind]
    if not isinstance(spec, Mapping):
        raise PodRefused(f"{where} must be an object of fields, not {_shown(spec)}", op="template", subject=where)
    copy = {}
    for name, value in spec.items():
        if name not in known:
            near = min(known, key=lambda each: _distance(each.lower(), str(name).lower()))
            raise PodRefused(
                f"{where}.{name} is no field of a pod",
                op="template",
                subject=where,
                hint=f"Did you mean {near}? Remove it otherwise.",
            )
        if value is not None:
            copy[name] = _checked_value(value, known[name], f"{where}.{name}")
    return copy


def _checked_value(value: Any, kind: str, where: str) -> Any:  # noqa: ANN401  a JSON value
    if kind == "any":
        return value
    if kind.startswith("list "):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise PodRefused(f"{where} must be a list, not {_shown(value)}", op="template", subject=where)
        inner = kind.removeprefix("list ").partition(" by ")[0]
        return [_checked_value(each, inner, f"{where}[{place}]") for place, each in enumerate(value)]
    if kind.startswith("map "):
        if not isinstance(value, Mapping):
            raise PodRefused(f"{where} must be an object, not {_shown(value)}", op="template", subject=where)
        return {str(key): _checked_value(each, kind.removeprefix("map "), f"{where}.{key}") for key, each in value.items()}
    if kind not in _PLAIN:
        return checked(value, kind=kind, where=where)
    if isinstance(value, float) and value.is_integer() and kind != "number":
        value = int(value)
    if not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise PodRefused(f"{where} must be of type {kind}, not {_shown(value)}", op="template", subject=where)
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], kind: str) -> dict[str, Any]:
    known, result = fields()[kind], dict(base)
    for name, value in over.items():
        of = known[name]
        if name not in result or of in _PLAIN or of == "any":
            result[name] = value
        elif of.startswith("list "):
            inner, _, key = of.removeprefix("list ").partition(" by ")
            result[name] = _merge_list(result[name], value, inner, key) if key else _joined(result[name], value, inner)
        elif of.startswith("map "):
            result[name] = {**result[name], **value}
        else:
            result[name] = _merge(result[name], value, of)
    return result


def _merge_list(base: Sequence[Any], over: Sequence[Any], kind: str, key: str) -> list[Any]:
    result = {each.get(key): each for each in base}
    for each in over:
        known = result.get(each.get(key))
        result[each.get(key)] = each if known is None else _merge(known, each, kind)
    return list(result.values())


def _joined(base: Sequence[Any], over: Sequence[Any], kind: str) -> list[Any]:
    """Lists without a key: commands and arguments are replaced, others (tolerations) grow."""
    return list(over) if kind in _PLAIN else [*base, *(each for each in over if each not in base)]


def _shown(value: Any) -> str:  # noqa: ANN401  a JSON value
    return f"{type(value).__name__} {str(value)[:40]!r}"


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, match in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != match))
    return row[-1]

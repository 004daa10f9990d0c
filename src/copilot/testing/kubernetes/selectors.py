"""Label and field selectors of lists and watches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from copilot.testing.kubernetes.errors import bad_request

Object = Mapping[str, Any]
Selector = Callable[[Object], bool]

_FIELDS: Final = {
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.kind",
    "reason",
    "type",
}
_SET: Final = re.compile(r"\s*([^\s!=(),]+)\s+(in|notin)\s*\(([^)]*)\)\s*")


def selector(labels: str, fields: str) -> Selector:
    """One test for both kinds. Raises a 400 for what is neither."""
    wanted = [_label_term(each) for each in _terms(labels)] + [_field_term(each) for each in _terms(fields)]
    return lambda each: all(term(each) for term in wanted)


def _terms(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    return [each.strip() for each in re.split(r",(?![^(]*\))", text) if each.strip()]


def _label_term(term: str) -> Selector:
    found = _SET.fullmatch(term)
    if found:
        key, operator, listed = found.groups()
        values = {each.strip() for each in listed.split(",")}
        if operator == "in":
            return lambda each: key in _labels(each) and _labels(each)[key] in values
        return lambda each: _labels(each).get(key) not in values
    for sign, equal in (("!=", False), ("==", True), ("=", True)):
        if sign in term:
            key, value = (part.strip() for part in term.split(sign, 1))
            if equal:
                return lambda each: _labels(each).get(key) == value
            return lambda each: _labels(each).get(key) != value
    if term.startswith("!"):
        absent = term[1:].strip()
        return lambda each: absent not in _labels(each)
    return lambda each: term in _labels(each)


def _field_term(term: str) -> Selector:
    for sign, equal in (("!=", False), ("==", True), ("=", True)):
        if sign in term:
            path, value = (part.strip() for part in term.split(sign, 1))
            if path not in _FIELDS:
                raise bad_request(f'field selector "{term}": field label not supported: {path}')
            return lambda each: (_field(each, path) == value) is equal
    raise bad_request(f"invalid field selector: {term}")


def _labels(each: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = (each.get("metadata") or {}).get("labels") or {}
    return found


def _field(each: Object, path: str) -> str:
    node: Any = each
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return "" if node is None else str(node)

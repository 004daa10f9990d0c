"""Manifests as text, read and written as ``kubectl`` reads them.

Its YAML is not PyYAML's: ``1e-4``, ``08`` and ``0o7`` are numbers there and ``y`` is true, while ``12:30:45`` and
``2024-01-01T10:00:00Z`` are texts. What is read here as the one and written as the other would reach the cluster changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

_BOOL: Final = re.compile(r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON|n|N|no|No|NO|false|False|FALSE|off|Off|OFF")
_INT: Final = re.compile(r"[-+]?(?:0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BREAKS: Final = re.compile("[\r\x85\u2028\u2029\ufeff]")  # line breaks to some readers, blanks to others
_DIGITS: Final = list("-+.0123456789")
_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = (
    ("bool", _BOOL, list("yYnNtTfFoO")),
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("int", _INT, _DIGITS),
    ("float", _FLOAT, _DIGITS),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way


class _Dumper(yaml.SafeDumper):
    """Every value where it is used, texts of several lines as such, and what a reader takes for something else in quotes."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def _truth(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in {"y", "yes", "true", "on"}


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", text)
    return int(f"{octal[1]}0o{octal[2]}" if octal else text, 0)


def _real(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


for _name, _pattern, _first in _NUMBERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])
for _name, _construct in (("bool", _truth), ("int", _whole), ("float", _real)):
    _Loader.add_constructor(_TAG + _name, _construct)
_Dumper.add_representer(str, _text)


def read_manifests(text: str) -> list[Any]:
    """Every document of ``text``, which is YAML or JSON. Raises ``yaml.YAMLError``."""
    if text.lstrip().startswith("{"):
        try:
            return [json.loads(text)]  # which may be indented with tabs, as YAML may not
        except ValueError:
            pass
    return list(yaml.load_all(text, _Loader))


def manifests_text(documents: Iterable[object]) -> str:
    """``documents`` as YAML."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)

"""Configuration files: YAML, found by glob, merged in name order, the later wins.

Keys are compared without regard to case, as the reference does. A list of maps stands for one map: Flyte writes maps with
case-sensitive keys in this way.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping

from copilot.config.flyte import merge
from copilot.core.errors import BadConfig

_GLOB_CHARACTERS = frozenset("*?[")


def find(patterns: Iterable[str], *, missing_is_error: bool) -> tuple[list[str], list[str]]:
    """The files that ``patterns`` name, in name order within each, and a warning for each pattern that names none.

    Raises:
        BadConfig: a pattern without wildcards names nothing, and ``missing_is_error``.
    """
    found: list[str] = []
    warnings: list[str] = []
    for pattern in patterns:
        matches = _directory(pattern) if os.path.isdir(pattern) else sorted(glob.glob(pattern))  # noqa: PTH112, PTH207 - a glob may be absolute
        if not matches and not (_GLOB_CHARACTERS & set(pattern)) and missing_is_error:
            raise BadConfig(
                f"the configuration file {pattern} does not exist",
                op="config",
                subject=pattern,
                hint="Check the path given to --config.",
            )
        if not matches:
            warnings.append(f"no configuration file matches {pattern}")
        found.extend(path for path in matches if path not in found)
    return found, warnings


def _directory(path: str) -> list[str]:
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith((".yaml", ".yml"))]  # noqa: PTH118, PTH208 - as found by glob


def read(paths: Iterable[str]) -> dict[str, object]:
    """All of them as one document.

    Raises:
        BadConfig: a file that cannot be read, or is not a YAML mapping.
    """
    merged: dict[str, object] = {}
    for path in paths:
        try:
            merged = merge(merged, folded(_parse(path)))
        except RecursionError as error:
            raise BadConfig(f"the configuration file {path} is nested without end", op="config", subject=path) from error
    return merged


def _parse(path: str) -> Mapping[object, object]:
    import yaml  # noqa: PLC0415 - only where there are files

    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as found by glob
            document = yaml.safe_load(file)
    except OSError as error:
        raise BadConfig(f"the configuration file {path} cannot be read: {error.strerror}", op="config", subject=path) from error
    except (yaml.YAMLError, ValueError) as error:  # no UTF-8; a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise BadConfig(f"the configuration file {path} is not YAML{where}", op="config", subject=path) from error
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise BadConfig(f"the configuration file {path} is not a mapping of keys to values", op="config", subject=path)
    return document


def folded(document: Mapping[object, object]) -> dict[str, object]:
    """``document`` with every key in lower case, and lists of maps as maps."""
    result: dict[str, object] = {}
    for key, value in document.items():
        result[str(key).lower()] = _folded_value(value)
    return result


def _folded_value(value: object) -> object:
    if isinstance(value, Mapping):
        return folded(value)
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        joined: dict[str, object] = {}
        for item in value:
            joined.update(folded(item))
        return joined
    return value

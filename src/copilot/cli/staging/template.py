"""``{{.inputs.x}}`` in a command's arguments, as Flyte's raw containers have it. Pure.

Every argument is replaced as a whole text and handed to the process as it is: no shell reads it unless the command is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from copilot.config.nearest import did_you_mean
from copilot.core.errors import BadFlag

_TEMPLATE: Final = re.compile(r"\{\{\s*\.([A-Za-z][A-Za-z0-9]*)(?:\.([^\s{}]+))?\s*\}\}")


def render(arguments: Sequence[str], *, inputs: Mapping[str, object], places: Mapping[str, str]) -> list[str]:
    """``arguments`` with every template replaced.

    Args:
        arguments: the command.
        inputs: plain values by name: texts as they are, files and directories as their paths, everything else as JSON.
        places: what ``{{.NAME}}`` stands for: ``inputDir``, ``outputDir`` and their like.

    Raises:
        BadFlag: a template names nothing there is.
    """

    def replace(match: re.Match[str]) -> str:
        first, name = match[1], match[2]
        if first == "inputs" and name is not None:
            if name not in inputs:
                raise _unknown(match[0], f"{{{{.inputs.{name}}}}}", [f"{{{{.inputs.{known}}}}}" for known in inputs])
            return as_text(inputs[name])
        if name is None and first in places:
            return places[first]
        raise _unknown(match[0], match[0], [f"{{{{.{known}}}}}" for known in places])

    return [_TEMPLATE.sub(replace, argument) for argument in arguments]


def as_text(value: object) -> str:
    """A plain value as one argument."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unknown(template: str, shown: str, known: Sequence[str]) -> BadFlag:
    hint = did_you_mean(shown, known) or f"There are: {', '.join(sorted(known)) or 'no inputs'}."
    return BadFlag(
        f"the command has the template {template}, and there is no such thing", op="render", subject=template, hint=hint
    )

"""From the init container to ``copilot exec``: the variables of a task, in one file on a memory volume.

The wrapper reads it with the standard library alone, so the format is that of ``/proc/PID/environ``: entries that end with
a NUL. Three parts, each ended by an empty entry: plain ``NAME=VALUE``, secret ``NAME=VALUE``, and the paths of secret files,
whose contents are to be masked as well wherever the wrapper keeps the command's output.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from copilot.core.errors import SecretNotText

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def environment_file(constants: Mapping[str, str], variables: Mapping[str, str], files: Iterable[Path]) -> bytes:
    """The file's content. A variable in both has its secret value.

    Raises:
        SecretNotText: a value holds a NUL.
    """
    plain = [f"{name}={value}" for name, value in constants.items() if name not in variables]
    secret = [f"{name}={value}" for name, value in variables.items()]
    for entry in (*plain, *secret):
        if "\0" in entry:
            raise SecretNotText(
                "a variable cannot hold a NUL", op="inject", subject=entry.partition("=")[0], hint="Hand it over as a file."
            )
    parts = ([each.encode() for each in plain], [each.encode() for each in secret], [os.fsencode(path) for path in files])
    return b"".join(b"".join(entry + b"\0" for entry in part) + b"\0" for part in parts)

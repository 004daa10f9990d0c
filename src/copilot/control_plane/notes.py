"""What whoever submits a run should know of this server. It travels in a header of the answer: no other client minds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

NOTES: Final = "copilot-notes"


def notes_text(notes: Sequence[str]) -> str:
    """The header's value: a JSON list of sentences, in ASCII."""
    return json.dumps(list(notes))


def read_notes(headers: Mapping[str, str]) -> list[str]:
    """The sentences of an answer; none of a server that has nothing to say, or says it otherwise."""
    try:
        notes = json.loads(headers.get(NOTES, "[]"))
    except ValueError:
        return []
    return [str(each) for each in notes] if isinstance(notes, list) else []

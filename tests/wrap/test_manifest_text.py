"""Manifests as text: read as ``kubectl`` reads them (1.32, go-yaml), and written so that it reads them as they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from copilot.cli.platform.manifest_text import manifests_text, read_manifests

# What kubectl makes of a plain scalar; measured with ``kubectl label --local -f - -o json``.
THEIRS: dict[str, Any] = {
    "1e-4": 0.0001,
    "08": 8,
    "010": 8,
    "0644": 420,
    "0o7": 7,
    "0x1f": 31,
    "0X1F": 31,
    "-0x1f": -31,
    "0b11": 3,
    "1_000": 1000,
    "1.": 1,
    ".5": 0.5,
    "+.5e-3": 0.0005,
    "+1": 1,
    "y": True,
    "w": "w",
    "off": False,
    "NO": False,
    "~": None,
    "Null": None,
    "": None,
    "12:30:45": "12:30:45",
    "22:22": "22:22",
    "2024-01-01": "2024-01-01",
    "2024-01-01T10:00:00Z": "2024-01-01T10:00:00Z",
    "=": "=",
    "1.2.3": "1.2.3",
    "64Mi": "64Mi",
    "0x": "0x",
    "1e": "1e",
}


@pytest.mark.parametrize("text", THEIRS)
def test_a_plain_scalar_is_what_kubectl_takes_it_for(text: str) -> None:
    (found,) = read_manifests(f"a: {text}\n")
    assert found["a"] == THEIRS[text]
    assert isinstance(found["a"], bool) == isinstance(THEIRS[text], bool)


@pytest.mark.parametrize("text", [each for each, value in THEIRS.items() if not isinstance(value, str)])
def test_a_text_that_kubectl_would_take_for_another_thing_is_quoted(text: str) -> None:
    assert f"'{text}'" in manifests_text([{"args": [text]}])


def test_what_is_no_number_stays_as_it_is_written() -> None:
    made = manifests_text([{"a": 1, "b": 0.5, "c": True, "d": None, "e": "plain", "f": "two\nlines\n"}])
    assert made == "a: 1\nb: 0.5\nc: true\nd: null\ne: plain\nf: |\n  two\n  lines\n"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.from_regex(r"[-+.0-9eExXob_:yYnN]{1,8}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_is_read_as_it_was(document: Any) -> None:  # noqa: ANN401 - any JSON
    (found,) = read_manifests(manifests_text([document]))
    assert found == document
    (theirs,) = yaml.safe_load_all(manifests_text([document]))
    assert theirs == document


def test_json_with_tabs_is_read() -> None:
    assert read_manifests('{\n\t"a": [1]\n}\n') == [{"a": [1]}]
    assert read_manifests("{a: [1]}\n---\nb: .inf\n") == [{"a": [1]}, {"b": math.inf}]

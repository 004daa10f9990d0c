"""``inputs.json`` and ``inputs.yaml``: the expected texts were written by Go's encoding/json and yaml.v2."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.json_text import Value, to_json
from copilot.core.yaml_text import to_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def test_json_is_written_as_go_writes_it() -> None:
    value: Value = {
        "é": [],
        "a": ["<b>&", "\u2028", "\b\f\n\x01\x7f", "😀"],
        "B": {},
        "n": [1e21, 1e20, 1e-6, 1e-7, 5.0, -0.0, 1.5e300, 9007199254740992.0, 123456789012345680000.0],
        "o": [None, True, 9007199254740993],
    }
    assert to_json(value) == (
        '{"B":{},"a":["\\u003cb\\u003e\\u0026","\\u2028","\\b\\f\\n\\u0001\x7f","😀"],'
        '"n":[1e+21,100000000000000000000,0.000001,1e-7,5,-0,1.5e+300,9007199254740992,123456789012345680000],'
        '"o":[null,true,9007199254740993],"é":[]}'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_word_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        to_json([value])


@given(st.dictionaries(keys, values, max_size=5))
def test_whatever_is_written_as_json_reads_back(document: dict[str, Value]) -> None:
    assert json.loads(to_json(document)) == document


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_reads_back_from_json(value: float) -> None:
    assert float(json.loads(to_json(value))) == value


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "{}\n"),
        ({"n": 42, "y": "y", "e": {}, "l": []}, 'e: {}\nl: []\n"n": 42\n"y": "y"\n'),
        ({"l": [[1, [2]], [], [{"x": 1, "a": [1]}]]}, "l:\n- - 1\n  - - 2\n- []\n- - a:\n    - 1\n    x: 1\n"),
        ({"a10": 1, "a9": 2, "A": 3, "_": 4, "1": 5, "10": 6, "9": 7}, '_: 4\n"1": 5\n"9": 7\n"10": 6\nA: 3\na9: 2\na10: 1\n'),
        ({"a": "x\ny", "b": "x\n", "c": "\n", "d": " x"}, "a: |-\n  x\n  \u0079\nb: |\n  x\nc: |2+\n\nd: ' x'\n"),
        (
            {"a": "2001-01-01", "b": "12:30:45", "c": "1e3", "d": ".5", "e": "<<"},
            'a: "2001-01-01"\nb: "12:30:45"\nc: "1e3"\nd: ".5"\ne: <<\n',
        ),
        (
            {"a": "it's", "b": "'q'", "c": "tab\t", "d": "😀", "e": "\x07"},
            "a: it's\nb: '''q'''\nc: \"tab\\t\"\nd: \"\\U0001F600\"\ne: \"\\a\"\n",
        ),
        (
            {"a": 1e20, "b": 1e19, "c": -1e19, "d": 5.0, "e": 1234567.5, "f": 0.1},
            "a: 1e+20\nb: 10000000000000000000\nc: -1e+19\nd: 5\ne: 1.2345675e+06\nf: 0.1\n",
        ),
        ({"k" * 129: [1]}, "? " + "k" * 129 + "\n: - 1\n"),
        ({"a\nb": 1}, "? |-\n  a\n  b\n: 1\n"),
        ({"a": "1E509", "b": "1E50", "c": "0b+1", "d": "\ufeff z"}, 'a: 1E509\nb: "1E50"\nc: "0b+1"\nd: "\\uFEFF\\x20\\x7A"\n'),
        ({"q": "word " * 20 + "end"}, "q: " + "word " * 15 + "word\n  " + "word " * 4 + "end\n"),
    ],
)
def test_yaml_is_written_as_the_reference_writes_it(document: dict[str, Value], text: str) -> None:
    assert to_yaml(document) == text


def test_what_the_reference_mangles_is_escaped() -> None:
    assert to_yaml({"a": "x\x85y", "b": "\x7f"}) == 'a: "x\\Ny"\nb: "\\x7F"\n'


@given(st.dictionaries(keys.filter(lambda key: key not in {"=", "<<"}), values, max_size=5))
def test_whatever_is_written_as_yaml_reads_back(document: dict[str, Value]) -> None:
    class Reader(yaml.SafeLoader):
        """YAML 1.1 without the ``=`` that no other reader treats as special."""

        yaml_implicit_resolvers = {  # noqa: RUF012 — the base class's own attribute
            first: [
                (tag, pattern) for tag, pattern in pairs if tag not in {"tag:yaml.org,2002:value", "tag:yaml.org,2002:merge"}
            ]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    assert yaml.load(to_yaml(document), Reader) == document  # noqa: S506 — a SafeLoader

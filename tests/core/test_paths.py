import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import UnsafePath
from copilot.core.paths import PathTree, safe_relative


@pytest.mark.parametrize(
    "path", ["a", "a/b", "with space", "100%", "a%20b", "hash#1", "what?", "ž/日本.txt", "..a", "a..", "~", "-", " "]
)
def test_odd_names_are_kept_verbatim(path: str) -> None:
    assert safe_relative(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "a/..",
        "a/../../b",
        "a//b",
        "a/",
        ".",
        "./a",
        "a/./b",
        "a\0b",
        "\ud800",
        "x" * 256,
        "d/" * 2000 + "f",
    ],
)
def test_a_name_that_is_no_path_below_its_directory_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        safe_relative(path)
    assert "cannot become a path" in caught.value.sentence()
    assert "\0" not in caught.value.sentence()


def test_the_refusal_names_the_key_and_the_reason() -> None:
    with pytest.raises(UnsafePath, match=r"'a/\.\./b'.*it holds '\.\.'"):
        safe_relative("a/../b")


@given(st.text(max_size=300))
def test_whatever_is_accepted_stays_below_its_directory(text: str) -> None:
    root = Path("/srv/inputs")
    try:
        accepted = safe_relative(text)
    except UnsafePath:
        return
    resolved = os.path.normpath(root / accepted)
    assert resolved == f"{root}/{text}"


def test_a_path_is_never_a_file_and_a_directory() -> None:
    tree = PathTree()
    tree.add_file("a", "input a")
    with pytest.raises(UnsafePath, match="'a' is wanted by input b and is already a file of input a"):
        tree.add_file("a/b", "input b")
    tree.add_file("c/d/e", "input c")
    with pytest.raises(UnsafePath, match=r"'c/d'.*already a directory of input c"):
        tree.add_file("c/d", "input d")
    with pytest.raises(UnsafePath, match="already a file"):
        tree.add_file("a", "input x")
    with pytest.raises(UnsafePath, match="already a file"):
        tree.add_directory("a", "input x")
    tree.add_directory("c", "input y")

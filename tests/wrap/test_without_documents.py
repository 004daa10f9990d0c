"""Inputs one by one, and outputs without an interface: what wrapped manifests rest on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from copilot.core import idl

COPILOT = Path(sys.executable).with_name("copilot")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COPILOT), *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    (out / "_SUCCESS").touch()
    return out


def publish(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run("sidecar", "--outputs", str(out), "--to", str(out.parent / "store"), "--witnesses", "marker", *flags)


def literals(out: Path) -> dict[str, idl.Literal]:
    return dict(idl.LiteralMap.FromString((out.parent / "store" / "outputs.pb").read_bytes()).literals)


def test_inputs_on_the_command_line_stand_on_top_of_those_of_the_document(tmp_path: Path) -> None:
    document = idl.LiteralMap()
    for name, value in (("n", 1), ("kept", 2)):
        document.literals[name].scalar.primitive.integer = value
    (tmp_path / "inputs.pb").write_bytes(document.SerializeToString())
    staged = tmp_path / "in"
    done = run("init", "--inputs", str(tmp_path / "inputs.pb"), "--input", "n=7", "--input", "s:str=5", "--to", str(staged))
    assert done.returncode == 0, done.stderr
    found = {name: (staged / name).read_text() for name in ("n", "kept", "s")}
    assert found == {"n": "7", "kept": "2", "s": "5"}
    assert idl.LiteralMap.FromString((staged / "inputs.pb").read_bytes()).literals["s"].scalar.primitive.string_value == "5"


def test_an_input_without_a_value_is_a_mistake(tmp_path: Path) -> None:
    done = run("init", "--input", "n", "--to", str(tmp_path / "in"))
    assert done.returncode == 2
    assert not (tmp_path / "in").exists()


def test_whatever_is_left_is_published_by_its_looks(left: Path) -> None:
    (left / "n").write_text("5\n")
    (left / "table.csv").write_text("a,b\n")
    (left / "tree").mkdir()
    (left / "tree" / "leaf").write_text("x")
    assert publish(left, "--any-output").returncode == 0
    found = literals(left)
    assert found["n"].scalar.primitive.integer == 5
    assert {name for name, value in found.items() if value.scalar.HasField("blob")} == {"table.csv", "tree"}


def test_a_task_that_leaves_nothing_has_published_nothing_wholly(left: Path) -> None:
    assert publish(left, "--any-output").returncode == 0
    assert literals(left) == {}


def test_declared_outputs_are_of_their_type_and_no_others_go(left: Path) -> None:
    (left / "n").write_text("5")
    (left / "other").write_text("6")
    assert publish(left, "--output", "n:str").returncode == 0
    assert {name: value.scalar.primitive.string_value for name, value in literals(left).items()} == {"n": "5"}


def test_a_declared_output_that_is_missing_fails_and_nothing_is_published(left: Path) -> None:
    done = publish(left, "--output", "n")
    assert done.returncode != 0
    assert "MissingOutput" in done.stderr
    assert not (left.parent / "store" / "outputs.pb").exists()

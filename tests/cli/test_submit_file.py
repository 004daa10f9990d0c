"""A task in a file: its inputs are what YAML says they are."""

from __future__ import annotations

import json
from pathlib import Path

from copilot.cli.remote.submit import _file
from copilot.cli.staging.messages import plain_literals
from copilot.cli.staging.task_inputs import gather_inputs


def test_the_inputs_of_a_file_keep_their_types(tmp_path: Path) -> None:
    plain = {"flag": True, "text": "true", "nothing": None, "words": ["a", "b"], "map": {"k": [1.5]}, "far": "s3://b/k"}
    declared = {"n:int": 5, "s:str": "true", "f:float": "0.5", "t:datetime": "2026-01-02T03:04:05Z", "b:bool": False}
    task = tmp_path / "task.yaml"
    task.write_text(json.dumps({"image": "none", "command": ["true"], "inputs": plain | declared}))
    literals = gather_inputs(None, _file(task)["input"], read=lambda _: b"")
    assert plain_literals(literals) == {**plain, "n": 5, "s": "true", "f": 0.5, "t": "2026-01-02T03:04:05Z", "b": False}


def test_a_time_as_yaml_knows_it_is_a_datetime(tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text('image: none\ncommand: [sh]\ninputs: {"t:datetime": 2026-01-02T03:04:05Z}\n')
    literals = gather_inputs(None, _file(task)["input"], read=lambda _: b"")
    assert plain_literals(literals) == {"t": "2026-01-02T03:04:05Z"}

"""``copilot explain PREFIX``: what became of a run, on one screen, from what it left in a real store or a directory."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.servers.web import Page
from copilot.wrapper import control

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

EXECUTABLE = Path(sys.executable).with_name("copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}
SCREEN_LINES = 24


def copilot(where: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXECUTABLE, *arguments], capture_output=True, text=True, env={**CLEAN, **environ}, cwd=where, check=False, timeout=60
    )


def explained(where: Path, *arguments: str, **environ: str) -> dict[str, object]:
    """The facts; and that the account for people says them, on one screen."""
    ended = copilot(where, "explain", *arguments, "--json", **environ)
    assert ended.returncode == 0, ended.stderr
    facts: dict[str, object] = json.loads(ended.stdout)
    screen = copilot(where, "explain", *arguments, **environ).stdout
    assert screen.splitlines()[0] == f"{facts['uri']}: {facts['state']}"
    assert len(screen.splitlines()) <= SCREEN_LINES
    assert str(facts["what"]) in " ".join(screen.split())
    return facts


def test_a_failed_run_in_a_bucket_is_explained_and_what_it_left_can_be_fetched_as_it_says(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    prefix = f"s3://{s3_bucket}/failed"
    script = 'mkdir "$OUTPUT_DIR/d"; echo half > "$OUTPUT_DIR/d/result"; exit 3'
    assert copilot(tmp_path, "run", "-o", prefix, "--", "sh", "-c", script, **s3_server.environ).returncode == 3
    facts = explained(tmp_path, prefix, **s3_server.environ)
    assert (facts["state"], facts["reason"], facts["what"]) == ("failed", "TaskFailed", "The task ended with exit code 3.")
    assert "heard: wrapper" in str(facts["known_from"])
    assert facts["there"][1] == "partial/: 1 object, 5 bytes (d/result)"  # type: ignore[index] # a list
    fetch = next(step for step in facts["advice"] if "copilot run" in step).partition(": ")[2]  # type: ignore[attr-defined] # as above
    again = copilot(tmp_path, *shlex.split(fetch)[1:], **s3_server.environ)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "left" / "inputs" / "partial" / "d" / "result").read_text() == "half\n"


def test_a_published_run_is_explained_from_its_prefix_and_from_any_file_in_it(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    prefix = f"s3://{s3_bucket}/well"
    script = 'echo x > "$OUTPUT_DIR/t.txt"'
    assert copilot(tmp_path, "run", "-o", prefix, "--", "sh", "-c", script, **s3_server.environ).returncode == 0
    for uri in (prefix, f"{prefix}/", f"{prefix}/outputs.pb", f"{prefix}/_receipt.json"):
        facts = explained(tmp_path, uri, **s3_server.environ)
        assert facts["state"] == "published"
        assert "1 object, 2 bytes" in str(facts["what"])
        assert facts["advice"] == [f"Read them: copilot show {prefix}/outputs.pb"]


def test_inputs_that_could_not_be_fetched_are_explained_from_the_error_document_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = copilot(
        tmp_path, "init", "--inputs", str(tmp_path / "none.pb"), "--to", str(tmp_path / "in"), "--errors-to", str(out)
    )
    assert ended.returncode == 11
    facts = explained(tmp_path, "./out")
    assert (facts["state"], facts["reason"], facts["exit_code"]) == ("failed", "ObjectNotFound", 11)
    assert "none.pb" in str(facts["what"])


def test_the_references_error_document_is_explained_by_its_own_code(tmp_path: Path) -> None:
    error = idl.ContainerError(code="OutputUploadFailed", message="failed: \x1b[2Jsomething")
    (tmp_path / "errors.pb").write_bytes(idl.ErrorDocument(error=error).SerializeToString())
    facts = explained(tmp_path, str(tmp_path))
    assert (facts["reason"], facts["what"]) == ("OutputUploadFailed", "Failed: [2Jsomething.")


def test_an_error_document_beside_published_outputs_is_of_another_attempt(tmp_path: Path) -> None:
    for code in (1, 0):
        copilot(tmp_path, "run", "-o", "out", "--", "sh", "-c", f'echo 1 > "$OUTPUT_DIR/n"; exit {code}')
    assert not (tmp_path / "out" / "error.pb").exists()
    # As a sidecar leaves it that may not remove anything, or that was killed between the two.
    error = idl.ContainerError(code="OutputUploadFailed", message="before")
    (tmp_path / "out" / "error.pb").write_bytes(idl.ErrorDocument(error=error).SerializeToString())
    facts = explained(tmp_path, "./out")
    assert facts["state"] == "published"
    assert "another attempt" in str(facts["advice"])
    copilot(tmp_path, "run", "-o", "out", "--", "sh", "-c", 'echo 1 > "$OUTPUT_DIR/n"; exit 1')
    facts = explained(tmp_path, "./out")
    assert facts["state"] == "failed"
    assert "earlier attempt" in str(facts["advice"])


def test_outputs_that_are_younger_than_the_receipt_of_a_failure_are_published(tmp_path: Path) -> None:
    """As a sidecar leaves it that was killed between its commit and its receipt, after an attempt that failed."""
    copilot(tmp_path, "run", "-o", "out", "--", "sh", "-c", 'echo 1 > "$OUTPUT_DIR/n"; exit 3')
    receipt = (tmp_path / "out" / "_receipt.json").read_bytes()
    copilot(tmp_path, "run", "-o", "out", "--", "sh", "-c", 'echo 1 > "$OUTPUT_DIR/n"')
    committed_s = (tmp_path / "out" / "outputs.pb").stat().st_mtime
    (tmp_path / "out" / "_receipt.json").write_bytes(receipt)
    os.utime(tmp_path / "out" / "_receipt.json", (committed_s - 60, committed_s - 60))
    facts = explained(tmp_path, "./out")
    assert (facts["state"], "reason" in facts) == ("published", False)
    assert "exit code 3" not in str(facts)
    os.utime(tmp_path / "out" / "_receipt.json", (committed_s + 60, committed_s + 60))
    assert explained(tmp_path, "./out")["state"] == "failed"


def test_a_sidecar_that_was_killed_before_its_last_write_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "_manifest.json").write_text('{"format": "copilot-manifest/1", "outputs": "x",\n "objects": [')
    assert explained(tmp_path, str(tmp_path))["state"] == "interrupted"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_control_directory_says_how_far_a_pod_came(tmp_path: Path, *, by_flag: bool) -> None:
    held = tmp_path / "control"
    held.mkdir()

    def state() -> tuple[object, str]:
        facts = explained(tmp_path, *(["./empty", "--control-dir", "control"] if by_flag else ["./control"]))
        return facts["state"], str(facts["what"])

    (held / "progress").write_text('{"objects": 2, "objects_planned": 5}')
    assert state() == ("interrupted", "A transfer is going on, or was ended before it was done: 2 of 5 objects moved.")
    (held / "ARMED").touch()
    assert state()[0] == "running"
    (held / "READY").touch()
    assert state() == ("staged", "The inputs are in place: 2 of 5 objects moved.")
    lock = control.begin(str(held))
    assert state() == ("running", "The task runs.")
    os.close(lock)
    assert state()[0] == "interrupted"
    ending = control.Ending()
    ending.code = 9
    control.finish(str(held), ending)
    assert state() == ("ended", "The task ended with exit code 9; the sidecar's end is not recorded here.")


def test_the_word_of_copilot_exec_is_explained(tmp_path: Path) -> None:
    ended = copilot(tmp_path, "exec", "--control-dir", "c", "--timeout", "100ms", "--", "sleep", "20")
    assert ended.returncode == 124
    assert explained(tmp_path, "./c")["what"] == (
        "The task ended with exit code 124 at its own deadline; the sidecar's end is not recorded here."
    )


def test_an_end_that_is_not_proven_is_told_with_the_advice_for_its_witness_alone(tmp_path: Path) -> None:
    """A signal that is trusted is no help where the wrapper itself was told to stop."""
    hint = "Run it again; the pod's events say why it was to go."
    failure = {"reason": "CompletionUnproven", "message": "outputs are not published", "hint": hint}
    (tmp_path / "_receipt.json").write_text(json.dumps({"published": False, "failure": failure}))
    assert explained(tmp_path, str(tmp_path))["advice"] == [hint]


def test_an_output_directory_with_error_in_it_is_explained(tmp_path: Path) -> None:
    (tmp_path / "_ERROR").write_text("the model did not converge\n")
    facts = explained(tmp_path, str(tmp_path))
    assert (facts["state"], facts["what"]) == ("failed", "The model did not converge.")


def test_nothing_of_ours_is_said_so(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> None:
    ended = copilot(tmp_path, "explain", f"s3://{s3_bucket}/nowhere", **s3_server.environ)
    assert ended.returncode == 11
    assert "holds nothing that copilot writes" in ended.stderr
    assert "it is not finished" in ended.stderr
    assert copilot(tmp_path, "explain", ".").returncode == 11


def test_show_prints_receipt_and_manifest(tmp_path: Path) -> None:
    copilot(tmp_path, "run", "-o", "out", "--", "sh", "-c", 'echo x > "$OUTPUT_DIR/t.txt"')
    assert copilot(tmp_path, "show", "out/_receipt.json").stdout.startswith("format: copilot-receipt/1\npublished: true\n")
    told = json.loads(copilot(tmp_path, "show", "out/_manifest.json", "--json").stdout)
    assert told["totals"] == {"objects": 1, "size_bytes": 2}
    (tmp_path / "out" / "_receipt.json").write_text("{")
    ended = copilot(tmp_path, "show", "out/_receipt.json")
    assert (ended.returncode, ended.stderr) == (20, "error: _receipt.json is no JSON. Was it cut off? [BadInputs]\n")


def test_who_may_read_and_not_list_gets_what_can_be_read(tmp_path: Path, http_server: WebServer) -> None:
    """S3 answers 403 for what is not there to those who may not list; so does this server."""
    http_server.default = Page(b"<html>no</html>", status=403)
    ended = copilot(tmp_path, "explain", f"{http_server.url}/run")
    assert (ended.returncode, "[AccessDenied]" in ended.stderr) == (12, True)
    error = idl.ContainerError(code="OutputUploadFailed", message="MissingOutput: output 'n' is not there.")
    http_server.pages["/run/error.pb"] = Page(idl.ErrorDocument(error=error).SerializeToString())
    facts = explained(tmp_path, f"{http_server.url}/run")
    assert (facts["state"], facts["reason"], facts["there"]) == ("failed", "MissingOutput", ["error.pb"])

"""The command line for people: help, mistakes, small commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from copilot.cli import people
from copilot.core import idl

EXECUTABLE = Path(sys.executable).with_name("copilot")
DROP_IN = Path(sys.executable).with_name("flyte-copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


def copilot(*arguments: str, executable: Path = EXECUTABLE, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [executable, *arguments], capture_output=True, text=True, env={**CLEAN, **environ}, check=False, timeout=60
    )


def reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Reason and sentence, from the JSON of a command that runs in pods or the line of one that people type."""
    last = ended.stderr.splitlines()[-1]
    if last.startswith("{"):
        told = json.loads(last)
        assert told["event"] == "failed"
        return f"{told['reason']}: {told['message']}"
    found = re.fullmatch(r"error: (.*) \[(\w+)\]", last)
    assert found is not None, last
    return f"{found[2]}: {found[1]}"


@pytest.mark.parametrize("name", ["", *sorted(people.COMMANDS), "config show", "secrets check", "secrets exec", "secrets get"])
def test_every_help_has_an_example(name: str) -> None:
    ended = copilot(*name.split(), "--help")
    assert ended.returncode == 0, ended.stderr
    assert "Example:\n  " in ended.stdout
    assert ended.stdout.startswith(f"Usage: copilot {name}".rstrip())


def test_the_list_of_commands_and_the_commands_themselves_agree() -> None:
    root = people.group()
    for name in people.COMMANDS:
        command = root.get_command(None, name)  # type: ignore[arg-type] # the context is not looked at
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["versoin"], "Did you mean version?"),
        (["--endpiont", "x", "version"], "Did you mean --endpoint?"),
        (["init", "--form-remote", "x"], "Did you mean --from-remote?"),
        (["init", "--bogus"], "See --help"),
        (["init", "--inputs", "x", "--to", "y", "--layout", "NAMED"], "NAMED_DIR"),
        (["init", "--to", "y"], "needs --from-remote"),
        (["init", "stray"], "stray"),
        (["sidecar", "--interface", "%%%"], "not base64"),
        (["sidecar", "--from-local-dir", "x", "--to-output-prefix", "memory://b", "--output", "n:itn"], "Did you mean int?"),
        (["sidecar", "--interface", "AAAA"], "core.TypedInterface"),
        (["init", "--inputs", "x", "--to", "y", "--timeout", "soon"], "1h30m"),
        (["version", "--config", "/nowhere.yaml", "--log-level", "lod"], "--log-level"),
        (["show"], "uri"),
        (["show", "x", "--kind", "nonsense"], "nonsense"),
        (["plan"], "copilot plan init"),
        (["plan", "run", "-i", "n=5", "--", "true"], "not for 'run'"),
        (["completion", "csh"], "csh"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_nearest_word_and_exit_code_2(arguments: list[str], part: str) -> None:
    ended = copilot(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert part.lower() in reason(ended).lower()
    assert "Traceback" not in ended.stderr


def test_on_a_terminal_a_failure_is_one_line_of_text() -> None:
    ended = copilot("versoin", COPILOT_LOG_FORMAT="text")
    assert ended.stderr == "error: there is no command 'versoin'. Did you mean version? [BadFlag]\n"


@pytest.mark.parametrize("arguments", [["--no-such-flag"], ["nonsense"], ["download", "--nope"], ["download"], []])
def test_under_the_references_name_every_mistake_ends_with_137(arguments: list[str]) -> None:
    assert copilot(*arguments, executable=DROP_IN).returncode == 137
    assert copilot(*arguments, COPILOT_DROP_IN="1").returncode == 137


def test_an_unknown_flag_under_the_references_name_leaves_the_error_document(tmp_path: Path) -> None:
    prefix, termination = tmp_path / "meta", tmp_path / "termination-log"
    flags = ["--form-remote", "x", "--to-output-prefix", str(prefix)]
    ended = copilot("download", *flags, executable=DROP_IN, COPILOT_TERMINATION_LOG=str(termination))
    assert ended.returncode == 137
    for name in ("errors.pb", "error.pb"):
        error = idl.ErrorDocument.FromString((prefix / name).read_bytes()).error
        assert error.code == "InputDownloadFailed"
        assert "--from-remote" in error.message
    assert termination.read_text().startswith("BadFlag: ")


def test_klogs_flags_are_taken_under_the_references_name(tmp_path: Path) -> None:
    ended = copilot(
        "-v", "4", "--alsologtostderr", "sidecar", "--stderrthreshold=2", "--from-local-dir", str(tmp_path),
        "--to-output-prefix", str(tmp_path), executable=DROP_IN,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_version_and_its_json() -> None:
    assert copilot("--version").stdout == copilot("version").stdout.splitlines()[0] + "\n"
    assert set(json.loads(copilot("version", "--json").stdout)) >= {"copilot", "python", "obstore"}


def test_config_show_prints_what_is_in_effect_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("storage: {stow: {kind: s3, config: {access_key_id: AK, secret_key: sup3rsecret}}}")
    ended = copilot("--region", "r1", "config", "show", "--json", "--config", str(tmp_path), COPILOT_MEMORY="8MiB")
    told = json.loads(ended.stdout)
    assert told["stores"]["s3"]["secret_access_key"] == "***"
    assert (told["stores"]["s3"]["region"], told["memory_bytes"]) == ("r1", 8 << 20)
    assert "sup3rsecret" not in ended.stdout + ended.stderr


def test_config_show_hides_the_password_of_an_endpoint() -> None:
    ended = copilot("config", "show", "--json", "--endpoint", "http://user:sup3rsecret@127.0.0.1:1")
    assert json.loads(ended.stdout)["stores"]["s3"]["endpoint"] == "http://127.0.0.1:1"
    assert "sup3rsecret" not in ended.stdout + ended.stderr


def test_stores_lists_schemes() -> None:
    rows = {row["scheme"]: row for row in json.loads(copilot("stores", "--json").stdout)}
    assert rows["s3"]["installed"]
    assert {"gs", "az", "https", "file", "memory", "redis"} <= set(rows)


def test_explain_tells_a_reason() -> None:
    assert "What to do:" in copilot("explain", "StoreUnreachable").stdout
    assert "Did you mean DiskFull?" in reason(copilot("explain", "DiskFul"))
    assert len(copilot("explain").stdout.splitlines()) > 30


def test_a_reader_that_goes_away_is_nothing_to_tell() -> None:
    ended = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {EXECUTABLE} explain --json | true"],
        capture_output=True,
        text=True,
        env=CLEAN,
        check=False,
    )
    assert ended.stderr == ""


def literals(**values: int) -> bytes:
    made = idl.LiteralMap()
    for name, value in values.items():
        made.literals[name].scalar.primitive.integer = value
    return bytes(made.SerializeToString())


def test_show_prints_literals_and_error_documents(tmp_path: Path) -> None:
    (tmp_path / "outputs.pb").write_bytes(literals(b=2, a=1))
    assert copilot("show", str(tmp_path / "outputs.pb")).stdout == "a: 1\nb: 2\n"
    assert json.loads(copilot("show", str(tmp_path / "outputs.pb"), "--json").stdout) == {"a": 1, "b": 2}
    document = idl.ErrorDocument(error=idl.ContainerError(code="C", message="M"))
    (tmp_path / "error.pb").write_bytes(document.SerializeToString())
    assert json.loads(copilot("show", f"file://{tmp_path}/error.pb", "--json").stdout)["message"] == "M"


def test_a_sentence_that_is_shown_stays_on_one_line(tmp_path: Path) -> None:
    sentence = "word " * 50 + "end"
    document = idl.ErrorDocument(error=idl.ContainerError(code="C", message=sentence))
    (tmp_path / "error.pb").write_bytes(document.SerializeToString())
    assert f"message: {sentence}\n" in copilot("show", str(tmp_path / "error.pb")).stdout


def test_show_of_what_is_no_message_says_so(tmp_path: Path) -> None:
    (tmp_path / "outputs.pb").write_bytes(b"\xff\xff")
    ended = copilot("show", str(tmp_path / "outputs.pb"))
    assert ended.returncode == 20
    assert "outputs.pb is no message" in reason(ended)
    assert copilot("show", str(tmp_path / "none.pb")).returncode == 11


def test_plan_before_a_pods_command_line_prints_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "inputs.pb").write_bytes(literals(n=5))
    into = tmp_path / "in"
    flags = ["--inputs", str(tmp_path / "inputs.pb"), "--to", str(into)]
    told = json.loads(copilot("plan", "init", *flags).stdout)
    assert [file["path"] for file in told["write"]] == ["n"]
    assert not into.exists()
    assert json.loads(copilot("init", *flags, "--dry-run").stdout) == told


def test_init_stages_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "inputs.pb").write_bytes(literals(n=5))
    flags = [
        "--inputs",
        str(tmp_path / "inputs.pb"),
        "--to",
        str(tmp_path / "in"),
        "--control-dir",
        str(tmp_path / "c"),
        "--json",
    ]
    assert [json.loads(copilot("init", *flags).stdout)["already"] for _ in range(2)] == [False, True]
    assert (tmp_path / "in" / "n").read_text() == "5"
    assert (tmp_path / "c" / "READY").exists()
    assert json.loads((tmp_path / "c" / "progress").read_text())["objects"] == 0


def test_a_log_file_gets_the_traceback_and_the_user_does_not(tmp_path: Path) -> None:
    ended = copilot("show", str(tmp_path / "none.pb"), "--log-file", str(tmp_path / "log"))
    assert "Traceback" not in ended.stderr
    assert "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("arguments", [["run", "--", "true"], ["show", "x.pb"], ["init", "--inputs", "x", "--to", "y"]])
def test_a_log_file_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    ended = copilot("--log-file", str(tmp_path / "none" / "log"), *arguments)
    assert ended.returncode == 22
    assert reason(ended).startswith(f"LocalIO: {tmp_path / 'none' / 'log'} ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["--inputs", b"\xff", "--to", "y"], [b"--\xff"]])
def test_what_is_no_utf_8_on_a_pods_command_line_is_one_sentence_too(tmp_path: Path, arguments: list[str | bytes]) -> None:
    ended = subprocess.run([DROP_IN, "init", *arguments], capture_output=True, env=CLEAN, cwd=tmp_path, check=False, timeout=60)
    assert ended.returncode == 137
    assert b"Traceback" not in ended.stderr
    assert json.loads(ended.stderr.splitlines()[-1])["event"] == "failed"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("version", 0),
        ("show none.pb", 11),
        ("init --inputs none.pb --to in", 11),
        ("run -o out -- sh -ec 'echo said; echo 1 >$OUTPUT_DIR/n'", 0),
    ],
)
def test_a_standard_file_that_is_closed_is_nothing_to_end_on(tmp_path: Path, arguments: str, code: int, closed: str) -> None:
    told = f"{EXECUTABLE} {arguments} {closed}"
    ended = subprocess.run(
        ["/bin/sh", "-c", told], capture_output=True, text=True, env=CLEAN, cwd=tmp_path, check=False, timeout=60
    )
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    if arguments.startswith("run"):
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_manifest.json", "_receipt.json", "outputs.pb"]

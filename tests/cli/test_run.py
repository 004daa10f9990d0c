"""``copilot run``: inputs in, a command, outputs out, no protobuf in sight."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.cli.staging.task_types import literal_of, parse_type, value_of
from copilot.cli.staging.template import render
from copilot.core import idl
from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

EXECUTABLE = Path(sys.executable).with_name("copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


def run(where: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXECUTABLE, "run", *arguments],
        capture_output=True,
        text=True,
        env={**CLEAN, **environ},
        cwd=where,
        check=False,
        timeout=60,
    )


def test_values_and_files_go_in_and_typed_outputs_come_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("1\n2\n")
    script = """
set -e
test "$(cat "$INPUT_DIR/n")" = 5
test -f {{.inputs.table}} && test -d {{.inputs.data}}
mkdir {{.outputDir}}/stats && cp {{.inputs.data}}/x.csv "$OUTPUT_DIR/stats/"
echo 0.5 > "$OUTPUT_DIR/score"
echo '{{.inputs.words}}' > "$OUTPUT_DIR/words"
"""
    ended = run(
        tmp_path, "-i", "n=5", "-i", "table=./data/x.csv", "-i", "data=./data", "-i", 'words:str=["a"]', "-o", "out",
        "--output", "stats:dir", "--output", "score:float", "--output", "words:list[str]", "--json", "--", "sh", "-c", script,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["outputs"] == {"score": 0.5, "stats": str(tmp_path / "out" / "stats"), "words": ["a"]}
    assert told["outputs_uri"] == str(tmp_path / "out" / "outputs.pb")
    assert (tmp_path / "out" / "stats" / "x.csv").read_text() == "1\n2\n"
    published = idl.LiteralMap.FromString((tmp_path / "out" / "outputs.pb").read_bytes())
    assert published.literals["score"].scalar.primitive.float_value == 0.5
    assert published.literals["stats"].scalar.blob.metadata.type.dimensionality == idl.BlobType.MULTIPART


def test_a_document_of_inputs_and_one_on_the_command_line_that_wins(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("n: 1\ntext: hello\nnested: {a: [1, 2.5, null]}\n")
    script = 'cat "$INPUT_DIR/n" "$INPUT_DIR/text"; grep -q 2.5 "$INPUT_DIR/inputs.json"'
    ended = run(tmp_path, "--inputs", "in.yaml", "-i", "n=2", "--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout) == (0, "2hello"), ended.stderr


def test_outputs_that_are_not_declared_are_what_they_look_like(tmp_path: Path) -> None:
    script = 'cd "$OUTPUT_DIR"; echo 3 >i; echo 2.5 >f; echo true >b; echo hi >s; echo x >t.txt; mkdir d; echo y >d/z'
    ended = run(tmp_path, "-o", "out", "--json", "--", "sh", "-c", script)
    assert ended.returncode == 0, ended.stderr
    outputs = json.loads(ended.stdout)["outputs"]
    assert {name: outputs[name] for name in "ifbs"} == {"i": 3, "f": 2.5, "b": True, "s": "hi"}
    assert outputs["d"] == str(tmp_path / "out" / "d")
    assert Path(outputs["t.txt"]).read_text() == "x\n"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("echo 1 > $OUTPUT_DIR/n; exit 1", 1)])
def test_a_command_that_fails_gives_its_exit_code_and_leaves_the_reason_in_place_of_outputs(
    tmp_path: Path, script: str, code: int
) -> None:
    ended = run(tmp_path, "-o", "out", "--output", "n:int", "--", "sh", "-c", script)
    assert ended.returncode == code
    signal_name = " (SIGKILL)" if code > 128 else ""
    assert ended.stderr == f"error: the task ended with exit code {code}{signal_name}. [TaskFailed]\n"
    out = tmp_path / "out"
    assert not (out / "outputs.pb").exists()
    receipt = json.loads((out / "_receipt.json").read_text())
    assert (receipt["published"], receipt["verdict"]["row"]) == (False, "exited-by-itself")
    assert (receipt["verdict"]["witnesses"], receipt["verdict"]["exit_code"]) == (["wrapper"], code)
    for name in ("error.pb", "errors.pb"):
        assert "exit code" in idl.ErrorDocument.FromString((out / name).read_bytes()).error.message
    assert (out / "partial" / "n").exists() == ("echo 1" in script)


def test_the_receipt_of_a_success_says_who_saw_it(tmp_path: Path) -> None:
    assert run(tmp_path, "-o", "out", "--", "sh", "-c", "echo 1 > $OUTPUT_DIR/n").returncode == 0
    verdict = json.loads((tmp_path / "out" / "_receipt.json").read_text())["verdict"]
    assert (verdict["row"], verdict["exit_code"], verdict["witnesses"]) == ("exited-0-before-the-pod-ended", 0, ["wrapper"])


@pytest.mark.parametrize("more", [[], ["-o", "out"]])
def test_a_task_that_writes_error_and_exits_0_has_failed(tmp_path: Path, more: list[str]) -> None:
    ended = run(tmp_path, *more, "--", "sh", "-c", "echo no luck > $OUTPUT_DIR/_ERROR")
    assert (ended.returncode, ended.stderr) == (
        23,
        "error: no luck. [TaskFailed]\n",
    )
    assert not (tmp_path / "out" / "outputs.pb").exists()


def test_people_hear_of_events_only_when_they_ask(tmp_path: Path) -> None:
    assert run(tmp_path, "-i", "n=1", "--", "true").stderr == ""
    assert "inputs.ready" in run(tmp_path, "-v", "-i", "n=1", "--", "true").stderr
    assert "inputs.ready" in run(tmp_path, "-i", "n=1", "--log-level", "info", "--", "true").stderr
    assert "inputs.ready" in run(tmp_path, "-i", "n=1", "--", "true", COPILOT_LOG_LEVEL="info").stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--", "no-such-command"], "no-such-command"),
        ([], "needs a command"),
        (["-i", "n", "--", "true"], "name=value"),
        (["-i", "n:int=x", "--", "true"], "not of its declared type"),
        (["-i", "n:itn=1", "--", "true"], "Did you mean int?"),
        (["-i", "name=1", "--", "echo", "{{.inputs.nmae}}"], "Did you mean {{.inputs.name}}?"),
        (["--", "echo", "{{.outptuDir}}"], "{{.outputDir}}"),
        (["-i", "t:datetime=now", "--", "true"], "(datetime). Write it like 2026-01-02T03:04:05Z."),
        (["-i", "n=99999999999999999999", "--", "true"], "64 bits"),
        (["-o", "out", "--output", "n:itn", "--", "touch", "ran"], "Did you mean int?"),
        (["-o", "out", "--output", "n", "--output", "n:int", "--", "touch", "ran"], "given twice"),
        (["--output", "n:int", "--", "touch", "ran"], "--outputs"),
        (["-o", "nowhere://x", "--", "touch", "ran"], "nowhere://"),
        (["-o", "s3://", "--", "touch", "ran"], "names no bucket"),
        (["-o", "http://127.0.0.1:9/x", "--", "touch", "ran"], "nothing can be written there"),
        (["--workdir", "w", "-o", "w/outputs/d", "--", "touch", "ran"], "where the command itself writes"),
        (["-o", "out", "--raw", "http://127.0.0.1:9/x", "--", "touch", "ran"], "--raw"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], part: str) -> None:
    ended = run(tmp_path, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert part in ended.stderr
    assert not (tmp_path / "ran").exists()  # what can be known before the command runs is said before it


@pytest.mark.parametrize("text", ["x=\udcff", "x:int=\udcff", "\udcff=1"])
def test_a_value_that_is_no_utf_8_is_a_mistake(tmp_path: Path, text: str) -> None:
    ended = run(tmp_path, "-i", text, "--", "true")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr


def test_json_is_read_as_json_and_not_as_yaml_would(tmp_path: Path) -> None:
    values = {"float": 1e5, "text": "\U0001f600", "when": "2026-01-02T03:04:05Z"}
    (tmp_path / "in.json").write_text(json.dumps(values).replace("100000.0", "1e5"))
    ended = run(tmp_path, "--inputs", "in.json", "--", "cat", "{{.inputDir}}/inputs.json")
    assert json.loads(ended.stdout) == values, ended.stderr


def test_what_yaml_knows_and_json_does_not_keeps_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("t: 2026-01-02T03:04:05+01:00\nd: 2026-01-02\nb: !!binary aGk=\n")
    ended = run(tmp_path, "--inputs", "in.yaml", "--", "cat", "{{.inputDir}}/inputs.json")
    assert json.loads(ended.stdout) == {"t": "2026-01-02T02:04:05Z", "d": "2026-01-02", "b": "aGk="}, ended.stderr


def test_a_document_may_declare_types_and_come_from_standard_input(tmp_path: Path) -> None:
    document = '{"big:float": 99999999999999999999, "t:datetime": "2026-01-02T03:04:05Z", "b:binary": "aGk="}'
    ended = subprocess.run(
        [EXECUTABLE, "run", "--inputs", "-", "--", "cat", "{{.inputDir}}/t", "{{.inputDir}}/b"],
        input=document, capture_output=True, text=True, env=CLEAN, cwd=tmp_path, check=False, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "2026-01-02T03:04:05Zhi"), ended.stderr


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ('{"n": ', "neither JSON nor YAML (line 1, column 7)"),
        ("[1, 2]", "no mapping"),
        ("a: &a [*a]", "nested without end"),
        ('{"n": [1, 99999999999999999999]}', "input n[1] is 99999999999999999999"),
        ('{"s": "\\ud83d"}', "input s is no text"),
        ("s: !!set {a, b}", "a set of YAML"),
        ("d: 2026-02-31", "neither JSON nor YAML"),
    ],
)
def test_a_document_that_cannot_be_used_is_one_sentence(tmp_path: Path, document: str, part: str) -> None:
    (tmp_path / "in").write_text(document)
    ended = run(tmp_path, "--inputs", "in", "--", "true")
    assert ended.returncode in {2, 20}
    assert part in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [[], ["-o", "file/out"], ["-o", "file/out", "--output", "n:bool"]])
def test_what_a_command_left_is_kept_when_it_cannot_be_published(tmp_path: Path, flags: list[str]) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    (tmp_path / "file").touch()
    ended = run(tmp_path, *flags, "--", "sh", "-c", "echo 1 > $OUTPUT_DIR/n", TMPDIR=str(scratch))
    assert ended.returncode != 0
    assert [path.name.rpartition("-")[0] for path in scratch.iterdir()] == ["copilot-kept"]
    (kept,) = scratch.glob("copilot-kept-*/outputs")
    assert (kept / "n").read_text() == "1\n"
    assert f"directory={kept}" in ended.stderr
    assert kept.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("script", ["true", "echo 1 > $OUTPUT_DIR/n; exit 1", "echo 1 > $OUTPUT_DIR/n"])
def test_otherwise_nothing_stays_in_the_temporary_directory(tmp_path: Path, script: str) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    run(tmp_path, "-o", "out", "--", "sh", "-c", script, TMPDIR=str(scratch))
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("where", ["out", "s3"])
def test_what_an_earlier_run_left_in_a_directory_output_is_told(
    tmp_path: Path, where: str, s3_server: S3Server, s3_bucket: str
) -> None:
    outputs = f"s3://{s3_bucket}/strays" if where == "s3" else where

    def publish(*names: str) -> str:
        script = "mkdir -p $OUTPUT_DIR/d/e; cd $OUTPUT_DIR/d; touch e/kept " + " ".join(names)
        ended = run(tmp_path, "-o", outputs, "--output", "d:dir", "--", "sh", "-c", script, **s3_server.environ)
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    assert publish("a", "b", "c") == ""
    assert publish("a", "b", "c") == ""
    told = publish("a")
    assert told.startswith("outputs.strays")
    assert "objects=2  one=b" in told


def test_the_timeout_is_for_all_of_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        flags = ["-o", "s3://bucket/out", "--anonymous", "--endpoint", endpoint, "--timeout", "10s", "--workdir", "w"]
        process = subprocess.Popen(
            [EXECUTABLE, "run", *flags, "--", "sh", "-c", "sleep 5; date +%s > {{.outputDir}}/ended"],
            env=CLEAN,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process, process.stderr as told:
            assert any("outputs.kept" in line for line in told)
            waited_s = time.time() - int((tmp_path / "w" / "outputs" / "ended").read_text())
            process.kill()
    assert waited_s < 9  # less than five seconds were left, not ten


def test_a_missing_output_names_the_variable(tmp_path: Path) -> None:
    ended = run(tmp_path, "-o", "out", "--output", "gone:int", "--", "true")
    assert ended.returncode == 21
    assert "gone" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "outputs.pb").exists()


def test_inputs_and_outputs_on_a_real_s3_server(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.poke(s3_bucket, "data/x.txt", b"from afar")
    ended = run(
        tmp_path, "-i", f"x=s3://{s3_bucket}/data/x.txt", "-o", f"s3://{s3_bucket}/published", "--output", "copy:file",
        "--", "cp", "{{.inputs.x}}", "{{.outputDir}}/copy", **s3_server.environ,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert s3_server.peek(s3_bucket, "published/copy") == b"from afar"
    assert s3_server.peek(s3_bucket, "published/outputs.pb")


def test_ctrl_c_ends_the_command_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            EXECUTABLE,
            "run",
            "--workdir",
            str(tmp_path / "w"),
            "-o",
            "out",
            "--",
            "sh",
            "-c",
            "echo $$ > {{.outputDir}}/pid; exec sleep 60",
        ],
        env=CLEAN,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    pid = tmp_path / "w" / "outputs" / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 130
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert not (tmp_path / "out").exists()


def test_a_template_is_replaced_as_a_whole_text_and_no_shell_reads_it() -> None:
    argv = render(
        ["{{.inputs.a}}", "x{{ .inputs.b }}y", "{{.inputDir}}", "{plain}"],
        inputs={"a": "a b'c", "b": [1, "ü"]},
        places={"inputDir": "/in"},
    )
    assert argv == ["a b'c", 'x[1, "ü"]y', "/in", "{plain}"]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("int", "5"),
        ("float", "5"),
        ("str", "5"),
        ("bool", "true"),
        ("datetime", "2026-01-02T03:04:05Z"),
        ("duration", "1h"),
        ("struct", '{"a": 1}'),
        ("none", "null"),
        ("int?", "null"),
        ("int?", "3"),
        ("list[int]", "[1, 2]"),
        ("map[list[str]]", '{"k": ["v"]}'),
        ("enum(a, b)", "b"),
        ("binary", "1234"),
        ("file", "s3://b/k"),
        ("dir", "s3://b/k"),
    ],
)
def test_every_type_takes_a_value(word: str, text: str) -> None:
    wanted = parse_type(word, "input x")
    assert literal_of(value_of(text, wanted), "input x", wanted).WhichOneof("value")


@pytest.mark.parametrize(("word", "value"), [("str", "1e5"), ("str?", "1e5"), ("enum(1e5, x)?", "1e5")])
def test_a_text_stays_as_it_is_written(word: str, value: str) -> None:
    wanted = parse_type(word, "input x")
    made = literal_of(value_of(value, wanted), "input x", wanted)
    made = made.scalar.union.value if made.scalar.HasField("union") else made
    assert made.scalar.primitive.string_value == value


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("int", "true"),
        ("bool", "1"),
        ("enum(a,b)", "c"),
        ("list[int]", "5"),
        ("datetime", "now"),
        ("none", "0"),
        ("binary", "x"),
        ("float", "9" * 400),
        ("int", "9" * 40),
    ],
)
def test_a_value_of_another_type_is_refused(word: str, text: str) -> None:
    wanted = parse_type(word, "input x")
    with pytest.raises(BadFlag):
        literal_of(value_of(text, wanted), "input x", wanted)

"""Arguments are read as the reference reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.cli.arguments import flags
from copilot.cli.arguments.pflag import Flag, Table, command_index, parse

TABLE = Table(
    [
        Flag("from-remote", "x", short="f", metavar="URI", aliases=("inputs",)),
        Flag("format", "x", short="m", metavar="FORMAT"),
        Flag("storage.stow.config", "x", metavar="K=V", repeats=True),
        Flag("show-source", short="s"),
        Flag("anonymous", "x", short="a"),
    ]
)


@pytest.mark.parametrize(
    "argv",
    [
        ["--from-remote", "s3://b/k"],
        ["--from-remote=s3://b/k"],
        ["--inputs", "s3://b/k"],
        ["-f", "s3://b/k"],
        ["-fs3://b/k"],
        ["-f=s3://b/k"],
        ["-sf", "s3://b/k"],
        ["-saf=s3://b/k"],
        ["-f", "s3://other", "--from-remote", "s3://b/k"],
    ],
)
def test_every_spelling_of_a_flag_gives_its_value(argv: list[str]) -> None:
    parsed = parse(argv, TABLE)
    assert parsed.mistake is None
    assert parsed.last("from-remote") == "s3://b/k"


def test_a_value_may_look_like_a_flag() -> None:
    assert parse(["--format", "--anonymous"], TABLE).last("format") == "--anonymous"


def test_a_repeated_flag_keeps_every_value_in_order() -> None:
    parsed = parse(["--storage.stow.config", "a=1", "--storage.stow.config=b=2=3"], TABLE)
    assert parsed.values["storage.stow.config"] == ["a=1", "b=2=3"]


def test_a_switch_takes_a_value_only_with_an_equals_sign() -> None:
    parsed = parse(["--anonymous", "false", "-s=false"], TABLE)
    assert parsed.last("anonymous") == "true"
    assert parsed.arguments == ["false"]
    assert parsed.last("show-source") == "false"


def test_an_empty_value_is_a_value() -> None:
    parsed = parse(["--from-remote", "s3://b/k", "--from-remote", ""], TABLE)
    assert parsed.given("from-remote")
    assert parsed.last("from-remote", "default") == ""


def test_two_dashes_end_the_flags() -> None:
    parsed = parse(["--anonymous", "--", "--format", "x"], TABLE)
    assert parsed.rest == ["--format", "x"]
    assert not parsed.given("format")


def test_an_unknown_flag_is_named_with_the_nearest_one_and_the_rest_is_still_read() -> None:
    parsed = parse(["--form-remote", "--format", "JSON"], TABLE)
    assert parsed.mistake is not None
    assert "--form-remote" in parsed.mistake.sentence()
    assert "--from-remote" in parsed.mistake.sentence()
    assert parsed.last("format") == "JSON"


@pytest.mark.parametrize("argv", [["--format"], ["-m"], ["-sm"]])
def test_a_flag_at_the_end_without_its_value_is_a_mistake(argv: list[str]) -> None:
    mistake = parse(argv, TABLE).mistake
    assert mistake is not None
    assert "needs a value" in mistake.message


@pytest.mark.parametrize(
    ("argv", "at"),
    [
        (["download"], 0),
        (["--storage.container", "download", "download"], 2),
        (["--storage.container=x", "sidecar", "--drop-in"], 1),
        (["--kubeconfig", "/nowhere", "-s", "--logger.level", "6", "download"], 5),
        (["-f", "x", "sidecar"], 2),
        (["--anonymous", "init"], 1),
        (["--", "download"], -1),
        ([], -1),
    ],
)
def test_the_sub_command_is_found_behind_flags_and_their_values(argv: list[str], at: int) -> None:
    assert command_index(argv, flags.table("", drop_in=True)) == at


@given(st.lists(st.tuples(st.sampled_from(sorted(TABLE.long)), st.text()), max_size=6))
def test_what_is_written_with_an_equals_sign_is_read_back_whole(pairs: list[tuple[str, str]]) -> None:
    parsed = parse([f"--{name}={value}" for name, value in pairs], TABLE)
    assert parsed.mistake is None
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(TABLE.long[name].name, []).append(value)
    assert parsed.values == expected


@given(st.lists(st.text()))
def test_no_arguments_make_the_parser_fail(argv: list[str]) -> None:
    parse(argv, TABLE)
    command_index(argv, TABLE)


def test_no_two_flags_of_a_command_share_a_name() -> None:
    for command, own in flags.POD_COMMANDS.items():
        names = [name for flag in (*own, *flags.GLOBAL) for name in (flag.name, *flag.aliases)]
        assert len(names) == len(set(names)), command
        shorts = [flag.short for flag in (*own, *flags.GLOBAL) if flag.short]
        shared = {short for short in shorts if shorts.count(short) > 1}
        assert not shared & {flag.short for flag in own}, command

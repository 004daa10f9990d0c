"""Template variables: the contract's section 3.1."""

from __future__ import annotations

import shlex

import pytest
from flyteidl2.core.literals_pb2 import LiteralMap
from hypothesis import given
from hypothesis import strategies as st

from copilot.control_plane.pods.variables import Variables, go_float, render, render_words
from copilot.core.errors import BadInputs

VARIABLES = Variables(
    input_uri="s3://b/in/inputs.pb",
    output_prefix="s3://b/out/1",
    previous_prefix="",
    unique="pod-1",
    namespace="ns",
    run="r1",
    action="a0",
    attempt=2,
    run_start_s=1795332083.0,
    input_dir="/var/inputs",
)


def inputs(**values: object) -> LiteralMap:
    found = LiteralMap()
    for name, value in values.items():
        primitive = found.literals[name].scalar.primitive
        match value:
            case bool():
                primitive.boolean = value
            case int():
                primitive.integer = value
            case float():
                primitive.float_value = value
            case _:
                primitive.string_value = str(value)
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{.input}}", "s3://b/in/inputs.pb"),
        ("{{ .Input }}", "s3://b/in/inputs.pb"),
        ("{{$INPUT}}", "s3://b/in/inputs.pb"),
        ("{{.inputPrefix}}", "s3://b/in"),
        ("{{.outputPrefix}}|{{.rawOutputDataPrefix}}", "s3://b/out/1|s3://b/out/1"),
        ("{{.prevCheckpointPrefix}}", '""'),
        ("{{.checkpointOutputPrefix}}", "s3://b/out/1/_flytecheckpoints"),
        ("{{.perRetryUniqueKey}} {{.namespace}}", "pod-1 ns"),
        ("{{.runName}}/{{.actionName}}/{{.retryAttempt}}", "r1/a0/1"),
        ("{{.runStartTime}}", "2026-11-22T07:21:23Z"),
        ("{{.inputDir}}", "/var/inputs"),
        ("{{.outputDir}} {{.unknown}} {{ }} {x}", "{{.outputDir}} {{.unknown}} {{ }} {x}"),
        ("{{.inputs.n}}-{{ .Inputs.s }}-{{$inputs.b}}", "7-a b-true"),
        ("{{.inputs.s | quote}} {{.inputs.s|Quote}}", "'a b' 'a b'"),
        ("{{.inputs.s | upper}}", "{{.inputs.s | upper}}"),
    ],
)
def test_variables_are_rendered(text: str, wanted: str) -> None:
    assert render(text, VARIABLES, inputs(n=7, s="a b", b=True)) == wanted


def test_a_value_is_never_rendered_again() -> None:
    assert render("{{.inputs.s}}", VARIABLES, inputs(s="{{.input}}")) == "{{.input}}"


def test_an_input_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BadInputs, match="no such input"):
        render("{{.inputs.x}}", VARIABLES, inputs(n=1))


def test_other_literals_have_their_text() -> None:
    found = LiteralMap()
    found.literals["file"].scalar.blob.uri = "s3://b/file"
    found.literals["at"].scalar.primitive.datetime.FromJsonString("2026-01-02T03:04:05.5Z")
    found.literals["for"].scalar.primitive.duration.FromJsonString("3723.5s")
    found.literals["list"].collection.literals.extend([inputs(x=1).literals["x"], inputs(x=2).literals["x"]])
    found.literals["maybe"].scalar.union.value.CopyFrom(inputs(x="in").literals["x"])
    found.literals["none"].scalar.none_type.SetInParent()
    text = "{{.inputs.file}} {{.inputs.at}} {{.inputs.for}} {{.inputs.list}} {{.inputs.maybe}} [{{.inputs.none}}]"
    assert render(text, VARIABLES, found) == "s3://b/file 2026-01-02T03:04:05.5Z 1h2m3.5s [1,2] in []"


def test_a_map_and_a_binary_have_no_text() -> None:
    found = LiteralMap()
    found.literals["m"].map.SetInParent()
    found.literals["b"].scalar.binary.value = b"x"
    for name in ("m", "b"):
        with pytest.raises(BadInputs, match=f"input {name}"):
            render(f"{{{{.inputs.{name}}}}}", VARIABLES, found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.0, "-0"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (1e100, "1e+100"),
        (123456789.0, "123456789"),
    ],
)
def test_floats_are_written_as_go_does(value: float, text: str) -> None:
    assert go_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_s_text_is_that_float(value: float) -> None:
    assert float(go_float(value)) == value


# --- shells -----------------------------------------------------------------------------------------------------------


def test_a_value_that_a_shell_reads_is_pasted_with_a_warning_that_does_not_show_it() -> None:
    rendered = render_words(["/bin/sh", "-ec", "echo {{.inputs.s}}"], VARIABLES, inputs(s="x'; rm -rf secret"))
    assert rendered.words[2] == "echo x'; rm -rf secret"
    (warning,) = rendered.warnings
    assert "input s" in warning
    assert "secret" not in warning


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["sh", "-c", "echo {{.inputs.s | quote}}"], "a b"),
        (["sh", "-c", "echo {{.inputs.s}}"], "s3://bucket/key-1_2.txt"),
        (["echo", "{{.inputs.s}}"], "a b"),
        (["sh", "-c", "cat", "{{.inputs.s}}"], "a b"),
        (["python", "-c", "print('{{.inputs.s}}')"], "a b"),
    ],
)
def test_there_is_no_warning_where_no_shell_reads_the_value(words: list[str], value: str) -> None:
    assert render_words(words, VARIABLES, inputs(s=value)).warnings == ()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_quoted_value_is_one_word_for_a_shell(value: str) -> None:
    assert shlex.split(render("{{.inputs.s | quote}}", VARIABLES, inputs(s=value))) == [value]


@given(st.text(), st.text())
def test_text_without_variables_stays_as_it_is(before: str, after: str) -> None:
    text = before.replace("{{", "") + "{ {" + after.replace("{{", "")
    if "{{" not in text:
        assert render(text, VARIABLES, None) == text

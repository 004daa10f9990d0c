"""Pod templates merge by the API's rules, and strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.control_plane.pod_templates.merge import checked, fields, merged
from copilot.control_plane.pods import load_templates
from copilot.core.errors import BadConfig, PodRefused
from copilot.testing.pod_fields import pod_fields

if TYPE_CHECKING:
    from pathlib import Path

Json = Any


def test_the_table_of_fields_is_that_of_the_schema() -> None:
    assert fields() == pod_fields()


def test_the_templates_that_come_with_copilot_are_right() -> None:
    templates = load_templates()
    assert {"default", "restricted"} <= templates.keys()
    for name, spec in templates.items():
        checked(spec, where=name)


def test_a_directory_s_templates_come_over_ours(tmp_path: Path) -> None:
    (tmp_path / "gpu.yaml").write_text("nodeSelector: {gpu: a}\n")
    assert load_templates(tmp_path)["gpu"] == {"nodeSelector": {"gpu": "a"}}


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "text"])
def test_a_template_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(BadConfig, match=r"bad\.yaml"):
        load_templates(tmp_path)


def test_named_lists_merge_by_name_and_maps_by_field() -> None:
    base = {"containers": [{"name": "a", "image": "one", "env": [{"name": "X", "value": "1"}]}], "nodeSelector": {"k": "1"}}
    over = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "b"}], "nodeSelector": {"l": "2"}}
    assert merged(base, over) == {
        "containers": [
            {"name": "a", "image": "one", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b"},
        ],
        "nodeSelector": {"k": "1", "l": "2"},
    }


def test_commands_are_replaced_and_tolerations_grow() -> None:
    base: dict[str, Any] = {"containers": [{"name": "a", "args": ["1"]}], "tolerations": [{"key": "x"}]}
    over: dict[str, Any] = {"containers": [{"name": "a", "args": ["2", "3"]}], "tolerations": [{"key": "y"}]}
    result = merged(base, over)
    assert result["containers"][0]["args"] == ["2", "3"]
    assert result["tolerations"] == [{"key": "x"}, {"key": "y"}]


def test_whole_numbers_of_a_struct_become_integers() -> None:
    assert (
        checked({"containers": [{"ports": [{"containerPort": 8080.0}]}]})["containers"][0]["ports"][0]["containerPort"] == 8080
    )


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"containers": [{"env": [{"nam": "x"}]}]}, r"spec.containers\[0\].env\[0\].nam"),
        ({"hostNetwork": "yes"}, "spec.hostNetwork must be of type boolean"),
        ({"priority": True}, "spec.priority must be of type integer"),
        ({"priority": 1.5}, "spec.priority must be of type integer"),
        ({"affinity": "none"}, "spec.affinity must be an object"),
        ({"nodeSelector": []}, "spec.nodeSelector must be an object"),
        ({"containers": {}}, "spec.containers must be a list"),
    ],
)
def test_what_the_api_does_not_know_is_refused_with_its_path(spec: Json, where: str) -> None:
    with pytest.raises(PodRefused, match=where):
        checked(spec)


def test_a_mistyped_field_has_a_neighbour_for_a_hint() -> None:
    with pytest.raises(PodRefused) as refused:
        checked({"containers": [{"imagePulPolicy": "Always"}]})
    assert "imagePullPolicy" in refused.value.hint


@given(st.dictionaries(st.sampled_from(sorted(fields()["PodSpec"])), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_spec_is_taken_whole_or_refused_with_a_sentence(spec: dict[str, Any]) -> None:
    try:
        once = checked(spec)
    except PodRefused:
        return
    assert checked(once) == once
    assert merged(once, once) == once

"""The Dockerfile is one that every builder takes: there is no Docker here to try it with."""

from __future__ import annotations

import re
from pathlib import Path

IMAGES = Path(__file__).parents[2] / "images"
# Dockerfile reference, the part that Docker's classic builder, BuildKit and buildah have in common.
COMMON = {"ARG", "FROM", "COPY", "WORKDIR", "RUN", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", "", (IMAGES / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def test_it_uses_nothing_that_only_one_builder_has() -> None:
    found = instructions()
    assert {name for name, _ in found} == COMMON
    for name, rest in found:
        flags = re.findall(r"^(--\S+)", rest)
        assert all(name == "COPY" and flag.startswith("--from=") for flag in flags), (name, rest)
        assert "<<" not in rest, "here-documents are BuildKit's"
    # A frontend named in the first line is fetched from a registry: the build has no network.
    assert not re.search(r"^#\s*(syntax|check|escape)\s*=", (IMAGES / "Dockerfile").read_text(), re.MULTILINE)


def test_every_stage_is_there_before_it_is_copied_from_and_nothing_is_taken_but_from_the_base_and_the_context() -> None:
    stages: set[str] = set()
    for name, rest in instructions():
        if name == "FROM":
            source, _, stage = rest.partition(" AS ")
            assert source in {"${BASE_IMAGE}", "scratch", *stages}
            stages.add(stage)
        for copied in re.findall(r"--from=(\S+)", rest):
            assert copied in stages
    assert {"copilot", "flyte-copilot", "server"} <= stages


def test_what_it_copies_is_what_the_context_holds() -> None:
    script = (IMAGES.parent / "scripts" / "image").read_text()
    sources = {rest.split()[0] for name, rest in instructions() if name == "COPY" and not rest.startswith("--")}
    assert sources == {"wheels", "requirements", "rootfs.py"}
    assert all(f'"$context/{source}' in script or f"images/{source}" in script for source in sources)

"""The pages that are made from code say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from copilot.cli.explaining.reasons import EXIT_CODES, reasons
from copilot.cli.explaining.run_codes import RUN_CODES
from copilot.core.podfiles import PROTOCOL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale_or_else_scripts_docs_writes_it_anew(reference: ModuleType) -> None:
    assert [page.name for page in reference.stale(write=False)] == []


def test_the_container_protocol_page_has_every_file_of_the_protocol() -> None:
    page = (ROOT / "docs" / "container-protocol.md").read_text()
    for file in PROTOCOL:
        assert f"| `{file.name}` | {file.place} | {file.writer} | {file.reader} | {file.when} | {file.appears} |" in page


def test_the_errors_page_has_every_reason_and_every_exit_code() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    assert not [code for code in reasons() if f"| `{code}` |" not in page]
    assert not [code for code in RUN_CODES if f"\n| `{code}` |" not in page]
    assert not [code for code in EXIT_CODES if f"\n| {code} |" not in page]

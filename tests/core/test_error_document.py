"""Errors as a Flyte backend and the official SDK read them."""

from __future__ import annotations

import pytest

from copilot.core import errors, idl
from copilot.core.error_document import INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED, error_document


def written(error: BaseException, code: str = OUTPUT_UPLOAD_FAILED) -> idl.ContainerError:
    document = idl.ErrorDocument.FromString(error_document(error, code))
    assert isinstance(document.error, idl.ContainerError)
    return document.error


def test_the_message_is_the_reason_and_one_sentence_with_the_cure() -> None:
    error = errors.MissingOutput("output 'n' was not written", hint="Write it.")
    document = written(error)
    assert document.message == "MissingOutput: output 'n' was not written. Write it."
    assert document.code == "OutputUploadFailed"
    assert document.kind == idl.ContainerError.RECOVERABLE
    assert document.origin == idl.ExecutionError.USER


def test_what_the_task_said_stays_in_its_own_words() -> None:
    assert written(errors.TaskFailed("no rows\nin train.csv")).message == "TaskFailed: no rows\nin train.csv"


def test_a_fault_of_the_system_is_said_to_be_one() -> None:
    document = written(errors.Unreachable("no connection"), INPUT_DOWNLOAD_FAILED)
    assert (document.code, document.origin) == ("InputDownloadFailed", idl.ExecutionError.SYSTEM)


def test_an_unexpected_error_shows_its_kind_and_not_its_text() -> None:
    message = written(ValueError("password=hunter2")).message
    assert "ValueError" in message
    assert "hunter2" not in message


def test_text_that_protobuf_cannot_carry_is_mended_and_a_huge_one_is_cut() -> None:
    assert written(errors.TaskFailed("a\ud800b")).message == "TaskFailed: a?b"
    assert len(written(errors.TaskFailed("x" * 3_000_000)).message) == 1024 * 1024


@pytest.mark.parametrize("code", [INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED])
def test_the_code_is_the_callers(code: str) -> None:
    assert written(errors.BadInputs("x"), code).code == code

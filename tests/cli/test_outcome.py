"""Every error ends in one exit code, one sentence, one log line, and an error document where the backend looks."""

from __future__ import annotations

import errno
import io
import json
import signal
from pathlib import Path

import pytest

from copilot.cli import outcome
from copilot.cli.explaining.reasons import CURES, EXIT_CODES, error_classes, reasons
from copilot.cli.session import Session
from copilot.config import Configuration, LogSettings
from copilot.core import idl
from copilot.core.errors import (
    AccessDenied,
    Cancelled,
    CopilotError,
    DiskFull,
    InternalError,
    LocalIOError,
    ObjectNotFound,
    ReadOnlyPath,
)
from copilot.signals import Latch
from copilot.stores.settings import S3Settings, StoreSettings
from copilot.telemetry.log import JsonLog
from copilot.telemetry.redact import Redactor
from copilot.testing.clock import FakeClock

CLASSES = sorted(error_classes(), key=lambda kind: (kind.__module__, kind.__name__))


def made(kind: type[CopilotError]) -> CopilotError:
    error = kind.__new__(kind)
    CopilotError.__init__(error, "something was not as it should be")
    return error


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_maps_to_a_stable_reason_and_a_code_of_the_table(kind: type[CopilotError]) -> None:
    end = outcome.outcome_of(made(kind))
    assert end.exit_code in EXIT_CODES
    assert end.exit_code != 0
    assert end.reason.isalnum()
    assert end.reason in reasons()
    assert "\n" not in end.message()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_under_the_references_name_every_error_ends_with_137(kind: type[CopilotError]) -> None:
    assert outcome.outcome_of(made(kind), failure_exit_code=137).exit_code == 137


def test_a_message_with_what_is_no_utf_8_can_be_written() -> None:
    end = outcome.outcome_of(ObjectNotFound("There is no file /x\udcff"))
    assert end.message() == "ObjectNotFound: There is no file /x?."
    long = outcome.outcome_of(ObjectNotFound("\udcff" * 10_000))
    assert len(long.message().encode()) <= 4096


def test_every_reason_says_what_happened_and_what_to_do() -> None:
    known = reasons()
    assert not {code for code, one in known.items() if not (one.cause and one.cure)}
    assert not set(CURES) - set(known)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        (OSError(errno.ENOSPC, "x", "/data/f"), DiskFull),
        (OSError(errno.EDQUOT, "x", "/data/f"), DiskFull),
        (PermissionError(errno.EACCES, "x", "/data/f"), ReadOnlyPath),
        (OSError(errno.EROFS, "x", "/data/f"), ReadOnlyPath),
        (OSError(errno.EIO, "x", "/data/f"), LocalIOError),
        (MemoryError(), LocalIOError),
        (KeyboardInterrupt(), Cancelled),
        (ZeroDivisionError("the secret is in here"), InternalError),
        (SystemExit(3), InternalError),
    ],
)
def test_what_is_not_ours_becomes_the_one_of_ours_that_says_it(exception: BaseException, kind: type[CopilotError]) -> None:
    end = outcome.outcome_of(exception)
    assert type(end.error) is kind
    assert "secret" not in end.sentence
    assert ("/data/f" in end.sentence) == isinstance(exception, OSError)


def test_ctrl_c_ends_with_130_and_sigterm_with_143() -> None:
    assert outcome.outcome_of(Cancelled("stopped"), signal_number=signal.SIGINT).exit_code == 130
    assert outcome.outcome_of(Cancelled("stopped"), signal_number=signal.SIGTERM).exit_code == 143
    assert outcome.outcome_of(ObjectNotFound("gone"), signal_number=signal.SIGTERM).exit_code == 11


def test_a_termination_message_is_one_line_of_at_most_4_kib() -> None:
    message = outcome.outcome_of(ObjectNotFound("ä" * 5000 + "\n more")).message()
    assert message.startswith("ObjectNotFound: ")
    assert len(message.encode()) <= 4096
    assert message.endswith("…")


def test_a_termination_message_goes_only_where_there_is_a_place_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    assert not outcome.write_termination_message(path, "x", create=False)
    assert not path.exists()
    path.write_text("an older and longer message")
    assert outcome.write_termination_message(path, "x", create=False)
    assert path.read_text() == "x"
    assert not outcome.write_termination_message(tmp_path / "none" / "f", "x", create=True)


def test_the_log_has_one_line_for_people_and_the_traceback_at_debug_level() -> None:
    stream = io.StringIO()
    log = JsonLog(stream, clock=FakeClock(), redactor=Redactor(), level="debug")
    outcome.tell(outcome.outcome_of(ZeroDivisionError("x")), log, during="init")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["reason"], first["exit_code"], first["level"]) == ("failed", "Internal", 1, "error")
    assert "ZeroDivisionError" in second["traceback"]
    assert second["level"] == "debug"


def session(tmp_path: Path, **settings: object) -> Session:
    stores = StoreSettings(s3=S3Settings(secret_access_key="sup3rsecret"))
    (tmp_path / "termination-log").touch()
    values: dict[str, object] = {
        "stores": stores,
        "termination_log": tmp_path / "termination-log",
        "log": LogSettings(file=tmp_path / "log"),
        **settings,
    }
    return Session(Configuration(**values), Latch(), command="sidecar")  # type: ignore[arg-type] # named settings of mixed types


@pytest.mark.parametrize(
    ("asked", "names"), [("", ["error.pb", "errors.pb"]), ("error.pb", ["error.pb"]), ("mine.pb", ["mine.pb"])]
)
def test_the_error_document_goes_under_both_names_unless_one_is_asked_for(tmp_path: Path, asked: str, names: list[str]) -> None:
    prefix = tmp_path / "meta"
    code = session(tmp_path, err_output_name=asked).fail(AccessDenied("no"), code="OutputUploadFailed", prefix=str(prefix))
    assert code == 12
    assert sorted(path.name for path in prefix.iterdir()) == names
    for name in names:
        error = idl.ErrorDocument.FromString((prefix / name).read_bytes()).error
        assert (error.code, error.kind) == ("OutputUploadFailed", idl.ContainerError.RECOVERABLE)
        assert error.message.startswith("AccessDenied: ")


def test_a_secret_in_an_error_is_told_nowhere(tmp_path: Path) -> None:
    prefix = tmp_path / "meta"
    session(tmp_path).fail(AccessDenied("key sup3rsecret is wrong"), code="InputDownloadFailed", prefix=str(prefix))
    told = (tmp_path / "termination-log").read_text() + (tmp_path / "log").read_text()
    assert "sup3rsecret" not in told
    assert "AccessDenied: key *** is wrong." in told
    assert b"sup3rsecret" not in (prefix / "error.pb").read_bytes()


def test_a_store_that_takes_no_error_document_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = session(tmp_path).fail(ObjectNotFound("gone"), code="InputDownloadFailed", prefix=str(tmp_path / "file" / "below"))
    assert code == 11
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert "error_document.not_written" in events
    assert "failed" in events

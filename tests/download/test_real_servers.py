"""Inputs from a real S3 server and a real web server, and a run that is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.errors import AccessDenied, BucketNotFound, ObjectNotFound, ServerFault, StoreError
from copilot.core.literals import Layout
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.testing.servers.web import Page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.download.conftest import Room

    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

FOLDER = idl.BlobMetadata(type=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))
ODD_NAMES = ["with space", "a+b", "ž/日本", "hash#1", "what?", "100%", "a%20b", "q&a=1;", "br[0]", "~", "a:b", "deep/er/x"]


def file(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri)))


def folder(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri, metadata=FOLDER)))


def test_a_list_of_files_and_a_directory_with_odd_names_come_from_s3(room: Room, s3_server: S3Server, s3_bucket: str) -> None:
    here = type(room)(room.inputs, room.control, stores=open_stores(StoreSettings(s3=s3_server.settings)))
    for name in ODD_NAMES:
        s3_server.poke(s3_bucket, f"odd dir/{name}", name.encode())
        s3_server.poke(s3_bucket, f"odd dirt/{name}", b"sibling")
    literals = idl.LiteralMap(literals={"d": folder(f"s3://{s3_bucket}/odd dir")})
    literals.literals["l"].collection.literals.extend(file(f"s3://{s3_bucket}/odd dir/{name}") for name in ODD_NAMES)
    s3_server.poke(s3_bucket, "in/inputs.pb", literals.SerializeToString())
    request = replace(here.request(), source=f"s3://{s3_bucket}/in/inputs.pb", layout=Layout.NAMED_DIR)
    done = here.stage(request, ask_sizes=True)
    expected = {f"d/{name}": name.encode() for name in ODD_NAMES}
    expected |= {f"l/{name.rpartition('/')[2]}": name.encode() for name in ODD_NAMES}
    assert here.values() == expected
    assert done.totals.objects == 2 * len(ODD_NAMES)


@pytest.mark.parametrize(
    ("uri", "error"),
    [("s3://{bucket}/gone", ObjectNotFound), ("s3://no-such-bucket-here/k", (BucketNotFound, ObjectNotFound, AccessDenied))],
)
def test_what_s3_does_not_have_is_said_and_nothing_is_left(
    room: Room, s3_server: S3Server, s3_bucket: str, uri: str, error: type[StoreError] | tuple[type[StoreError], ...]
) -> None:
    here = type(room)(room.inputs, room.control, stores=open_stores(StoreSettings(s3=s3_server.settings)))
    literals = idl.LiteralMap(literals={"x": file(uri.format(bucket=s3_bucket))})
    with pytest.raises(error):
        here.stage(replace(here.request(), source="", literals=literals), ask_sizes=True)
    assert not room.inputs.exists()


def test_a_web_page_is_an_input_under_its_own_name_without_the_query(room: Room, http_server: WebServer) -> None:
    http_server.pages["/data/table.csv?token=secret"] = Page(b"a,b\n")
    literals = idl.LiteralMap(literals={"x": file(f"{http_server.url}/data/table.csv?token=secret")})
    here = type(room)(room.inputs, room.control, stores=open_stores())
    done = here.stage(replace(here.request(), source="", literals=literals, layout=Layout.NAMED_DIR), ask_sizes=True)
    assert here.values() == {"x/table.csv": b"a,b\n"}
    assert "secret" not in str(done.plan.as_dict())


@pytest.mark.parametrize(("status", "error"), [(403, AccessDenied), (404, ObjectNotFound), (500, ServerFault)])
def test_fault_3_an_error_page_never_becomes_an_input(
    room: Room, http_server: WebServer, status: int, error: type[StoreError]
) -> None:
    http_server.pages["/x?token=secret"] = Page(b"<html>an error page</html>", status=status)
    literals = idl.LiteralMap(literals={"x": file(f"{http_server.url}/x?token=secret")})
    here = type(room)(room.inputs, room.control, stores=open_stores())
    with pytest.raises(error) as caught:
        here.stage(replace(here.request(), source="", literals=literals), ask_sizes=True)
    assert "secret" not in caught.value.sentence()
    assert not room.inputs.exists()


KILLED_ON_THE_WAY = """
    import os, signal, sys
    from pathlib import Path
    from copilot.core import idl
    from copilot.core.values import Receipt
    from copilot.download.run import InputRequest, stage_inputs
    from copilot.engine.cancel import never
    from copilot.engine.clock import SystemClock
    from copilot.testing.recording import RecordingLog

    class DiesHalfway:
        def fetch(self, specs, root, cancel, *, journal=None):
            specs = list(specs)
            (root / specs[0].target).write_text("half")
            yield Receipt(specs[0].uri, specs[0].target, 4, variable=specs[0].variable)
            os.kill(os.getpid(), signal.SIGKILL)

        def read(self, uri, cancel, *, max_bytes=None):
            return Path(uri).read_bytes()

    clock = SystemClock()
    stage_inputs(
        InputRequest(directory=sys.argv[1], source=sys.argv[2], control_dir=Path(sys.argv[3])),
        transfer=DiesHalfway(), clock=clock, log=RecordingLog(), cancel=never(clock),
    )
"""


@pytest.mark.parametrize("exists", [True, False])
def test_a_run_that_is_killed_shows_nothing_and_the_next_one_finishes(room: Room, tmp_path: Path, *, exists: bool) -> None:
    if exists:
        room.inputs.mkdir()
    literals = idl.LiteralMap(literals={"a": file("s3://bucket/a"), "b": file("s3://bucket/b")})
    for name in "ab":
        room.put(f"s3://bucket/{name}", f"whole {name}")
    source = tmp_path / "source.pb"
    source.write_bytes(literals.SerializeToString())
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED_ON_THE_WAY), room.inputs, source, room.control],
        env={**os.environ, "PYTHONPATH": "src"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    visible = [path.name for path in room.inputs.iterdir()] if room.inputs.exists() else []
    assert all(name.startswith(".copilot-staging") for name in visible)
    assert not (room.control / "READY").exists()
    room.stage(room.request(literals, control_dir=room.control))
    assert room.values() == {"a": b"whole a", "b": b"whole b"}
    assert not [path for path in (*room.inputs.iterdir(), *tmp_path.iterdir()) if path.name.startswith(".copilot")]

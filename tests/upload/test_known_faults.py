"""The known faults of the reference with outputs (section 6 of the contract): ours must not have them, each by its number."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.completion import Saw, Witness
from copilot.core.errors import BadOutput, CompletionUnproven, CopilotError, TaskDeleted, TaskEvicted, TaskFailed, Unreachable
from copilot.core.ports import Completion
from copilot.engine.cancel import Token
from copilot.engine.retry import RetryPolicy
from copilot.upload.plan import UploadMode

if TYPE_CHECKING:
    from tests.upload.conftest import World

    from copilot.core.ports import CancelToken

S = idl.SimpleType
TEXT = idl.LiteralType(simple=S.STRING)
INTEGER = idl.LiteralType(simple=S.INTEGER)
FILE = idl.LiteralType(blob=idl.BlobType())
FOLDER = idl.LiteralType(blob=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))


class Says:
    """A witness that has already seen something."""

    def __init__(self, witness: Witness, saw: Saw, code: int | None = None) -> None:
        self.completion = Completion(witness, saw, code)

    def wait(self, cancel: CancelToken) -> Completion | None:
        del cancel
        return self.completion


def test_fault_1_a_failed_upload_is_a_failure_and_publishes_nothing(world: World) -> None:
    world.wrote({"f": "x", "n": "1"})
    world.raw = "http://127.0.0.1:9/raw"  # nobody listens there, and nothing can be written over http
    with pytest.raises(CopilotError) as caught:
        world.publish({"f": FILE, "n": INTEGER}, timeout_s=5)
    assert caught.value.exit_code != 0
    assert "outputs.pb" not in world.objects(world.meta)


@pytest.mark.parametrize(("saw", "error"), [(Saw.EVICTED, TaskEvicted), (Saw.DELETED, TaskDeleted), (Saw.EXITED, TaskFailed)])
def test_fault_2_sigterm_is_not_success_when_the_pod_says_why_it_came(
    world: World, saw: Saw, error: type[CopilotError]
) -> None:
    world.wrote({"n": "1"})
    witnesses = [Says(Witness.POD, saw, 3 if saw is Saw.EXITED else 0)]
    with pytest.raises(error):
        world.publish({"n": INTEGER}, watchers=witnesses, trust_signal=True)
    assert "outputs.pb" not in world.objects(world.meta)


def test_fault_2_sigterm_alone_proves_nothing_unless_it_is_trusted(world: World) -> None:
    world.wrote({"n": "1"})
    with pytest.raises(CompletionUnproven) as caught:
        world.publish({"n": INTEGER}, watchers=[Says(Witness.SIGNAL, Saw.SIGTERM)])
    assert "--trust-signal" in caught.value.hint


def test_fault_2_the_exit_code_of_main_is_known_and_told(world: World) -> None:
    world.wrote({"n": "1"})
    with pytest.raises(TaskFailed, match="exit code 7"):
        world.publish({"n": INTEGER}, watchers=[Says(Witness.WRAPPER, Saw.EXITED, 7)])
    assert world.document("_receipt.json")["verdict"]["exit_code"] == 7


def test_fault_4_every_object_is_proven_by_a_digest_of_its_bytes(world: World) -> None:
    world.wrote({f"v/{index}": str(index) for index in range(50)})
    world.publish({"v": FOLDER})
    objects = world.document("_manifest.json")["objects"]
    assert len(objects) == 50
    assert all(entry["digest"].startswith("crc32c:") and entry["etag"] for entry in objects)


def test_fault_4_no_more_threads_than_workers_whatever_the_number_of_objects(world: World) -> None:
    world.wrote({f"v/{index}": str(index) for index in range(300)})
    most = 0
    before = threading.active_count()

    class Counts:
        def send(self, specs: object, cancel: CancelToken, **options: object) -> object:
            nonlocal most
            for receipt in world.transfer.send(specs, cancel, **options):  # type: ignore[arg-type]  # handed through as it came
                most = max(most, threading.active_count() - before)
                yield receipt

        def __getattr__(self, name: str) -> object:
            return getattr(world.transfer, name)

    world.publish({"v": FOLDER}, transfer=Counts())
    assert 0 < most <= 8


def test_fault_4_what_is_written_locally_is_not_open_to_everybody(world: World, tmp_path: os.PathLike[str]) -> None:
    world.wrote({"n": "1"})
    world.meta = f"{tmp_path}/meta"
    world.publish({"n": INTEGER})
    assert not stat.S_IMODE(os.stat(f"{world.meta}/outputs.pb").st_mode) & 0o022  # noqa: PTH116 — one call, one path


def test_fault_5_text_above_one_kib_is_accepted(world: World) -> None:
    world.wrote({"t": "x" * 1025, "huge": "y" * 3_000_000})
    world.publish({"t": TEXT, "huge": TEXT})
    assert len(world.outputs()["t"].scalar.primitive.string_value) == 1025
    assert len(world.outputs()["huge"].scalar.primitive.string_value) == 3_000_000


REFUSED_BY_THE_REFERENCE = {
    "list": (idl.LiteralType(collection_type=INTEGER), {"x": "[1]"}, "collection"),
    "map": (idl.LiteralType(map_value_type=INTEGER), {"x": '{"a": 1}'}, "map"),
    "union": (idl.LiteralType(union_type=idl.UnionType(variants=[INTEGER, TEXT])), {"x": "1"}, "scalar"),
    "schema": (idl.LiteralType(schema=idl.SchemaType()), {"x/part": "1"}, "scalar"),
    "structured dataset": (
        idl.LiteralType(structured_dataset_type=idl.StructuredDatasetType(format="parquet")),
        {"x/part": "1"},
        "scalar",
    ),
    "enum": (idl.LiteralType(enum_type=idl.EnumType(values=["a"])), {"x": "a"}, "scalar"),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_REFERENCE)
def test_fault_5_every_type_is_accepted(world: World, name: str) -> None:
    literal_type, files, arm = REFUSED_BY_THE_REFERENCE[name]
    world.wrote(files)
    world.publish({"x": literal_type})
    assert world.outputs()["x"].WhichOneof("value") == arm


def test_fault_6_do_not_upload_moves_no_data(world: World) -> None:
    world.wrote({"f": "s3://mine/already/there", "n": "1"})
    world.publish({"f": FILE, "n": INTEGER}, mode=UploadMode.NONE)
    assert world.objects(world.raw) == {}
    assert world.outputs()["f"].scalar.blob.uri == "s3://mine/already/there"
    world.wrote({"f": "data"})
    with pytest.raises(BadOutput):
        world.publish({"f": FILE}, mode=UploadMode.NONE)


def test_fault_6_upload_eager_uploads_what_is_finished_while_the_task_runs(world: World) -> None:
    world.wrote({"f": "finished"})
    there: list[dict[str, bytes]] = []

    class WhenItIsThere:
        def wait(self, cancel: CancelToken) -> Completion | None:
            while not cancel.cancelled and not world.objects(world.raw):
                cancel.wait(0.02)
            there.append(world.objects(world.raw))
            return Says(Witness.MARKER, Saw.SUCCESS_MARKER).wait(cancel)

    world.publish({"f": FILE}, watchers=[WhenItIsThere()], mode=UploadMode.EAGER)
    assert there == [{"f": b"finished"}]
    assert "outputs.pb" in world.objects(world.meta)


def test_fault_7_names_that_differ_only_after_a_special_character_do_not_collide(world: World) -> None:
    names = ["a", "a#1", "a#2", "a?1", "a?2", "a%231", "a%3F1", "a%"]
    world.wrote({f"v/{name}": name for name in names})
    world.publish({"v": FOLDER})
    assert world.objects(world.raw) == {f"v/{name}": name.encode() for name in names}


def test_fault_8_the_start_timeout_leaves_the_timeout_alone(world: World) -> None:
    world.wrote({"f": "x"})
    world.publish({"f": FILE}, start=Says(Witness.NOOP, Saw.TOLD), start_timeout_s=1, timeout_s=3600)
    assert world.objects(world.raw) == {"f": b"x"}


def test_fault_9_empty_files_and_empty_directories_are_kept(world: World) -> None:
    world.wrote({"empty": "", "v/hollow": None, "v/nothing": "", "w": None})
    world.publish({"empty": FILE, "v": FOLDER, "w": FOLDER})
    assert world.objects(world.raw) == {"empty": b"", "v/hollow/": b"", "v/nothing": b"", "w/": b""}


def test_fault_10_a_reason_code_and_the_course_of_things_are_recorded(world: World) -> None:
    with pytest.raises(CopilotError):
        world.publish({"n": INTEGER})
    failure = world.document("_receipt.json")["failure"]
    assert failure["reason"] == "MissingOutput"
    assert failure["hint"]


def test_a_store_that_refuses_connections_is_tried_again_until_the_time_is_over(world: World) -> None:
    # Section 7: the reference gave up after 0.4 s and the data was lost.
    from copilot.engine.budget import Limits  # noqa: PLC0415 — only here patience is set by hand
    from copilot.engine.transfer import Transfer  # noqa: PLC0415 — as above
    from copilot.stores.registry import open_stores  # noqa: PLC0415 — as above
    from copilot.stores.settings import S3Settings, StoreSettings  # noqa: PLC0415 — as above

    world.wrote({"f": "x"})
    world.raw = "s3://bucket/raw"
    settings = S3Settings(endpoint="http://127.0.0.1:9", region="us-east-1", access_key_id="k", secret_access_key="s")
    limits = Limits(retry=RetryPolicy())
    stores = open_stores(StoreSettings(s3=settings))
    transfer = Transfer(stores, limits=limits, clock=world.clock, log=world.log, progress=world.progress)
    began_s = world.clock.monotonic_s()
    with pytest.raises(CopilotError) as caught:
        world.publish({"f": FILE}, transfer=transfer, timeout_s=2.0, cancel=Token(world.clock))
    assert world.clock.monotonic_s() - began_s >= 1.5
    assert isinstance(caught.value, Unreachable) or caught.value.reason == "DeadlineExceeded"
    assert world.log.named("retry")

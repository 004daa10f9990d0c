"""The order of things: what is visible when, what is left behind by each end, who is waited for."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.completion import Saw, Witness
from copilot.core.error_document import error_document
from copilot.core.errors import (
    AccessDenied,
    Cancelled,
    CompletionUnproven,
    DeadlineExceeded,
    InternalError,
    PodRefused,
    TaskEvicted,
    TaskFailed,
    Unreachable,
    UnreadableOutput,
)
from copilot.core.ports import CancelToken, Completion
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.transfer import Transfer
from copilot.testing.scripted_store import ScriptedStores
from copilot.upload.plan import OutputTarget, plan_outputs
from copilot.upload.publish import ManifestSpool, publish

if TYPE_CHECKING:
    from tests.upload.conftest import World

    from copilot.core.values import Receipt, SendSpec
    from copilot.engine.sent import SentFiles

INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)
FILE = idl.LiteralType(blob=idl.BlobType())
FOLDER = idl.LiteralType(blob=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))


class Says:
    """A watcher that has already seen something."""

    def __init__(self, witness: Witness, saw: Saw, code: int | None = None, **evidence: str) -> None:
        self.completion = Completion(witness, saw, code, evidence)

    def wait(self, cancel: CancelToken) -> Completion | None:
        assert not cancel.cancelled
        return self.completion


class Waits:
    """A watcher that sees nothing until it is told to stop."""

    def __init__(self) -> None:
        self.asked, self.stopped = threading.Event(), threading.Event()

    def wait(self, cancel: CancelToken) -> Completion | None:
        self.asked.set()
        while not cancel.wait(0.01):
            pass
        self.stopped.set()
        return None


class Fails:
    """A watcher whose source is gone."""

    def wait(self, cancel: CancelToken) -> Completion | None:
        del cancel
        raise Unreachable("the API is not there")


class Recorded:
    """The real engine, with a note of every write, and a hand in it where a test wants one."""

    def __init__(self, transfer: Transfer, *, before_send: object = None) -> None:
        self._transfer = transfer
        self.order: list[str] = []
        self.before_send = before_send

    def send(self, specs: Iterable[SendSpec], cancel: CancelToken, *, sent: SentFiles | None = None) -> Iterator[Receipt]:
        def watched() -> Iterator[SendSpec]:
            for spec in specs:
                if callable(self.before_send):
                    self.before_send(spec)  # it was looked at and not sent: what changes now changes while it moves
                yield spec

        for receipt in self._transfer.send(watched(), cancel, sent=sent):
            self.order.append(receipt.uri)
            yield receipt

    def write(self, uri: str, data: bytes, cancel: CancelToken, *, if_absent: bool = False) -> Receipt:
        self.order.append(uri)
        return self._transfer.write(uri, data, cancel, if_absent=if_absent)

    def read(self, uri: str, cancel: CancelToken, *, max_bytes: int | None = None) -> bytes:
        return self._transfer.read(uri, cancel, max_bytes=max_bytes)

    def retract(self, uri: str, cancel: CancelToken) -> None:
        self.order.append(f"-{uri}")
        self._transfer.retract(uri, cancel)

    def abort_leftovers(self, uris: Iterable[str], cancel: CancelToken) -> int:
        return self._transfer.abort_leftovers(uris, cancel)


def test_outputs_pb_is_written_after_everything_it_names(world: World) -> None:
    world.wrote({"v/a": "1", "v/b": "2", "n": "1"})
    engine = Recorded(world.transfer)
    world.publish({"v": FOLDER, "n": INTEGER}, transfer=engine)
    assert sorted(engine.order[:2]) == [f"{world.raw}/v/a", f"{world.raw}/v/b"]
    assert engine.order[2:] == [f"{world.meta}/{name}" for name in ("_manifest.json", "outputs.pb", "_receipt.json")]


def test_the_error_of_an_earlier_attempt_goes_after_the_commit_and_before_the_receipt(world: World) -> None:
    world.wrote({"n": "1"})
    token = Token(world.clock, timeout_s=60)
    world.transfer.write(f"{world.meta}/error.pb", error_document(TaskFailed("before"), "TaskFailed"), token)
    engine = Recorded(world.transfer)
    world.publish({"n": INTEGER}, transfer=engine)
    names = [entry.replace(f"{world.meta}/", "") for entry in engine.order]
    assert names == ["_manifest.json", "outputs.pb", "-error.pb", "_receipt.json"]


def test_an_error_document_that_may_not_be_removed_does_not_undo_the_publication(world: World) -> None:
    world.wrote({"n": "1"})
    token = Token(world.clock, timeout_s=60)
    world.transfer.write(f"{world.meta}/error.pb", error_document(TaskFailed("before"), "TaskFailed"), token)

    class Denies(Recorded):
        def retract(self, uri: str, cancel: CancelToken) -> None:
            del uri, cancel
            raise AccessDenied("the store says no")

    world.publish({"n": INTEGER}, transfer=Denies(world.transfer))
    assert {"outputs.pb", "error.pb", "_receipt.json"} <= set(world.objects(world.meta))
    assert [event.fields["reason"] for event in world.log.named("error_document.remains")] == ["AccessDenied"]


def test_the_manifest_names_every_object_and_what_outputs_pb_will_be(world: World) -> None:
    world.wrote({"v/a": "abc", "v/empty": None, "f.csv": "x" * 10})
    done = world.publish({"v": FOLDER, "f": FILE})
    manifest = world.document("_manifest.json")
    objects = {entry["path"]: entry for entry in manifest["objects"]}
    assert set(objects) == {"v/a", "v/empty/", "f.csv"}
    assert objects["f.csv"]["uri"] == f"{world.raw}/f"
    assert objects["f.csv"]["size_bytes"] == 10
    assert objects["v/a"]["digest"] == "crc32c:364b3fb7"
    assert objects["v/a"]["etag"]
    assert objects["v/a"]["variable"] == "v"
    assert manifest["totals"] == {"objects": 3, "size_bytes": 13}
    outputs = world.objects(world.meta)["outputs.pb"]
    assert manifest["outputs_pb"] == {"size_bytes": len(outputs), "digest": f"sha256:{hashlib.sha256(outputs).hexdigest()}"}
    assert (done.totals.objects, done.totals.size_bytes) == (3, 13)
    receipt = world.document("_receipt.json")
    assert receipt["published"] is True
    assert receipt["totals"]["objects"] == 3
    assert set(receipt["timings_s"]) == {"wait", "plan", "transfer", "publish", "total"}


def test_manifest_and_receipt_can_be_turned_off(world: World) -> None:
    world.wrote({"n": "1"})
    world.publish({"n": INTEGER}, write_manifest=False, write_receipt=False)
    assert set(world.objects(world.meta)) == {"outputs.pb"}


def test_nothing_but_a_verified_manifest_can_be_published(world: World) -> None:
    from copilot.engine.verify import Manifest  # noqa: PLC0415 — to show that nobody else can make one

    world.wrote({"n": "1"})
    plan = plan_outputs(world.out, {"n": INTEGER}, OutputTarget(world.raw, world.meta))
    with pytest.raises(InternalError):
        publish(Manifest(0, 0, ""), plan, transfer=world.transfer, clock=world.clock, cancel=Token(world.clock))
    assert world.objects(world.meta) == {}


def test_the_manifest_spool_leaves_no_file_behind(world: World, tmp_path: Path) -> None:
    world.wrote({"n": "1"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    world.publish({"n": INTEGER}, scratch=scratch)
    assert list(scratch.iterdir()) == []
    with pytest.raises(UnreadableOutput), ManifestSpool("memory://x", directory=scratch):
        raise UnreadableOutput("something else")
    assert list(scratch.iterdir()) == []


def test_a_file_that_changes_once_while_it_moves_is_sent_again(world: World) -> None:
    world.wrote({"f": "before"})
    changes = iter([lambda spec: spec.path.write_text("after, and longer")])

    def change(spec: SendSpec) -> None:
        next(changes, lambda _: None)(spec)

    world.publish({"f": FILE}, transfer=Recorded(world.transfer, before_send=change))
    assert world.objects(world.raw) == {"f": b"after, and longer"}
    assert world.document("_manifest.json")["totals"] == {"objects": 1, "size_bytes": 17}


def test_a_file_that_keeps_changing_is_an_error_and_nothing_is_published(world: World) -> None:
    world.wrote({"f": "1"})
    count = iter(range(100))

    def change(spec: SendSpec) -> None:
        spec.path.write_text("x" * next(count))

    with pytest.raises(UnreadableOutput, match="changed while it was read, and again"):
        world.publish({"f": FILE}, transfer=Recorded(world.transfer, before_send=change))
    assert "outputs.pb" not in world.objects(world.meta)


def test_the_first_witness_ends_the_wait_and_the_others_are_told_to_stop(world: World) -> None:
    world.wrote({"n": "1"})
    waiting = Waits()
    done = world.publish({"n": INTEGER}, watchers=[waiting, Says(Witness.WRAPPER, Saw.EXITED, 0)])
    assert done.verdict is not None
    assert done.verdict.row == "exited-0-before-the-pod-ended"
    assert waiting.stopped.wait(5)


@pytest.mark.parametrize(
    ("watcher", "error"),
    [
        (Says(Witness.WRAPPER, Saw.EXITED, 3), TaskFailed),
        (Says(Witness.POD, Saw.EVICTED, pod="p"), TaskEvicted),
        (Says(Witness.SIGNAL, Saw.SIGTERM), CompletionUnproven),
    ],
)
def test_what_is_not_proven_is_not_published(world: World, watcher: Says, error: type[Exception]) -> None:
    world.wrote({"n": "1", "f": "x"})
    with pytest.raises(error):
        world.publish({"n": INTEGER, "f": FILE}, watchers=[watcher])
    assert set(world.objects(world.meta)) == {"_receipt.json", "partial/_receipt.json", "partial/f", "partial/n"}
    assert world.objects(world.raw) == {}


def test_a_trusted_signal_publishes_unless_the_task_says_it_failed(world: World) -> None:
    world.wrote({"n": "1"})
    world.publish({"n": INTEGER}, watchers=[Says(Witness.SIGNAL, Saw.SIGTERM)], trust_signal=True)
    assert "outputs.pb" in world.objects(world.meta)
    world.wrote({"_ERROR": "no"})
    with pytest.raises(TaskFailed, match="no"):
        world.publish({"n": INTEGER}, watchers=[Says(Witness.SIGNAL, Saw.SIGTERM)], trust_signal=True)


def test_a_success_marker_proves_what_a_signal_does_not(world: World) -> None:
    world.wrote({"n": "1", "_SUCCESS": ""})
    done = world.publish({"n": INTEGER}, watchers=[Says(Witness.SIGNAL, Saw.SIGTERM)])
    assert done.verdict is not None
    assert done.verdict.row == "success-marker"
    assert world.document("_receipt.json")["verdict"]["witnesses"] == ["signal", "marker"]


def test_a_watcher_that_fails_is_not_the_end_while_another_watches(world: World) -> None:
    world.wrote({"n": "1"})
    world.publish({"n": INTEGER}, watchers=[Says(Witness.WRAPPER, Saw.EXITED, 0), Fails()])
    with pytest.raises(Unreachable):
        world.publish({"n": INTEGER}, watchers=[Fails()])


def test_who_might_have_known_of_an_unproven_end_is_named_with_the_cure(world: World) -> None:
    world.wrote({"n": "1"})

    class Refused:
        witness = Witness.POD

        def may_speak(self) -> bool:
            return True

        def hurry(self) -> None:
            """It is quick anyway."""

        def wait(self, cancel: CancelToken) -> Completion | None:
            del cancel
            raise PodRefused("we may not read our own pod", hint="Grant it.")

    with pytest.raises(CompletionUnproven, match="it does not say why; we may not read our own pod") as caught:
        world.publish({"n": INTEGER}, watchers=[Says(Witness.SIGNAL, Saw.SIGTERM), Refused()])
    assert caught.value.hint == "Grant it."


def test_being_told_to_stop_while_waiting_is_an_interruption_without_a_receipt(world: World) -> None:
    world.wrote({"n": "1"})
    token = Token(world.clock)
    waiting = Waits()

    def stop_once_asked() -> None:
        assert waiting.asked.wait(5)
        token.cancel("enough")

    stopper = threading.Thread(target=stop_once_asked)
    stopper.start()
    with pytest.raises(Cancelled):
        world.publish({"n": INTEGER}, watchers=[waiting], cancel=token)
    stopper.join()
    assert world.objects(world.meta) == {}


def test_the_timeout_runs_from_the_tasks_end(world: World) -> None:
    world.wrote({"f": "x"})
    with pytest.raises(DeadlineExceeded, match="--timeout"):
        world.publish({"f": FILE}, timeout_s=0.0)
    assert world.objects(world.meta) == {}


def test_a_refusal_of_the_store_leaves_a_receipt_with_the_reason(world: World) -> None:
    world.wrote({"f": "x"})

    class Denies(Recorded):
        def send(self, specs: Iterable[SendSpec], cancel: CancelToken, *, sent: SentFiles | None = None) -> Iterator[Receipt]:
            del specs, cancel, sent
            raise AccessDenied("the store says no")

    with pytest.raises(AccessDenied):
        world.publish({"f": FILE}, transfer=Denies(world.transfer))
    assert world.document("_receipt.json")["failure"]["reason"] == "AccessDenied"


def test_who_is_told_to_give_up_while_the_commit_is_on_its_way_waits_for_its_answer(world: World) -> None:
    world.wrote({"n": "1"})
    stores, cancel = ScriptedStores(world.stores, world.meta), Token(world.clock, timeout_s=60)

    def on_put(key: str, _number: int) -> None:
        if key.endswith("outputs.pb"):
            cancel.cancel("told to give up")
            time.sleep(0.5)  # the engine looks ten times a second

    stores.store.on_put = on_put
    transfer = Transfer(stores, limits=Limits(max_workers=4), clock=world.clock, log=world.log, progress=world.progress)
    world.publish({"n": INTEGER}, transfer=transfer, cancel=cancel)
    assert "outputs.pb" in world.objects(world.meta)


def test_who_is_told_to_give_up_before_the_commit_publishes_nothing(world: World) -> None:
    world.wrote({"n": "1"})
    stores, cancel = ScriptedStores(world.stores, world.meta), Token(world.clock, timeout_s=60)
    stores.store.after_put = lambda _key, _number: cancel.cancel("told to give up")
    transfer = Transfer(stores, limits=Limits(max_workers=4), clock=world.clock, log=world.log, progress=world.progress)
    with pytest.raises(Cancelled):
        world.publish({"n": INTEGER}, transfer=transfer, cancel=cancel)
    assert set(world.objects(world.meta)) == {"_manifest.json"}


def test_a_receipt_that_cannot_be_written_does_not_undo_the_publication(world: World) -> None:
    world.wrote({"n": "1"})

    class NoReceipt(Recorded):
        def write(self, uri: str, data: bytes, cancel: CancelToken, *, if_absent: bool = False) -> Receipt:
            if uri.endswith("_receipt.json"):
                raise AccessDenied("the store says no")
            return super().write(uri, data, cancel, if_absent=if_absent)

    world.publish({"n": INTEGER}, transfer=NoReceipt(world.transfer))
    assert "outputs.pb" in world.objects(world.meta)
    assert world.log.named("receipt.failed")[0].fields["reason"] == "AccessDenied"


def test_the_start_watcher_is_waited_for_first(world: World) -> None:
    world.wrote({"n": "1"})
    with pytest.raises(DeadlineExceeded, match="did not start within --start-timeout"):
        world.publish({"n": INTEGER}, start=Waits(), start_timeout_s=0.05)
    world.publish({"n": INTEGER}, start=Says(Witness.NOOP, Saw.TOLD), start_timeout_s=5)
    assert "outputs.pb" in world.objects(world.meta)


def test_what_a_failed_task_left_takes_no_more_than_the_grace_period(world: World) -> None:
    world.wrote({"f": "x"})

    class Stuck(Recorded):
        def send(self, specs: Iterable[SendSpec], cancel: CancelToken, *, sent: SentFiles | None = None) -> Iterator[Receipt]:
            del specs, sent
            assert (cancel.remaining_s() or 0) <= 0.2
            while not cancel.wait(0.01):
                pass
            cancel.check()
            yield from ()

    failed = [Says(Witness.WRAPPER, Saw.EXITED, 3)]
    engine = Stuck(world.transfer)
    with pytest.raises(TaskFailed):
        world.publish({"f": FILE}, transfer=engine, watchers=failed, cancel=Token(world.clock, timeout_s=0.2))
    assert world.log.named("partial.failed")[0].fields["reason"] == "DeadlineExceeded"
    assert world.document("_receipt.json")["partial"]["complete"] is False
    assert engine.order == [f"{world.meta}/_receipt.json"] * 2

"""What a file system can do that a bucket cannot."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from copilot.core.errors import BadStoreRequest, LocalIOError, UnsafePath
from copilot.stores.local import LocalStore
from copilot.stores.registry import open_stores
from copilot.stores.sources import BytesSource
from copilot.testing.store_contract import BrokenSource, read


@pytest.mark.parametrize("key", ["../x", "a/../../x", "..", "a/..", "x\0y"])
def test_no_key_leads_out_of_the_root(tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_text("outside")
    store = LocalStore(str(tmp_path / "root"))
    for ask in (
        lambda: store.head(key),
        lambda: read(store, key),
        lambda: store.put(key, BytesSource(b"y")),
        lambda: list(store.list(key)),
    ):
        with pytest.raises(UnsafePath):
            ask()
    assert (tmp_path / "x").read_text() == "outside"


def test_a_plain_path_and_a_file_uri_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a%20b#c").write_text("x")
    monkeypatch.chdir(tmp_path)
    stores = open_stores()
    for uri in (f"{tmp_path}/a%20b#c", f"file://{tmp_path}/a%20b#c", "a%20b#c", "./d/../a%20b#c"):
        at = stores.locate(uri)
        assert read(at.store, at.key) == b"x"
        assert at.store.capabilities.local


def test_a_directory_keeps_its_slash(tmp_path: Path) -> None:
    at = open_stores().locate(f"{tmp_path}/empty/")
    at.store.put(at.key, BytesSource(b""))
    assert (tmp_path / "empty").is_dir()
    assert [info.key for info in at.store.list(at.key)] == [at.key]


def test_a_file_in_the_way_of_a_directory_and_the_reverse(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.put("f", BytesSource(b"x"))
    store.put("d/x", BytesSource(b"x"))
    with pytest.raises(BadStoreRequest):
        read(store, "d")
    for key in ("f/below", "f/far/below"):
        with pytest.raises(LocalIOError, match=f"{key} cannot be written: (Not a directory|File exists)"):
            store.put(key, BytesSource(b"x"))
    with pytest.raises(BadStoreRequest):
        store.put("d", BytesSource(b"x"))
    assert read(store, "f") == b"x"
    assert [path.name for path in tmp_path.rglob(".copilot-part-*")] == []


def test_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    store = LocalStore(str(tmp_path))
    with pytest.raises(BadStoreRequest):
        read(store, "pipe")
    assert list(store.list("")) == []


def test_a_write_the_system_ends_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from copilot.core.errors import CopilotError\n"
        "from copilot.stores.local import LocalStore\n"
        "from copilot.stores.sources import BytesSource\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        f"    LocalStore({str(tmp_path)!r}).put('d/a', BytesSource(b'x' * 5000))\n"
        "except CopilotError as error:\n"
        "    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == LocalIOError.__name__, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grows_while_it_is_sent_is_not_published(tmp_path: Path) -> None:
    class Growing(BrokenSource):
        def read(self, start: int, end: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the port's own signature
            del start
            yield b"x" * (end + 1)

    store = LocalStore(str(tmp_path))
    with pytest.raises(LocalIOError, match="changed"):
        store.put("a", Growing(10, 10))
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_directory_is_not_followed_and_a_link_to_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("x")
    (tmp_path / "root" / "link").symlink_to("file")
    (tmp_path / "root" / "loop").symlink_to(".")
    (tmp_path / "root" / "dangling").symlink_to("nowhere")
    store = LocalStore(str(tmp_path / "root"))
    assert sorted(info.key for info in store.list("")) == ["file", "link"]


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a", BytesSource(b"x" * 3_000_000))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        read(store, "a")
        with store.get("a") as stream:
            next(iter(stream))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before < soft


def test_opening_local_files_imports_no_cloud() -> None:
    code = (
        "import sys\n"
        "from copilot.stores.registry import open_stores\n"
        "at = open_stores().locate('/etc/hostname'); at.store.head(at.key)\n"
        "open_stores().locate('memory://b/k')\n"
        "heavy = {'obstore', 'urllib3', 'fsspec', 'asyncio', 'boto3', 'redis', 'ssl'}\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_opening_a_bucket_imports_obstore_and_little_else() -> None:
    code = (
        "import sys\n"
        "from copilot.stores.registry import open_stores\n"
        "from copilot.stores.settings import S3Settings, StoreSettings\n"
        "open_stores(StoreSettings(s3=S3Settings(anonymous=True))).locate('s3://b/k')\n"
        "heavy = {'urllib3', 'fsspec', 'asyncio', 'boto3', 'ssl'}\n"
        "print(len(sys.modules), sorted({m.partition('.')[0] for m in sys.modules} & heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    count, _, heavy = done.stdout.strip().partition(" ")
    assert heavy == "[]"
    assert int(count) < 200

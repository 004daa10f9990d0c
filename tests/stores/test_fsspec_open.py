"""Which class of fsspec carries a scheme."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.ftp import FTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from copilot.core.errors import MissingExtra, Unreachable
from copilot.stores.registry import open_stores
from copilot.stores.settings import FsspecSettings, StoreSettings
from copilot.testing.servers.process import LOOPBACK, free_ports

REGISTERED_BY_OTHERS = """
from obstore.fsspec import register
register("s3")
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
store = open_stores(StoreSettings(engine="fsspec")).locate("s3://bucket/key").store
print(type(store._fs).__module__)
"""


def test_the_fsspec_engine_is_s3fs_whatever_else_was_registered_in_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", REGISTERED_BY_OTHERS], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "s3fs.core"


class OfHosts(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """Like ftp and sftp: does not open without a host, connects at once."""

    protocol = "of-hosts"
    opened: list[dict[str, Any]] = []  # noqa: RUF012 - one for all, for the test
    _get_kwargs_from_urls = staticmethod(FTPFileSystem._get_kwargs_from_urls)

    def __init__(self, host: str, port: int = 0, username: str = "", password: str = "", **more: object) -> None:
        super().__init__(**more)
        if host == "away":
            raise ConnectionRefusedError(111, "Connection refused")
        self.opened.append({"host": host, "port": port, "username": username, "password": password})


@pytest.fixture
def of_hosts() -> Iterator[list[dict[str, Any]]]:
    fsspec.register_implementation("of-hosts", OfHosts, clobber=True)
    OfHosts.opened.clear()
    yield OfHosts.opened
    OfHosts.opened.clear()


def test_a_file_system_of_hosts_opens_with_a_user_and_without_one(of_hosts: list[dict[str, Any]]) -> None:
    for uri in ("of-hosts://h/x", "of-hosts://h:2121/x", "of-hosts://u:p%40@h:21/x"):
        open_stores().locate(uri)
    settings = StoreSettings(schemes={"of-hosts": FsspecSettings(options={"username": "v"})})
    open_stores(settings).locate("of-hosts://h/x")
    found = [tuple(one.values()) for one in of_hosts]
    assert found == [("h", 0, "", ""), ("h", 2121, "", ""), ("h", 21, "u", "p@"), ("h", 0, "v", "")]


def test_a_file_system_that_cannot_connect_is_unreachable(of_hosts: list[dict[str, Any]]) -> None:
    del of_hosts
    with pytest.raises(Unreachable) as caught:
        open_stores().locate("of-hosts://u:hunter2@away/x")
    assert "of-hosts://away" in caught.value.sentence()
    assert "hunter2" not in caught.value.sentence()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec's ftp closes what it never opened
def test_an_ftp_server_that_is_away_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        open_stores().locate(f"ftp://{LOOPBACK}:{free_ports(1)[0]}/x")


def test_a_package_that_fsspec_misses_is_named() -> None:
    with pytest.raises(MissingExtra, match="pyarrow") as caught:
        open_stores().locate("hdfs://h/x")
    assert "the package that has pyarrow" in caught.value.hint

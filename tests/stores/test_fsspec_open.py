"""Which class of fsspec carries a scheme."""

from __future__ import annotations

import subprocess
import sys

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

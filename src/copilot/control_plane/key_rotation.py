"""All secrets under a new key, beside running servers: whoever is interrupted begins again where it was.

The new key is put before the old ones, so that everybody encrypts with it from then on and still reads what is under an old
one. Then the secrets are encrypted anew, some at a time, each of them wholly or not at all. An old key goes when nothing is
under it any more, in a moment in which nobody writes a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from copilot.control_plane.keys import KeyFile, fresh_key, key_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.control_plane.db.database import Database
    from copilot.control_plane.vault import Vault

BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done.

    Attributes:
        key: the name of the key that everything is under now.
        secrets: how many were encrypted anew.
        forgotten: the names of the keys that went.
        resumed: an earlier rotation was brought to its end, and no new key made.
    """

    key: str
    secrets: int
    forgotten: tuple[str, ...] = ()
    resumed: bool = False


def rotate(database: Database, vault: Vault, *, on_batch: Callable[[int], None] = lambda _: None) -> Rotated:
    """Everything under a fresh key, or, where keys are given by the environment, under the first of them.

    Args:
        database: where the secrets are.
        vault: with the keys.
        on_batch: hears how many were encrypted anew so far.

    Raises:
        SecretCorrupt: a secret is under a key that is not there; the others may have been encrypted anew by then.
        LocalIOError: the file with the keys cannot be written.
        DatabaseUnavailable: begin again; nothing is lost.
    """
    keys = vault.keys
    resumed = False
    if isinstance(keys, KeyFile):
        with keys.changing():
            old = keys.read()
            stale = set(database.read_now(vault.under)) - {key_id(old[0])}
            resumed = bool(stale) and len(old) > 1
            if not resumed:
                keys.write([fresh_key(), *old])
    done = _seal_all(database, vault, 0, on_batch)
    forgotten: tuple[str, ...] = ()
    if isinstance(keys, KeyFile):
        with keys.changing():
            # Somebody may have read the keys before ours was among them, and written since.
            done = _seal_all(database, vault, done, on_batch)
            first, *others = keys.read()
            keys.write([first])
            forgotten = tuple(key_id(key) for key in others)
    return Rotated(key_id(keys.read()[0]), done, forgotten, resumed)


def _seal_all(database: Database, vault: Vault, done: int, on_batch: Callable[[int], None]) -> int:
    while True:
        count = database.write_now(lambda unit: vault.rotate(unit, most=BATCH))
        if not count:
            return done
        done += count
        on_batch(done)

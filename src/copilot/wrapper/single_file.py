"""``copilot install --single-file``: one file that a Dockerfile can ``COPY`` and any shell can start.

A POSIX shell script with an archive at its end. The first start unpacks it beside other temporary files, under a name made from
its content and the user, by one rename; every further start only looks whether it is there. A directory that is named for it
(``COPILOT_UNPACK_DIR``) is trusted as it is: an image can be built with the tree in it, made by another user. The image needs
``sh``, ``tail``, ``tar`` and ``gzip`` (busybox has them); one without them takes the directory instead.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from copilot.wrapper.install import LAUNCHER, Installed, install
from copilot.wrapper.whole import MAIN, build_whole

_SCRIPT: Final = """#!/bin/sh
# @WHAT@. What follows the last line of this script is a tar.gz archive.
if [ -n "$COPILOT_UNPACK_DIR" ]; then
  b=$COPILOT_UNPACK_DIR d=$COPILOT_UNPACK_DIR/copilot-@DIGEST@ m=022 own=yes
else
  u=$(id -u) || exit 1
  b=${TMPDIR:-/tmp} m=077 own=
  d=$b/copilot-@DIGEST@-$u
fi
if [ ! -d "$d" ]; then
  p=$d.$$
  (umask $m && mkdir "$p") || { echo "copilot: $b cannot be written: set COPILOT_UNPACK_DIR to one that can." >&2; exit 1; }
  tail -n +@LINE@ "$0" | tar -xzf - -C "$p" || { rm -rf "$p"; echo "copilot: $0 cannot be unpacked into $b." >&2; exit 1; }
  if [ -d "$d" ]; then rm -rf "$p"; else mv "$p" "$d"; fi
fi
[ -n "$own" ] || [ -O "$d" ] ||
  { echo "copilot: $d is somebody else's: set COPILOT_UNPACK_DIR to a directory of your own." >&2; exit 1; }
exec "$d/lib/@LOADER@" --library-path "$d/lib" "$d/bin/python3" -I -S -B "$d/@MAIN@" @NAME@"$@"
"""


def write_single_file(
    path: Path, *, python: str = sys.executable, only_exec: bool = False, extras: Iterable[str] = ()
) -> Installed:
    """Writes the file at ``path``, by a rename; the same content gives the same file.

    Args:
        path: where to.
        python: the interpreter to put in.
        only_exec: ``exec`` and ``probe`` alone, in a quarter of the size; else all of the data plane.
        extras: further extras of Copilot to put in, which must be installed.

    Raises:
        InstallError: the interpreter cannot be copied, or an extra is not installed.
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="copilot-single-") as temporary:
        root = Path(temporary) / "root"
        if only_exec:
            loader, main, name = Path(install(root, python=python).argv[0]).name, LAUNCHER, ""
        else:
            loader, main, name = build_whole(root, python=python, extras=extras), MAIN, '"$0" '
        archive = _archive(root)
    script = _SCRIPT.replace("@DIGEST@", hashlib.sha256(archive).hexdigest()[:16]).replace("@LOADER@", loader)
    script = script.replace("@WHAT@", "copilot exec and copilot probe" if only_exec else "copilot")
    script = script.replace("@MAIN@", main).replace("@NAME@", name)
    script = script.replace("@LINE@", str(script.count("\n") + 1))
    content = script.encode() + archive
    changed = not path.is_file() or path.read_bytes() != content
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.chmod(0o755)
        part.rename(path)
    return Installed((str(path.absolute()),), len(content), 1, changed)


def _archive(root: Path) -> bytes:
    """Everything the start needs, without times and owners."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(root.iterdir()):
            if path.name not in _NOT_NEEDED:
                tar.add(path, path.name, filter=plain)
    return gzip.compress(packed.getvalue(), compresslevel=6, mtime=0)


#: What the directory form has beside that: its stamp, and the script that starts it from there.
_NOT_NEEDED: Final = frozenset({"installed.json", "copilot"})

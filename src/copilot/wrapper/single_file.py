"""``copilot install --single-file``: one file that a Dockerfile can ``COPY`` and any shell can start.

A POSIX shell script with an archive at its end. The first start unpacks it beside other temporary files, under a name made from
its content and the user, by one rename; every further start only looks whether it is there. The image needs ``sh``, ``tail``,
``tar`` and ``gzip`` (busybox has them); one without them takes the directory instead.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from copilot.wrapper.install import Installed, install

_SCRIPT: Final = """#!/bin/sh
# copilot exec and copilot probe. What follows the last line of this script is a tar.gz archive.
u=$(id -u) || exit 1
b=${COPILOT_UNPACK_DIR:-${TMPDIR:-/tmp}}
d=$b/copilot-@DIGEST@-$u
if [ ! -d "$d" ]; then
  p=$d.$$
  (umask 077 && mkdir "$p") || { echo "copilot: $b cannot be written: set COPILOT_UNPACK_DIR to one that can." >&2; exit 1; }
  tail -n +@LINE@ "$0" | tar -xzf - -C "$p" || { rm -rf "$p"; echo "copilot: $0 cannot be unpacked into $b." >&2; exit 1; }
  if [ -d "$d" ]; then rm -rf "$p"; else mv "$p" "$d"; fi
fi
[ -O "$d" ] || { echo "copilot: $d is somebody else's: set COPILOT_UNPACK_DIR to a directory of your own." >&2; exit 1; }
exec "$d/lib/@LOADER@" --library-path "$d/lib" "$d/bin/python3" -I -S -B "$d/wrapper.py" "$@"
"""


def write_single_file(path: Path, *, python: str = sys.executable) -> Installed:
    """Writes the file at ``path``, by a rename; the same content gives the same file.

    Raises:
        InstallError: the interpreter cannot be copied.
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="copilot-single-") as temporary:
        root = Path(temporary) / "root"
        made = install(root, python=python)
        archive = _archive(root)
        loader = Path(made.argv[0]).name
    script = _SCRIPT.replace("@DIGEST@", hashlib.sha256(archive).hexdigest()[:16]).replace("@LOADER@", loader)
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
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("bin", "lib", "wrapper.py"):
            tar.add(root / name, name, filter=plain)
    return gzip.compress(packed.getvalue(), compresslevel=9, mtime=0)

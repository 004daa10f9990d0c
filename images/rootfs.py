# ruff: noqa: INP001 - a script, no package
"""The root file system of the small image: an interpreter, the libraries it needs, the packages, and nothing else.

Run in the build stage, where the packages are installed: ``python3 rootfs.py ROOT SITE_PACKAGES``. Paths stay what they are, so
that the interpreter's own loader finds everything; there is no shell, no package manager, and no second program.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

#: Of the standard library, what no program of ours imports.
UNUSED = {
    "test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "pydoc_data", "distutils", "venv",
    "site-packages", "dist-packages", "__pycache__", "LICENSE.txt", "EXTERNALLY-MANAGED",
}  # fmt: skip
USERS = "root:x:0:0:root:/root:/sbin/nologin\ncopilot:x:65532:65532:copilot:/tmp:/sbin/nologin\n"
GROUPS = "root:x:0:\ncopilot:x:65532:\n"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = Path("/opt/copilot")
# -S: there is nothing to look for but what stands in the second line.
START = """#!{python} -ISB
import sys
sys.path.append("{packages}")
from copilot.__main__ import entry_point
entry_point()
"""


def libraries(file: Path) -> list[Path]:
    """The loader and every library that ``file`` needs, as the loader itself finds them."""
    done = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)  # noqa: S607 - the base's own
    paths = (word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/"))
    return [Path(path) for path in paths]


def copy(source: Path, root: Path) -> None:
    """``source`` at its own path below ``root``, with the links that lead to it resolved."""
    target = root / source.relative_to("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=True)


def main(root: Path, packages: Path) -> None:
    """Makes ``root``."""
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    copy(python, root)
    place = root / standard.relative_to("/")
    shutil.copytree(standard, place, ignore=lambda _, names: UNUSED.intersection(names), dirs_exist_ok=True)
    ours = root / PACKAGES.relative_to("/")
    shutil.copytree(packages, ours, ignore=shutil.ignore_patterns("*.pyi", "bin", "tests"), dirs_exist_ok=True)
    for found in [python, *place.rglob("*.so"), *ours.rglob("*.so"), *ours.rglob("*.so.*")]:
        for library in libraries(found):
            if not library.is_relative_to(root):
                copy(library, root)
    if Path(CERTIFICATES).exists():
        copy(Path(CERTIFICATES), root)
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(USERS)
    (etc / "group").write_text(GROUPS)
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    for name, mode in (("tmp", 0o1777), ("root", 0o700), ("proc", 0o555), ("dev", 0o755), ("var/run", 0o755)):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    programs = root / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("copilot", "flyte-copilot"):
        program = programs / name
        program.write_text(START.format(python=python, packages=PACKAGES))
        program.chmod(0o755)
    # Nothing can be written there later: the source's time does not matter, and a pod starts without compiling.
    for compiled in (place, ours):
        compileall.compile_dir(
            str(compiled),
            quiet=2,
            workers=os.cpu_count() or 1,
            stripdir=str(root),
            prependdir="/",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""``copilot install``: everything that ``copilot exec`` needs, in one directory that any image can run from.

The user's image may have no Python, no shell and another C library, or nothing at all: so the directory holds the interpreter,
its ELF loader, every shared library these two and their extension modules need, and the few modules that are loaded, compiled.
The loader is started by its path with the directory as its only library path; nothing of the image is looked at.
"""

from __future__ import annotations

import ast
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LAUNCHER: Final = "wrapper.py"
STAMP: Final = "installed.json"
#: A link to the ELF loader: so the same command starts the wrapper on every architecture.
LOADER: Final = "ld.so"
_SCRIPT: Final = "copilot"

#: Prints, as a literal, every file that the wrapper's modules were loaded from. What it imports lazily is imported here.
_TRACE: Final = """
import sys
sys.path.insert(0, sys.argv[1])
import copilot.wrapper.run, copilot.wrapper.probe, copilot.core.secret_mask, importlib, json, threading, select
import encodings.utf_8, encodings.ascii, encodings.latin_1
found = {}
for name, module in sys.modules.items():
    file = getattr(module, "__file__", None)
    if file is None and getattr(getattr(module, "__spec__", None), "origin", None) == "frozen":
        file = getattr(getattr(module.__spec__, "loader_state", None), "filename", None)
    if file and name != "__main__":
        found[name] = [file, hasattr(module, "__path__")]
print(repr(found))
"""

_LAUNCHER_TEXT: Final = """import os, sys
name = sys.argv[1] if len(sys.argv) > 1 else ""
if name == "exec":
    from copilot.wrapper import run as command
elif name == "probe":
    from copilot.wrapper import probe as command
else:
    os.write(2, b"copilot: only exec and probe are installed here.\\n")
    os._exit(2)
sys.exit(command.main(sys.argv[2:], dict(os.environ)))
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """What there is now.

    Attributes:
        argv: what stands before ``exec -- COMMAND``.
        size_bytes: of all files.
        files: their number.
        changed: whether anything was written.
    """

    argv: tuple[str, ...]
    size_bytes: int
    files: int
    changed: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is copied: modules are a file each, and whether they are packages."""

    binary: Path
    modules: dict[str, tuple[str, bool]]
    loader: Path
    libraries: dict[str, Path]


class InstallError(Exception):
    """A sentence about why it cannot be done."""


def install(directory: Path, *, mounted_at: str = "", python: str = sys.executable) -> Installed:
    """Fills ``directory``; does nothing where this very version is there already.

    The files are made beside it and take their place by one rename a top-level entry, the stamp last.

    Args:
        directory: where to; made if it is not there.
        mounted_at: the path under which the task's container sees it; the directory's own if empty.
        python: the interpreter to copy.

    Raises:
        InstallError: the interpreter cannot be copied.
        OSError: the directory cannot be written.
    """
    seen_at = mounted_at.rstrip("/") or str(directory.absolute())
    directory.mkdir(parents=True, exist_ok=True)
    binary = Path(python).resolve(strict=True)
    modules = _modules(binary)
    if any(file.endswith(".pyc") for file, _ in modules.values()):
        raise InstallError("this copilot is a single file, or was made from one, and has no sources to install from")
    files = {Path(file) for file, _ in modules.values()}
    parts = _Parts(binary, modules, *elf_closure([binary, *(file for file in files if file.suffix == ".so")]))
    every = sorted({*files, parts.binary, parts.loader, *parts.libraries.values()})
    want: dict[str, object] = {str(file): _shape(file) for file in every}
    want["launcher"] = [len(_LAUNCHER_TEXT), seen_at, LOADER]
    argv = _argv(seen_at)
    stamp = directory / STAMP
    changed = not (stamp.exists() and json.loads(stamp.read_text()) == want)
    if changed:
        with tempfile.TemporaryDirectory(prefix=".copilot-", dir=directory) as temporary:
            _build(Path(temporary), parts, argv)
            _swap(Path(temporary), directory)
        part = directory / f".{STAMP}"
        part.write_text(json.dumps(want))
        part.rename(stamp)
    found = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return Installed(argv, sum(path.stat().st_size for path in found), len(found), changed)


def _argv(seen_at: str) -> tuple[str, ...]:
    # -I and -S: neither the image's variables nor its site packages are looked at; -B: nothing is written.
    flags = ("-I", "-S", "-B")
    return (
        f"{seen_at}/lib/{LOADER}",
        "--library-path",
        f"{seen_at}/lib",
        f"{seen_at}/bin/python3",
        *flags,
        f"{seen_at}/{LAUNCHER}",
    )


def _modules(binary: Path) -> dict[str, tuple[str, bool]]:
    """Module name → its file, and whether it is a package."""
    source = str(Path(__file__).parents[2])
    done = subprocess.run(
        [str(binary), "-I", "-S", "-c", _TRACE, source], capture_output=True, text=True, check=False, env={"PATH": os.defpath}
    )
    if done.returncode != 0:
        raise InstallError(f"{binary} cannot load copilot.wrapper: {done.stderr.strip().rpartition(chr(10))[2]}")
    return {name: (file, package) for name, (file, package) in ast.literal_eval(done.stdout).items()}


def elf_closure(binaries: list[Path]) -> tuple[Path, dict[str, Path]]:
    """The ELF loader of the first, and every library that any of them needs, by the name it is asked for."""
    loader = _interpreter(binaries[0])
    libraries: dict[str, Path] = {}
    for binary in binaries:
        done = subprocess.run([str(loader), "--list", str(binary)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InstallError(f"{loader} cannot tell what {binary} needs: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow and path.startswith("/") and "/" not in name:
                libraries[name] = Path(path.rpartition(" (")[0])
    return loader, libraries


def _interpreter(binary: Path) -> Path:
    """``PT_INTERP`` of a 64-bit ELF file. Source: elf(5)."""
    content = binary.read_bytes()
    if content[:5] != b"\x7fELF\x02":
        raise InstallError(f"{binary} is no 64-bit ELF executable")
    order = "little" if content[5] == 1 else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], order)  # type: ignore[arg-type]  # one of the two literals

    table, size, count = number(0x20, 8), number(0x36, 2), number(0x38, 2)
    for index in range(count):
        entry = table + index * size
        if number(entry, 4) == _PT_INTERP:
            start, length = number(entry + 8, 8), number(entry + 32, 8)
            return Path(content[start : start + length].rstrip(b"\0").decode()).resolve(strict=True)
    raise InstallError(f"{binary} is linked statically: it has no loader to copy")


_PT_INTERP: Final = 3


def _build(root: Path, parts: _Parts, argv: tuple[str, ...]) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    standard = root / "lib" / version
    dynamic = standard / "lib-dynload"
    for made in (root / "bin", dynamic):
        made.mkdir(parents=True)
    _copy(parts.binary, root / "bin" / "python3", 0o755)
    _copy(parts.loader, root / "lib" / parts.loader.name, 0o755)
    (root / "lib" / LOADER).symlink_to(parts.loader.name)
    for name, path in parts.libraries.items():
        if name != parts.loader.name:
            _copy(path, root / "lib" / name, 0o755)
    for name, (file, package) in parts.modules.items():
        if file.endswith(".so"):
            _copy(Path(file), dynamic / Path(file).name, 0o755)
            continue
        relative = name.replace(".", "/") + ("/__init__.pyc" if package else ".pyc")
        target = standard / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(
            file, str(target), dfile=relative, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    # By this file the interpreter knows where its library is.
    (standard / "os.py").touch()
    (root / LAUNCHER).write_text(_LAUNCHER_TEXT)
    script = root / _SCRIPT
    script.write_text("#!/bin/sh\nexec " + " ".join(map(_quoted, argv)) + ' "$@"\n')
    script.chmod(0o755)


def _copy(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _swap(built: Path, directory: Path) -> None:
    """Each top-level entry takes its place; what was there before goes with the temporary directory."""
    old = built / ".old"
    old.mkdir()
    for entry in sorted(built.iterdir()):
        if entry == old:
            continue
        target = directory / entry.name
        if target.exists():
            target.rename(old / entry.name)
        entry.rename(target)


def _shape(path: Path) -> list[object]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]

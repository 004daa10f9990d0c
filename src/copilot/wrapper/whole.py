"""All of Copilot's data plane as a tree that runs from anywhere: interpreter, libraries, the standard library, packages.

As ``copilot.wrapper.install``, for ``init``, ``sidecar``, ``run`` and all the others too: what ``pip install copilot`` brings,
and such extras as are pure Python and installed, or were asked for. Modules are compiled and come without their sources.
"""

from __future__ import annotations

import importlib.metadata
import os
import py_compile
import re
import shutil
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from copilot.wrapper.install import InstallError, elf_closure

MAIN: Final = "main.py"
CERTIFICATES: Final = "certificates.pem"
#: Extras that need nothing but Python, taken where they are installed.
PURE: Final = ("templates", "vault")
#: What flyteidl2 wants installed for validating on a server, and rich for colouring source code: 20 MB that nobody imports.
_UNUSED_PACKAGES: Final = frozenset(
    {
        "protovalidate", "protobuf-py", "protobuf-py-ext", "protobuf-py-pure", "googleapis-common-protos",
        "protoc-gen-openapiv2", "pygments", "markdown-it-py",
    }
)  # fmt: skip
#: Of the standard library, what no program of ours imports.
_UNUSED: Final = frozenset(
    {
        "test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "pydoc_data", "distutils", "venv",
        "site-packages", "dist-packages", "__pycache__", "curses", "sqlite3", "dbm", "__phello__", "pydoc.py",
    }
)  # fmt: skip
_UNUSED_NATIVE: Final = re.compile(
    r"^(_test|_tkinter|_curses|_sqlite3|_dbm|_gdbm|readline|nis|ossaudiodev|xx|_xx|_ctypes_test)"
)
_OUR_UNUSED: Final = frozenset({"testing", "control_plane"})
_GENERATED: Final = re.compile(r"(_connect|_grpc)\.py$|\.pyi$")
_SYSTEM_CERTIFICATES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

_MAIN_TEXT: Final = """import os, sys
root = os.path.dirname(os.path.abspath(__file__))
sys.path.append(root + "/lib/python%d.%d/site-packages" % sys.version_info[:2])
sys.argv = sys.argv[1:]
bundle = root + "/@CERTIFICATES@"
# The task's own commands get the environment as it is; for ours, an image without authorities is no reason to trust nobody.
if sys.argv[1:2] and sys.argv[1] not in ("exec", "probe", "run") and os.path.exists(bundle):
    if not any(map(os.path.exists, @SYSTEM@)):
        os.environ.setdefault("SSL_CERT_FILE", bundle)
from copilot.__main__ import entry_point
entry_point()
"""


def build_whole(root: Path, *, python: str, extras: Iterable[str] = ()) -> str:
    """Fills the empty directory ``root``, and gives the name of the ELF loader in its ``lib``.

    It is started as ``lib/LOADER --library-path lib bin/python3 -I -S -B main.py NAME ARGUMENTS``.

    Args:
        root: where to.
        python: the interpreter to copy.
        extras: further extras of Copilot, which must be installed.

    Raises:
        InstallError: something is not installed, or the interpreter cannot be copied.
        OSError: the directory cannot be written.
    """
    binary = Path(python).resolve(strict=True)
    version = sysconfig.get_path("stdlib").rpartition("/")[2]
    standard = root / "lib" / version
    packages = standard / "site-packages"
    (root / "bin").mkdir(parents=True)
    natives = [binary]
    _take(Path(sysconfig.get_path("stdlib")), standard, natives)
    for source, target in package_files(extras):
        _one(source, packages / target, natives)
    loader, libraries = elf_closure(natives)
    _copy(binary, root / "bin" / "python3")
    _copy(loader, root / "lib" / loader.name)
    for name, path in libraries.items():
        if name != loader.name:
            _copy(path, root / "lib" / name)
    bundle = next((path for path in map(Path, _SYSTEM_CERTIFICATES) if path.is_file()), None)
    if bundle is not None:
        _copy(bundle, root / CERTIFICATES)
    main = _MAIN_TEXT.replace("@CERTIFICATES@", CERTIFICATES).replace("@SYSTEM@", repr(_SYSTEM_CERTIFICATES))
    (root / MAIN).write_text(main)
    return loader.name


def package_files(extras: Iterable[str] = ()) -> Iterator[tuple[Path, PurePosixPath]]:
    """Every file of the packages: where it is, and its name below ``site-packages``.

    Raises:
        InstallError: a package is not installed.
    """
    ours = Path(__file__).parents[1]
    for path in sorted(ours.rglob("*")):
        inside = path.relative_to(ours)
        if path.is_file() and "__pycache__" not in inside.parts and inside.parts[0] not in _OUR_UNUSED:
            yield path, PurePosixPath("copilot", *inside.parts)
    for distribution in _distributions(frozenset(extras)):
        files = distribution.files
        if files is None:
            raise InstallError(f"the package {distribution.name} has no list of its files: install it with pip or uv")
        for file in sorted(files):
            source = Path(str(file.locate()))
            if file.parts[0] == ".." or "__pycache__" in file.parts or _GENERATED.search(file.name) or not source.is_file():
                continue
            yield source, PurePosixPath(*file.parts)


def _distributions(extras: frozenset[str]) -> list[importlib.metadata.Distribution]:
    """What Copilot needs, and what that needs, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [(name, "copilot", True) for name in _required("copilot", frozenset())]
    for extra in sorted({*PURE, *extras}):
        names = set(_required("copilot", frozenset({extra}))) - set(_required("copilot", frozenset()))
        if extra in extras and not names:
            raise InstallError(f"there is no extra {extra!r} of copilot")
        if extra in extras or all(map(_installed, names)):
            waiting += [(name, f"copilot[{extra}]", True) for name in names]
    while waiting:
        name, wanted_by, needed = waiting.pop()
        if name in found or name in _UNUSED_PACKAGES:
            continue
        if not _installed(name):
            if needed:
                raise InstallError(f"{wanted_by} needs the package {name}, which is not installed here")
            continue
        found[name] = importlib.metadata.distribution(name)
        # A requirement with a condition may be for another platform: then it is not there, and rightly so.
        waiting += [(each, name, False) for each in _required(name, frozenset())]
    return [found[name] for name in sorted(found)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _required(name: str, extras: frozenset[str]) -> Iterator[str]:
    """The names of what a distribution requires. Source: the core metadata's ``Requires-Dist``, PEP 508."""
    for line in importlib.metadata.distribution(name).requires or ():
        named = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", line)
        if named is not None and (extra is None or extra.group(1) in extras):
            yield re.sub(r"[-_.]+", "-", named.group()).lower()


def _take(standard: Path, target: Path, natives: list[Path]) -> None:
    """The standard library."""
    for directory, names, files in os.walk(standard):
        names[:] = sorted(name for name in names if name not in _UNUSED and not name.startswith("config-"))
        for name in sorted(files):
            native = directory.endswith("lib-dynload")
            if name in _UNUSED or (native and _UNUSED_NATIVE.match(name)) or not name.endswith((".py", ".so")):
                continue
            source = Path(directory) / name
            _one(source, target / source.relative_to(standard), natives)


def _one(source: Path, target: Path, natives: list[Path]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".py":
        try:
            py_compile.compile(
                str(source),
                str(target.with_suffix(".pyc")),
                dfile=target.name,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError:
            # A template or a file for another version of Python: whoever has it does not import it.
            _copy(source, target)
        return
    _copy(source, target)
    if source.suffix == ".so" or ".so." in source.name:
        natives.append(source)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) or source.suffix == ".so" else 0o644)

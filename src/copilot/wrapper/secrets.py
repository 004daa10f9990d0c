"""The command's secrets: variables that init left in the control directory, and references that name where a value is.

The first needs the standard library alone. References are resolved by the whole of copilot, which is loaded only when one is
there; where just the wrapper was installed, they are refused with a sentence.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # ``typing`` would cost more than the task's own start
if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT = "environment"
SECRET, FILES = 1, 2
CANNOT_READ = 22
NO_RESOLVER = 24
USAGE_ERROR = 2

_SCHEMES = ("aws://", "azure://", "gcp://", "k8s://", "vault://")
_EXPLICIT = "secret+"
_NOT_A_SECRET = ("k8s://http://", "k8s://https://")
_RESOLVER = "copilot.cli.pods.exec_secrets"


class Refused(Exception):
    """The command must not run.

    Attributes:
        sentence: why; empty where it was told already.
        code: what to end with.
    """

    def __init__(self, sentence: str, code: int) -> None:
        """See the class."""
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Handed:
    """What the command gets.

    Attributes:
        variables: on top of its environment.
        values: to be masked wherever its output is kept.
        files: secret files, whose contents are to be masked as well.
        lent: something is to be given back at the end.
    """

    __slots__ = ("_close", "files", "lent", "values", "variables")

    def __init__(self) -> None:
        """Nothing."""
        self.variables: dict[bytes, bytes] = {}
        self.values: list[bytes] = []
        self.files: list[bytes] = []
        self.lent = False
        self._close: Callable[[], object] = bool

    @property
    def anything(self) -> bool:
        """Whether there are secrets at all."""
        return bool(self.variables or self.files)

    def mask(self) -> list[bytes]:
        """Every value that is known here, files' included; one that cannot be read is not ours to hide."""
        known = list(self.values)
        for path in self.files:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 - pathlib would cost more than the task's own start
                    known.append(file.read())
            except OSError:
                continue
        return known

    def news(self) -> Callable[[], list[bytes]]:
        """Tells, each time it is called, what the secret files hold that were written since the last time."""
        seen: dict[bytes, tuple[int, int]] = {}

        def look() -> list[bytes]:
            found = []
            for path in self.files:
                try:
                    facts = os.stat(path)  # noqa: PTH116 - pathlib would cost more than the task's own start
                    if seen.get(path) == (facts.st_ino, facts.st_mtime_ns):
                        continue
                    with open(path, "rb") as file:  # noqa: PTH123 - as above
                        found.append(file.read())
                except OSError:
                    continue
                seen[path] = (facts.st_ino, facts.st_mtime_ns)
            return found

        return look

    def close(self) -> None:
        """Gives back what was lent."""
        self._close()

    def read(self, directory: str) -> None:
        """Takes what init left in the control directory; where there is nothing, nothing.

        Raises:
            Refused: it is there and cannot be read.
        """
        path = f"{directory}/{ENVIRONMENT}"
        if not directory or not os.access(path, os.F_OK):
            return
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                entries = file.read().split(b"\0")
        except OSError as error:
            raise Refused(
                f"the secrets in {path} cannot be read: {error.strerror}. Give the task's user access with init's "
                "--secrets-env-mode.",
                CANNOT_READ,
            ) from error
        part = 0
        for entry in entries:
            name, _, value = entry.partition(b"=")
            if not entry:
                part += 1  # plain variables, then secret ones, then files
            elif part == FILES:
                self.files.append(entry)
            else:
                self.variables[name] = value
                if part == SECRET:
                    self.values.append(value)

    def resolve(self, environ: dict[str, str], pairs: list[str], stopping: set[signal.Signals]) -> None:
        """Resolves ``NAME=REFERENCE`` pairs and the variables of ``environ`` that are references.

        Raises:
            Refused: one of them cannot be had.
        """
        references = {name: value for name, value in environ.items() if is_reference(value)}
        asked: dict[str, str] = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or not name or not value:
                raise Refused("--env takes NAME=REFERENCE, like DB_PASSWORD=aws://prod/db#password.", USAGE_ERROR)
            if asked.setdefault(name, value) != value:
                raise Refused(f"--env gives {name} twice. Give each secret a name of its own.", USAGE_ERROR)
        references.update(asked)
        if not references:
            return
        import importlib  # noqa: PLC0415 - only a reference pays for it

        try:
            resolver = importlib.import_module(_RESOLVER)
        except ModuleNotFoundError as error:
            raise Refused(
                f"{', '.join(sorted(references))} cannot be resolved: only the wrapper is installed in this image. Let init "
                "deliver it: copilot init --secret NAME=REFERENCE.",
                NO_RESOLVER,
            ) from error
        found = resolver.resolve(references, environ, lambda: max(stopping & signal.sigpending(), default=0))
        if found.exit_code:
            raise Refused("", found.exit_code)
        self.variables.update({os.fsencode(name): os.fsencode(value) for name, value in found.variables.items()})
        self.values.extend(found.known)
        self.lent, self._close = found.lent, found.close


def is_reference(text: str) -> bool:
    """Whether a variable's value names a secret; as ``core.secret_refs.is_ref`` says, without loading it."""
    if text.startswith(_EXPLICIT):
        scheme, follows, _ = text[len(_EXPLICIT) :].partition("://")
        letters = scheme.replace("-", "").replace("_", "")
        return bool(follows) and "a" <= scheme[:1] <= "z" and letters.isascii() and letters.isalnum() and letters.islower()
    return text.startswith(_SCHEMES) and not text.startswith(_NOT_A_SECRET)

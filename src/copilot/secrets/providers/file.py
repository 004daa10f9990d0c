"""Secrets that are files already: ``file:///run/secrets/db[#key]``."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import BadSecretRef, SecretDenied, SecretError, SecretNotFound, SecretTooLarge
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import LastingSecrets, check_options, no_version
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext

LARGEST_BYTES = 16 * 1024 * 1024
"""More than any manager keeps in one secret; a larger file is another file."""


def read_secret_file(path: Path, subject: str) -> bytes:
    """The whole file.

    Raises:
        SecretNotFound: it is not there.
        SecretDenied: it cannot be read by us.
        SecretTooLarge: it is no secret by its size.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise SecretNotFound(
            f"there is no file {path}", op="resolve", subject=subject, hint="Mount it into this container, or correct its path."
        ) from cause
    except PermissionError as cause:
        raise SecretDenied(
            f"the file {path} cannot be read by this user",
            op="resolve",
            subject=subject,
            hint="Look at its mode and its owner.",
        ) from cause
    except OSError as cause:
        raise SecretError(f"the file {path} cannot be read", op="resolve", subject=subject) from cause
    if len(data) > LARGEST_BYTES:
        raise SecretTooLarge(f"the file {path} is longer than {LARGEST_BYTES} bytes", op="resolve", subject=subject)
    return data


class FileSecrets(LastingSecrets):
    """Reads files of this machine. The bytes are the file's, a newline at the end included."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """A file needs nothing of ``context``."""

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """The user this process runs as."""
        cancel.check()
        try:
            return f"user {getpass.getuser()}"
        except (KeyError, OSError):  # a user id without a name is usual in containers
            return "a user without a name"

    def _read(self, ref: SecretRef) -> Payload:
        check_options(ref, ())
        no_version(ref)
        if not ref.name.startswith("/"):
            raise BadSecretRef(
                "a file reference needs an absolute path",
                op="parse",
                subject=describe_ref(ref),
                hint=f"Write file:///{ref.name}.",
            )
        return Payload(raw=read_secret_file(Path(ref.name), describe_ref(ref)))

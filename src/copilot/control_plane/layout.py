"""Where a run's objects lie in the store, and which names its parts may have. Pure.

::

    <base>/uploads/<project>/<domain>/<root>/<file>                          what clients upload: bundles, files
    <base>/uploads/<project>/<domain>/offloaded-inputs/<hash>/inputs.pb      inputs
    <base>/<project>/<domain>/<run>/<action>/inputs.pb                       inputs of a called action (its caller writes them)
    <base>/<project>/<domain>/<run>/<action>/<attempt>/outputs.pb error.pb … what an attempt leaves
    <base>/logs/<project>/<domain>/<run>/<action>/<attempt>.log              its log, once its pod is gone

The layout is ours: clients learn every place from an answer or from their environment.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Final

from copilot.control_plane.errors import InvalidRequest

_RUN_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ACTION_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PROJECT_ID: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
MAX_RUN_NAME: Final = 30
MAX_ACTION_NAME: Final = 30
MAX_PROJECT_ID: Final = 63
_RANDOM_CHARACTERS: Final = 19
_MAX_FILENAME_BYTES: Final = 255
_MAX_ROOT_BYTES: Final = 512
"""With the file's name and what stands before: what every store takes as a key."""


def new_run_name() -> str:
    """A fresh name: ``r`` and 19 letters and digits without vowels."""
    return "r" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))


def check_run_name(name: str) -> None:
    """Raises ``InvalidRequest`` unless ``name`` can be a run's."""
    if len(name) > MAX_RUN_NAME or not _RUN_NAME.fullmatch(name):
        raise InvalidRequest(
            f"invalid run name {name[:80]!r}: at most {MAX_RUN_NAME} lower-case letters or digits or '-', a letter first",
            hint="Choose a name like 'my-run-1', or leave it out.",
        )


def check_action_name(name: str) -> None:
    """Raises ``InvalidRequest`` unless ``name`` can be an action's."""
    if len(name) > MAX_ACTION_NAME or not _ACTION_NAME.fullmatch(name):
        raise InvalidRequest(f"invalid action name {name[:80]!r}: at most {MAX_ACTION_NAME} lower-case letters, digits and '-'")


def check_project_id(name: str) -> None:
    """Raises ``InvalidRequest`` unless ``name`` can be a project's."""
    if len(name) > MAX_PROJECT_ID or not _PROJECT_ID.fullmatch(name):
        raise InvalidRequest(
            f"invalid project id {name[:80]!r}: at most {MAX_PROJECT_ID} lower-case letters, digits and '-'",
            hint="Choose an id like 'my-project'; its name may be anything.",
        )


def check_segment(value: str, what: str) -> None:
    """Raises ``InvalidRequest`` unless ``value`` can be one segment of a path, and nothing but one."""
    bad = not value or value in {".", ".."} or "/" in value or "\\" in value or not value.isprintable()
    if bad or len(value.encode()) > _MAX_FILENAME_BYTES:
        raise InvalidRequest(f"invalid {what} {value[:80]!r}: it must be a plain name, without '/', '\\' or '..'")


def check_inside(uri: str, prefix: str, what: str) -> None:
    """Raises ``InvalidRequest`` unless ``uri`` lies below ``prefix``: a client's word opens nothing else."""
    inside = uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
    if not inside or any(part in {".", ".."} for part in uri.split("/")):
        raise InvalidRequest(f"{what} must lie below {prefix}", hint="Upload it through this server first.")


def uploads_prefix(base: str, project: str, domain: str) -> str:
    """Where clients may upload to, with a ``/`` at its end."""
    return f"{base.rstrip('/')}/uploads/{project}/{domain}/"


def upload_uri(base: str, project: str, domain: str, *, root: str, md5: bytes, filename: str) -> str:
    """Where one uploaded file goes. Without a root it is named by its content, so the same file goes to the same place."""
    segment = root or base64.b32encode(md5).decode().rstrip("=").lower()
    if len(segment.encode()) > _MAX_ROOT_BYTES:
        raise InvalidRequest(f"filename_root has {len(segment.encode())} bytes: at most {_MAX_ROOT_BYTES} are taken")
    # A root may have several segments; each must be a plain one.
    for part in segment.split("/"):
        check_segment(part, "filename_root")
    check_segment(filename, "filename")
    return f"{uploads_prefix(base, project, domain)}{segment}/{filename}"


def offloaded_inputs_uri(base: str, project: str, domain: str, digest: str) -> str:
    """The directory of one set of inputs; the file in it is ``inputs.pb``."""
    return f"{uploads_prefix(base, project, domain)}offloaded-inputs/{digest}"


def run_output_base(base: str, project: str, domain: str, run: str) -> str:
    """``_U_RUN_BASE``: where a run's actions have their directories, with a ``/`` at its end."""
    return f"{base.rstrip('/')}/{project}/{domain}/{run}/"


def attempt_prefix(output_base: str, action: str, attempt: int) -> str:
    """``{{.outputPrefix}}``: what one attempt leaves, without a ``/`` at its end."""
    return f"{output_base}{action}/{attempt}"


def logs_uri(base: str, project: str, domain: str, run: str, *, action: str, attempt: int) -> str:
    """The archived log of one attempt."""
    return f"{base.rstrip('/')}/logs/{project}/{domain}/{run}/{action}/{attempt}.log"


def inputs_digest(serialized: bytes) -> str:
    """The name of one set of inputs: 22 characters of its SHA-256, safe in paths."""
    return base64.urlsafe_b64encode(hashlib.sha256(serialized).digest()).decode()[:22]

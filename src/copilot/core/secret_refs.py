"""References to secrets: one readable URI.

::

    provider://name[#key][?option=value&…]        also  provider://name[?…][#key]
    aws://prod/db#password?version=AWSPREVIOUS
    vault://kv/app#token
    file:///run/secrets/db.json#/primary/password

``name`` is the provider's own path and may hold ``:``, ``/`` and ``@`` as they are; ``#``, ``?`` and ``%`` are written
percent-encoded. ``key`` is a field of a structured secret; one that begins with ``/`` is a JSON pointer (RFC 6901).
``version`` is the provider's own spelling. ``secret+`` may stand before any provider: where a text may be a reference or
something else (the process's own environment), only managers' schemes count by themselves, since ``file://`` and ``env://``
mean other things there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from copilot.core.errors import BadSecretRef
from copilot.core.secret_ports import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterable

MANAGER_SCHEMES = frozenset({"aws", "azure", "gcp", "k8s", "vault"})
"""Schemes that mean a secret wherever they stand."""

_EXPLICIT = "secret+"
_SCHEME = re.compile(r"^(?:secret\+)?([a-z][a-z0-9_-]*)://(.*)$", re.DOTALL)
_NAME_SAFE = "/:@+,;=!$'()*~&"
_VALUE_SAFE = "/:@+,;!$'()*~"


def parse_ref(text: str) -> SecretRef:
    """The reference that ``text`` is.

    Raises:
        BadSecretRef: no scheme, no name, a repeated or nameless option, a broken percent-escape, a control character. The
            message quotes the provider at most: what looks like a mistyped reference may be a value.
    """
    match = _SCHEME.match(text)
    if match is None:
        raise BadSecretRef("this is not a reference to a secret", op="parse")
    provider, rest = match.groups()
    name, key, query = _split(rest)
    name = _decoded(name, provider, "name")
    if not name:
        raise BadSecretRef(f"the {provider} reference names no secret", op="parse", subject=f"{provider}://")
    options = _options(query, provider)
    version = options.pop("version", None)
    if version == "":
        raise BadSecretRef(f"the {provider} reference has an empty version", op="parse", subject=f"{provider}://{name}")
    decoded_key = None if key is None else _decoded(key, provider, "key")
    if decoded_key == "":
        raise BadSecretRef(f"the {provider} reference has an empty key", op="parse", subject=f"{provider}://{name}")
    return SecretRef(provider, name, decoded_key, version, options)


def format_ref(ref: SecretRef) -> str:
    """The canonical text of ``ref``: ``parse_ref(format_ref(ref)) == ref``."""
    text = f"{ref.provider}://{quote(ref.name, safe=_NAME_SAFE)}"
    if ref.key is not None:
        text += "#" + quote(ref.key, safe=_NAME_SAFE)
    options = dict(ref.options) if ref.version is None else {"version": ref.version, **ref.options}
    if options:
        text += "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe=_VALUE_SAFE)}" for name, value in options.items())
    return text


def describe_ref(ref: SecretRef) -> str:
    """``ref`` for messages: everything but the options."""
    text = f"{ref.provider}://{ref.name}"
    if ref.key is not None:
        text += f"#{ref.key}"
    return text


def is_ref(text: str, *, providers: Iterable[str] = MANAGER_SCHEMES) -> bool:
    """Whether ``text``, found where something else could stand as well, is meant as a reference."""
    match = _SCHEME.match(text)
    if match is None:
        return False
    if text.startswith(_EXPLICIT):
        return True
    # Spark writes its master so: k8s://https://host:443.
    return match.group(1) in providers and not text.startswith(("k8s://http://", "k8s://https://"))


def _split(rest: str) -> tuple[str, str | None, str]:
    """Name, key and query, in whichever order the last two come."""
    head, hash_mark, tail = rest.partition("#")
    if "?" in head:
        name, _, query = head.partition("?")
        return name, tail if hash_mark else None, query
    if not hash_mark:
        return head, None, ""
    key, _, query = tail.partition("?")
    return head, key, query


def _options(query: str, provider: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, _, value = pair.partition("=")
        name = _decoded(name, provider, "option")
        if not name:
            raise BadSecretRef(f"the {provider} reference has an option without a name", op="parse", subject=f"{provider}://")
        if name in options:
            raise BadSecretRef(f"the {provider} reference gives {name} twice", op="parse", subject=f"{provider}://")
        options[name] = _decoded(value, provider, name)
    return options


_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _decoded(text: str, provider: str, what: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise BadSecretRef(f"the {what} of the {provider} reference has a % that escapes nothing", op="parse")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        # The exception would carry the text.
        raise BadSecretRef(f"the {what} of the {provider} reference is not UTF-8", op="parse") from None
    if _CONTROL.search(decoded):
        raise BadSecretRef(f"the {what} of the {provider} reference has a control character in it", op="parse")
    return decoded

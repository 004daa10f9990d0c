"""URIs as object stores mean them: ``scheme://authority/key`` with the key verbatim.

Nothing is percent-decoded: an object called ``a%20b#c?d`` is found under exactly that name. The one exception is http(s), where
the web's own rules hold: the key is path and query as written, a fragment is never sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from copilot.core.errors import BadFlag

HTTP_SCHEMES = frozenset({"http", "https"})
AZURE_SCHEMES = frozenset({"az", "azure", "adl", "abfs", "abfss", "wasb", "wasbs"})
S3_SCHEMES = frozenset({"s3", "s3a", "s3n"})
GCS_SCHEMES = frozenset({"gs", "gcs"})

# Where a URI without a bucket or host means something: one memory; the Redis of the settings.
_NAMELESS = frozenset({"memory", "mem", "redis", "rediss"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI, taken apart.

    Attributes:
        scheme: lower case; ``file`` for a plain path.
        authority: bucket, container, ``container@account.host`` or ``user:password@host:port``, as written; empty for files.
        key: everything after the authority's ``/``, verbatim; for files the path as written (relative if it was); for http(s)
            path and query without the leading ``/``.
    """

    scheme: str
    authority: str
    key: str

    def __str__(self) -> str:
        """The URI as one writes it, with everything in it: for opening, not for messages."""
        if self.scheme == "file":
            return f"file://{self.key}" if self.key.startswith("/") else self.key
        return f"{self.scheme}://{self.authority}/{self.key}"

    @property
    def path(self) -> str:
        """The key without an http(s) query."""
        return self.key.split("?", 1)[0] if self.scheme in HTTP_SCHEMES else self.key

    @property
    def basename(self) -> str:
        """The last segment of the path that is not empty."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    def redacted(self) -> str:
        """For messages and logs: no user name, no password, and for http(s) no query."""
        if self.scheme == "file":
            return self.key
        return f"{self.scheme}://{_public_authority(self.scheme, self.authority)}/{self.path}"


def parse(text: str) -> Uri:
    """Takes a URI or a plain path apart.

    Raises:
        BadFlag: empty text, NUL in it, or a scheme without the bucket or host that it needs.
    """
    if not text:
        raise BadFlag("A URI is empty", op="parse", hint="Give one like s3://bucket/key, or a path.")
    if "\0" in text:
        raise BadFlag("A URI has a NUL byte in it", op="parse", subject=redact(text), hint="Remove the NUL byte.")
    match = _SCHEME.match(text)
    if match is None:
        if text.startswith("file:/"):
            return Uri("file", "", text[len("file:") :])
        return Uri("file", "", text)
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "file":
        return _parse_file(text, rest)
    if scheme in HTTP_SCHEMES:
        return _parse_http(scheme, rest, text)
    authority, _, key = rest.partition("/")
    if not authority and scheme not in _NAMELESS:
        raise BadFlag(
            f"{redact(text)!r} names no bucket",
            op="parse",
            subject=redact(text),
            hint=f"Write it as {scheme}://BUCKET/KEY.",
        )
    return Uri(scheme, authority, key)


def _parse_file(text: str, rest: str) -> Uri:
    host, slash, path = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise BadFlag(
            f"{text!r} names a host", op="parse", subject=text, hint="Write local files as file:///PATH, or as a plain path."
        )
    return Uri("file", "", f"/{path}")


def _parse_http(scheme: str, rest: str, text: str) -> Uri:
    rest = rest.split("#", 1)[0]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, key = rest[:end], rest[end:].removeprefix("/")
    if not authority.rpartition("@")[2]:
        raise BadFlag(
            f"{redact(text)!r} names no host", op="parse", subject=redact(text), hint=f"Write it as {scheme}://HOST/PATH."
        )
    return Uri(scheme, authority, key)


def join(base: str, *relative: str) -> str:
    """``base`` with each of ``relative`` below it, with exactly one ``/`` between; the segments stay verbatim.

    An http(s) query stays at the end.
    """
    query = ""
    if base.lower().startswith(("http://", "https://")):
        base, mark, tail = base.partition("?")
        query = mark + tail
    for name in relative:
        base = f"{base}{name}" if base.endswith("/") else f"{base}/{name}"
    return base + query


def relative_key(prefix: str, key: str) -> str:
    """The part of ``key`` below the directory ``prefix`` (with or without its ``/``).

    Raises:
        ValueError: ``key`` is not below ``prefix``: ``a`` never holds ``ab/c``.
    """
    base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    if not key.startswith(base):
        msg = f"{key!r} is not below {base!r}"
        raise ValueError(msg)
    return key[len(base) :]


def as_prefix(key: str) -> str:
    """``key`` as the prefix of a directory: empty, or with ``/`` at its end."""
    return key if not key or key.endswith("/") else f"{key}/"


def redact(text: str) -> str:
    """Any text a user gave as a URI, fit for a message: never raises, never shows a password or an http(s) query."""
    match = _SCHEME.match(text)
    if match is None:
        return text
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme in HTTP_SCHEMES:
        rest = rest.split("?", 1)[0].split("#", 1)[0]
    authority, slash, key = rest.partition("/")
    return f"{match[1]}://{_public_authority(scheme, authority)}{slash}{key}"


def _public_authority(scheme: str, authority: str) -> str:
    # Azure writes container@account: the part before the @ is a name, not a user.
    if scheme in AZURE_SCHEMES and ":" not in authority.partition("@")[0]:
        return authority
    return authority.rpartition("@")[2]

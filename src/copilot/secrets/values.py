"""Secret values: bytes that do not print, pickle or compare by accident, and the structured answers they are picked from."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from copilot.core.errors import SecretKeyMissing, SecretNotText
from copilot.core.secret_refs import describe_ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from copilot.core.secret_ports import SecretRef, SecretValue

REDACTED = "<secret>"


@dataclass(frozen=True, slots=True)
class Lease:
    """A value's time: the manager takes it back at its end.

    Attributes:
        lease_id: the manager's name for it (no secret: it revokes and renews, together with a token).
        duration_s: how long it was granted for, in seconds.
        renewable: whether the manager may grant more time for the same value.
        expires_at_s: when it ends, on the provider's ``Clock.monotonic_s``.
        namespace: where it was granted (Vault).
        foreign: it hangs on another login than ours, whose end it does not share.
    """

    lease_id: str
    duration_s: float
    renewable: bool
    expires_at_s: float
    namespace: str = ""
    foreign: bool = False


class Payload:
    """What a manager answered for one secret: plain bytes, or named fields.

    Args:
        raw: the bytes, where the manager keeps bytes.
        fields: the fields, where it keeps fields.
        version: the manager's own spelling.
        lease: where the value is lent.
        single_use: it cannot be read a second time (an unwrapped response).
    """

    __slots__ = ("_fields", "_raw", "lease", "single_use", "version")

    def __init__(
        self,
        *,
        raw: bytes | None = None,
        fields: Mapping[str, bytes] | None = None,
        version: str | None = None,
        lease: Lease | None = None,
        single_use: bool = False,
    ) -> None:
        """See the class."""
        self._raw = raw
        self._fields = fields
        self.version = version
        self.lease = lease
        self.single_use = single_use

    def __repr__(self) -> str:
        return f"Payload({REDACTED})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")

    def pick(self, ref: SecretRef) -> Secret:
        """The value ``ref.key`` names, or the whole.

        Raises:
            SecretKeyMissing: there is no such field, or the secret is no JSON object.
            SecretNotText: the whole was asked for, and its fields do not all fit into JSON.
        """
        if ref.key is None:
            return Secret(self._whole(ref), self)
        if self._fields is not None and not ref.key.startswith("/"):
            if ref.key not in self._fields:
                raise _missing(ref, self._fields)
            return Secret(self._fields[ref.key], self)
        return Secret(_json_field(self._whole(ref), ref), self)

    def state(self) -> dict[str, object]:
        """Everything, values included, for a hand-over on a memory volume; ``restored`` reads it."""
        return {
            "raw": None if self._raw is None else base64.b64encode(self._raw).decode(),
            "fields": None
            if self._fields is None
            else {name: base64.b64encode(value).decode() for name, value in self._fields.items()},
            "version": self.version,
            "single_use": self.single_use,
        }

    @staticmethod
    def restored(state: Mapping[str, Any], lease: Lease | None) -> Payload:
        """What ``state`` said, on ``lease``."""
        raw, fields = state["raw"], state["fields"]
        return Payload(
            raw=None if raw is None else base64.b64decode(raw),
            fields=None if fields is None else {name: base64.b64decode(value) for name, value in fields.items()},
            version=state["version"],
            lease=lease,
            single_use=state["single_use"],
        )

    def with_lease(self, lease: Lease) -> Payload:
        """The same value, lent for longer."""
        return Payload(raw=self._raw, fields=self._fields, version=self.version, lease=lease, single_use=self.single_use)

    def _whole(self, ref: SecretRef) -> bytes:
        if self._raw is not None:
            return self._raw
        fields = self._fields or {}
        try:
            return json.dumps({name: json_value(value.decode()) for name, value in sorted(fields.items())}).encode()
        except UnicodeDecodeError:
            # The exception would carry the bytes.
            raise SecretNotText(
                "the secret has binary fields, so it cannot be had as one JSON object",
                op="resolve",
                subject=describe_ref(ref),
                hint=f"Name one field after #: {', '.join(sorted(fields))}.",
            ) from None


class Secret:
    """A ``SecretValue``: the bytes through ``reveal()`` and in no other way."""

    __slots__ = ("_payload", "_value")

    def __init__(self, value: bytes, payload: Payload | None = None) -> None:
        """``payload`` is what the value was picked from."""
        self._value = value
        self._payload = payload or Payload(raw=value)

    @property
    def version(self) -> str | None:
        """The manager's own spelling, where it has versions."""
        return self._payload.version

    @property
    def lease(self) -> Lease | None:
        """The lease the value lives on; shared by every field of one answer."""
        return self._payload.lease

    @property
    def payload(self) -> Payload:
        """What the value was picked from."""
        return self._payload

    def reveal(self) -> bytes:
        """The bytes."""
        return self._value

    def sibling(self, ref: SecretRef) -> Secret:
        """Another field of the same answer, so that a user and its password come from one lease."""
        return self._payload.pick(ref)

    def with_lease(self, lease: Lease) -> Secret:
        """The same bytes on another lease."""
        return Secret(self._value, self._payload.with_lease(lease))

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


def text_of(value: SecretValue, ref: SecretRef, *, place: str) -> str:
    """The value as text for ``place``.

    Raises:
        SecretNotText: it is not UTF-8, or holds a NUL.
    """
    try:
        text = value.reveal().decode()
    except UnicodeDecodeError:
        # The exception would carry the bytes.
        text = "\0"
    if "\0" in text:
        raise SecretNotText(
            f"the secret is binary and {place} takes text only",
            op="inject",
            subject=describe_ref(ref),
            hint="Hand it over as a file, or store it base64-encoded.",
        )
    return text


def json_value(text: str) -> object:
    """The JSON value ``text`` spells if that is an object or a list, otherwise ``text`` itself."""
    if text[:1] in {"{", "["}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def field_bytes(value: object) -> bytes:
    """A JSON value as a file's or variable's content: text as it is, anything else as JSON."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def _json_field(raw: bytes, ref: SecretRef) -> bytes:
    key = ref.key or ""
    try:
        document = json.loads(raw)
    except ValueError:
        # The exception would carry the document.
        raise SecretKeyMissing(
            f"the secret is no JSON object, so it has no field {key}",
            op="resolve",
            subject=describe_ref(ref),
            hint="Leave the #key away to get the whole secret.",
        ) from None
    current: object = document
    for step in _pointer(key):
        if isinstance(current, dict) and step in current:
            current = current[step]
        elif isinstance(current, list) and step.isascii() and step.isdigit() and int(step) < len(current):
            current = current[int(step)]
        else:
            raise _missing(ref, current if isinstance(current, dict) else ())
    return field_bytes(current)


def _pointer(key: str) -> list[str]:
    if not key.startswith("/"):
        return [key]
    return [step.replace("~1", "/").replace("~0", "~") for step in key[1:].split("/")]


def _missing(ref: SecretRef, known: Iterable[str]) -> SecretKeyMissing:
    names = ", ".join(sorted(known))
    return SecretKeyMissing(
        f"the secret has no field {ref.key}",
        op="resolve",
        subject=describe_ref(ref),
        hint=f"Its fields are: {names}." if names else "It has no fields at all.",
    )

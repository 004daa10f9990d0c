"""Literals that were too large to travel: each is read from its URI and takes its own place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from copilot.core import idl
from copilot.core.errors import BadInputs
from copilot.core.uri import redact

_MOST_HOPS: Final = 8
"""Offloaded literals that hold offloaded literals: more levels than this is a circle."""


def read_offloaded(literals: idl.LiteralMap, read: Callable[[str, int], bytes], *, max_bytes: int) -> int:
    """Replaces every offloaded literal in ``literals``, at any depth, by the one at its URI. Returns how many there were.

    Args:
        literals: changed in place.
        read: ``(uri, most bytes) -> content``.
        max_bytes: most bytes of all of them together: they are held in memory.

    Raises:
        BadInputs: the content is no literal, is not as long or not of the type as was said, or there is too much of it.
        StoreError: what ``read`` raises.
    """
    left = max_bytes
    count = 0
    waiting = [(literal, name, 0) for name, literal in literals.literals.items()]
    while waiting:
        literal, where, hops = waiting.pop()
        if literal.WhichOneof("value") == "offloaded_metadata":
            if hops >= _MOST_HOPS:
                raise BadInputs(
                    f"Input '{where}' is offloaded {hops} times over",
                    op="read",
                    subject=where,
                    hint="It seems to hold itself: start the task that wrote it again.",
                )
            left -= _replace(literal, where, read, left)
            count += 1
            waiting.append((literal, where, hops + 1))
            continue
        waiting.extend((inner, name, hops) for inner, name in _inside(literal, where))
    return count


def _inside(literal: idl.Literal, where: str) -> Iterator[tuple[idl.Literal, str]]:
    kind = literal.WhichOneof("value")
    if kind == "collection":
        for index, item in enumerate(literal.collection.literals):
            yield item, f"{where}[{index}]"
    elif kind == "map":
        for key, item in literal.map.literals.items():
            yield item, f"{where}.{key}"
    elif kind == "scalar" and literal.scalar.WhichOneof("value") == "union":
        yield literal.scalar.union.value, where


def _replace(literal: idl.Literal, where: str, read: Callable[[str, int], bytes], left: int) -> int:
    said = literal.offloaded_metadata
    subject = redact(said.uri)
    if not said.uri:
        raise BadInputs(f"Input '{where}' is offloaded and has no URI", op="read", subject=where)
    if said.size_bytes > left:
        raise _refusal(where, subject, f"has {said.size_bytes} bytes and {left} is the most that can still be held in memory")
    content = read(said.uri, left)
    if said.size_bytes and said.size_bytes != len(content):
        raise _refusal(where, subject, f"has {len(content)} bytes and was written with {said.size_bytes}")
    try:
        found = idl.Literal.FromString(content)
    except idl.DecodeError as cause:
        raise _refusal(where, subject, "is no literal") from cause
    wanted = {"collection_type": "collection", "map_value_type": "map"}.get(said.inferred_type.WhichOneof("type") or "")
    kind = found.WhichOneof("value")
    if wanted and kind not in {wanted, "offloaded_metadata"}:
        raise _refusal(where, subject, f"was written as a {wanted} and holds a {kind or 'literal without a value'}")
    if literal.hash and not found.hash:
        found.hash = literal.hash
    literal.CopyFrom(found)
    return len(content)


def _refusal(where: str, subject: str, what: str) -> BadInputs:
    return BadInputs(
        f"Input '{where}' is offloaded to {subject}, which {what}",
        op="read",
        subject=subject,
        hint="Start the task that wrote it again.",
    )

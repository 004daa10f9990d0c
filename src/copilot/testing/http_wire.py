"""HTTP/1.1 messages as they pass on a socket, untouched: just enough to know where one ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

CHUNK_BYTES: Final = 128 * 1024
_HEAD_LIMIT: Final = 256 * 1024


class Reader:
    """A socket with what was read of it too early."""

    def __init__(self, connection: socket.socket) -> None:
        """Nothing has been read yet."""
        self.socket = connection
        self._held = b""

    def head(self) -> bytes | None:
        """Up to and with the empty line; None at a clean end."""
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            more = self.socket.recv(CHUNK_BYTES)
            if not more or len(self._held) > _HEAD_LIMIT:
                return None
            self._held += more
        head, self._held = self._held[: end + 4], self._held[end + 4 :]
        return head

    def some(self, most: int) -> bytes:
        """At least a byte. Raises ``EOFError`` at the end."""
        if self._held:
            chunk, self._held = self._held[:most], self._held[most:]
            return chunk
        chunk = self.socket.recv(min(most, CHUNK_BYTES))
        if not chunk:
            raise EOFError
        return chunk

    def line(self) -> bytes:
        """Up to and with the end of line."""
        while (end := self._held.find(b"\r\n")) < 0:
            more = self.socket.recv(CHUNK_BYTES)
            if not more:
                raise EOFError
            self._held += more
        line, self._held = self._held[: end + 2], self._held[end + 2 :]
        return line


def body(reader: Reader, headers: Mapping[str, str], *, has_body: bool) -> Iterator[bytes]:
    """The body as it is on the wire, by its length or its chunks."""
    if not has_body:
        return
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = reader.line()
            yield line
            left = int(line.split(b";")[0], 16) + 2
            while left:
                chunk = reader.some(left)
                left -= len(chunk)
                yield chunk
            if line.startswith(b"0\r\n"):
                return
    left = int(headers.get("content-length", "0"))
    while left:
        chunk = reader.some(left)
        left -= len(chunk)
        yield chunk


def flipped(chunks: Iterator[bytes], at_byte: int | None) -> Iterator[bytes]:
    """The chunks, with the lowest bit of byte ``at_byte`` inverted; None for no change."""
    at = 0
    for chunk in chunks:
        if at_byte is not None and at <= at_byte < at + len(chunk):
            altered = bytearray(chunk)
            altered[at_byte - at] ^= 1
            yield bytes(altered)
        else:
            yield chunk
        at += len(chunk)


def parse(head: bytes) -> tuple[list[str], dict[str, str]]:
    """The first line's three words, and the headers with names in lower case."""
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0].split(" ", 2), {name.lower(): value.strip() for name, _, value in pairs}


def without_expect(head: bytes) -> bytes:
    """The head without its ``Expect`` header, which has been answered."""
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))

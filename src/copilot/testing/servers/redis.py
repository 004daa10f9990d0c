"""Redis, in memory."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from copilot.stores.settings import RedisSettings
from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerNotReady,
    find_executable,
    free_ports,
    running,
    scratch_directory,
)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis.

    Attributes:
        addr: ``127.0.0.1:PORT``.
        password: of its default user.
    """

    addr: str
    password: str = field(repr=False)

    @property
    def settings(self) -> RedisSettings:
        """What a store needs to get here."""
        return RedisSettings(addr=self.addr, password=self.password)

    def command(self, *words: bytes | str) -> bytes:
        """One command's first raw answer, in Redis's own protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/."""
        host, _, port = self.addr.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            stream = connection.makefile("rwb")
            for line in (("AUTH", self.password), words):
                raw = [word.encode() if isinstance(word, str) else word for word in line]
                stream.write(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw))
                stream.flush()
                answer = stream.readline()
                if answer.startswith(b"-") or not answer:
                    raise ServerNotReady(answer)
            if answer.startswith(b"$") and not answer.startswith(b"$-1"):
                return stream.read(int(answer[1:]))
            return answer.strip()

    def poke(self, key: str, data: bytes) -> None:
        """Writes a value past every store."""
        self.command("SET", key, data)

    def peek(self, key: str) -> bytes | None:
        """A value past every store; None where there is none."""
        answer = self.command("GET", key)
        return None if answer == b"$-1" else answer

    def remove(self, key: str) -> None:
        """Deletes a value."""
        self.command("DEL", key)

    def proves_itself(self) -> bool:
        """Writes a value of our own and reads it back."""
        proof = secrets.token_hex(8).encode()
        self.poke("copilot-ready", proof)
        return self.peek("copilot-ready") == proof


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Redis with a password.

    Raises:
        ServerFailed: it is not installed (``apt-get install redis-server``) or did not start.
    """
    executable = find_executable("redis-server")
    with scratch_directory("redis") as directory:
        started: list[RedisServer] = []

        def plan() -> Launch:
            (port,) = free_ports(1)
            server = RedisServer(f"{LOOPBACK}:{port}", secrets.token_hex(8))
            started[:] = [server]
            options = {"port": str(port), "bind": LOOPBACK, "save": "", "appendonly": "no", "dir": str(directory)}
            argv = [word for name, value in options.items() for word in (f"--{name}", value)]
            return Launch([executable, *argv, "--requirepass", server.password], server.proves_itself)

        with running("redis", directory, plan):
            yield started[0]

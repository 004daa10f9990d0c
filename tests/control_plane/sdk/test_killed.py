"""The server is killed, again and again, at moments nobody chose: every run ends in its right state, exactly once."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from connectrpc.errors import ConnectError
from sqlalchemy import create_engine, text

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.core.errors import CopilotError
from copilot.core.idl import LiteralMap

if TYPE_CHECKING:
    from copilot.testing.server_process import ServerProcess


def submit_through_kills(server: ServerProcess, count: int, kills: int, seed: int) -> dict[str, str]:
    """Submits ``count`` runs and kills the server ``kills`` times meanwhile; the expected phase by run name."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(count), kills))
    expected: dict[str, str] = {}
    for number in range(count):
        name, fails = f"run-{seed}-{number}", number % 5 == 4
        spec = container_task(
            "t", "none", ["/bin/sh", "-c", f"sleep 0.{number % 4}; exit {3 if fails else 0}"], inputs={}, outputs={}
        )
        expected[name] = "FAILED" if fails else "SUCCEEDED"
        while True:
            client = ControlPlaneClient(server.url, project="flytesnacks", domain="development")
            try:
                client.submit(spec, LiteralMap(), name)
            except (CopilotError, ConnectError):
                # Killed in the middle of the answer: the same name with the same request is the same run.
                if server.process_ended():
                    server.start()
            else:
                break
            if not server.process_ended():
                continue
        if number in moments:
            server.kill()
            server.start()
    return expected


def check_ends(server: ServerProcess, expected: dict[str, str]) -> None:
    client = ControlPlaneClient(server.url, project="flytesnacks", domain="development")
    assert {name: client.wait(name)["phase"] for name in expected} == expected
    engine = create_engine(server.database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        joined = "attempts JOIN actions ON actions.id = action_id JOIN runs ON runs.id = run_id"
        query = f"SELECT runs.name, COUNT(*) FROM {joined} GROUP BY 1"  # noqa: S608 - a constant
        attempts = {name: count for name, count in connection.execute(text(query)) if name in expected}
        ended = "SELECT action_id, attempt FROM events WHERE kind = 'phase' AND after IN (5, 6, 7, 8)"
        ends = Counter((action_id, attempt) for action_id, attempt in connection.execute(text(ended)))
    engine.dispose()
    assert attempts == dict.fromkeys(expected, 1), "nothing was started twice"
    assert set(ends.values()) == {1}, "nothing ended twice"


def test_a_server_killed_while_runs_are_in_flight_loses_nothing(server: ServerProcess) -> None:
    check_ends(server, submit_through_kills(server, count=6, kills=2, seed=1))


@pytest.mark.slow
def test_a_server_killed_fifty_times_during_two_hundred_runs_loses_nothing(server: ServerProcess) -> None:
    check_ends(server, submit_through_kills(server, count=200, kills=50, seed=2))

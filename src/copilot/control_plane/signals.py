"""A condition waits for somebody's word; this is the word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyteidl2.core.literals_pb2 import Literal

from copilot.control_plane import runs
from copilot.control_plane.errors import Conflict, InvalidRequest
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.lifecycle.phases import Phase

if TYPE_CHECKING:
    from flyteidl2.common.identifier_pb2 import ActionIdentifier
    from flyteidl2.workflow.run_service_pb2 import EventPayload

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office


async def signal_condition(office: Office, identifier: ActionIdentifier, value: Literal) -> None:
    """Gives a paused condition its value. Raises ``Conflict`` for an action that waits for none."""
    now = office.clock.now_s()

    def signal(unit: Unit) -> None:
        run = runs.require_run(unit.session, identifier.run)
        action = runs.require_action(unit.session, run, identifier.name, locked=True)
        if action.kind != "condition" or action.phase != Phase.PAUSED:
            raise Conflict(f"{run.name}/{action.name} waits for no signal")
        action.signal = value.SerializeToString(deterministic=True)
        moves.finish(unit, action, Phase.SUCCEEDED, at=now, reason="signalled")

    await office.database.write(signal)


def literal_of(payload: EventPayload) -> Literal:
    """A signal's value as a literal. Raises ``InvalidRequest`` without one."""
    kinds = {"bool_value": "boolean", "int_value": "integer", "float_value": "float_value", "string_value": "string_value"}
    kind = payload.WhichOneof("value")
    if kind is None:
        raise InvalidRequest("signal value must be a concrete bool, int, float or string")
    literal = Literal()
    setattr(literal.scalar.primitive, kinds[kind], getattr(payload, kind))
    return literal

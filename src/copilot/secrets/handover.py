"""From the init container to the sidecar: values, leases and sessions, in one file on a memory volume, emptied once read.

Without it the sidecar could neither renew what init was lent nor give it back. The file is for these two containers only: it
lies in the control directory, never among what the task sees, and is refused on a disk whatever was allowed for secrets. What
is left of it after reading is no secret: where secrets were placed and the leases they hang on, so that a sidecar that is
started again can read them anew, renew what a running process has in its variables, and give the leases back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from copilot.core.errors import LocalIOError
from copilot.core.secret_refs import format_ref, parse_ref
from copilot.secrets.files import SecretFile, SecretFiles
from copilot.secrets.inject import Delivery
from copilot.secrets.render import Template
from copilot.secrets.values import Lease, Payload, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from copilot.core.ports import Clock
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.resolver import Resolver


@runtime_checkable
class Resumable(Protocol):
    """A provider with a session that another process can go on with."""

    def state(self) -> dict[str, Any]:
        """The session as JSON; may hold credentials."""
        ...

    def restore(self, state: dict[str, Any], elapsed_s: float = 0.0) -> None:
        """Goes on with it, ``elapsed_s`` seconds later."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """What was handed over, besides the values themselves.

    Attributes:
        placed: what was injected where.
        templates: files rendered from several secrets.
        allow_disk: files may be on volumes that are not memory.
        again: another process took the values before: they have to be read anew.
        lent: what it took was lent on these, each with one reference of its address; only with ``again``.
    """

    placed: tuple[Delivery, ...]
    templates: tuple[Template, ...] = ()
    allow_disk: bool = False
    again: bool = False
    lent: tuple[tuple[SecretRef, Lease], ...] = ()


@dataclass(frozen=True, slots=True)
class HandOver:
    """The name of the file and the clock its times are in.

    Attributes:
        path: on a memory volume both containers mount.
        clock: whose wall clock both containers share.
    """

    path: Path
    clock: Clock

    def give(
        self,
        resolver: Resolver,
        placed: Sequence[Delivery],
        *,
        templates: Sequence[Template] = (),
        allow_disk: bool = False,
    ) -> None:
        """Writes everything ``resolver`` knows and where it was placed. Raises ``NotTmpfs`` on a disk."""
        payloads: dict[int, tuple[Payload, list[str]]] = {}
        for ref, value in resolver.values().items():
            payload = value.payload if isinstance(value, Secret) else Payload(raw=value.reveal(), version=value.version)
            payloads.setdefault(id(payload), (payload, []))[1].append(format_ref(ref))
        sessions = {name: opened.state() for name, opened in resolver.opened().items() if isinstance(opened, Resumable)}
        state = {
            "at_s": self.clock.now_s(),
            "secrets": [
                {"refs": refs, "payload": payload.state(), "lease": _lease_state(payload.lease, self.clock)}
                for payload, refs in payloads.values()
            ],
            "sessions": sessions,
            "placed": [_delivery_state(each) for each in placed],
            "templates": [_template_state(each) for each in templates],
            "allow_disk": allow_disk,
        }
        self._write(state)

    def take(self, resolver: Resolver, *, to_deliver: bool = False) -> Taken | None:
        """Gives ``resolver`` what was handed over and empties the file of it; None if nothing was handed over.

        With ``to_deliver`` only what should not be read a second time: what is lent still, and what can be read only once.
        """
        try:
            state = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            # A decoder's exception would carry the document.
            raise LocalIOError(
                "what init handed over cannot be read",
                op="take over",
                subject=str(self.path),
                hint="It is for its owner alone: let init and the sidecar run as one user.",
            ) from None
        elapsed_s = max(0.0, self.clock.now_s() - state["at_s"])
        again = "secrets" not in state
        taken = Taken(
            tuple(_delivery(each) for each in state["placed"]),
            tuple(_template(each) for each in state["templates"]),
            allow_disk=state["allow_disk"],
            again=again,
            lent=tuple(_lent(text, lease, elapsed_s, self.clock) for text, lease in state["lent"]) if again else (),
        )
        if again:
            return taken
        for name, session in state["sessions"].items():
            provider = resolver.provider(name)
            if isinstance(provider, Resumable):
                provider.restore(session, elapsed_s)
        for each in state["secrets"]:
            lease = None if each["lease"] is None else _lease(each["lease"], elapsed_s, self.clock)
            payload = Payload.restored(each["payload"], lease)
            lasts = lease is not None and lease.expires_at_s > self.clock.monotonic_s()
            if to_deliver and not (lasts or payload.single_use):
                continue
            for text in each["refs"]:
                ref = parse_ref(text)
                resolver.remember(ref, payload.pick(ref))
        lent = [(each["refs"][0], each["lease"]) for each in state["secrets"] if each["lease"] is not None]
        self._write({name: state[name] for name in ("at_s", "placed", "templates", "allow_disk")} | {"lent": lent})
        return taken

    def waits(self) -> bool:
        """Whether there are values that nobody has taken."""
        try:
            return "secrets" in json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return False

    def _write(self, state: Mapping[str, Any]) -> None:
        with SecretFiles() as files:
            files.stage(SecretFile(self.path, mode=0o600), json.dumps(state).encode())
            files.publish()


def _lease_state(lease: Lease | None, clock: Clock) -> dict[str, Any] | None:
    if lease is None:
        return None
    return {
        "id": lease.lease_id,
        "duration_s": lease.duration_s,
        "renewable": lease.renewable,
        "left_s": lease.expires_at_s - clock.monotonic_s(),
        "namespace": lease.namespace,
    }


def _lease(state: Mapping[str, Any], elapsed_s: float, clock: Clock) -> Lease:
    ends_s = clock.monotonic_s() + state["left_s"] - elapsed_s
    return Lease(
        state["id"], state["duration_s"], renewable=state["renewable"], expires_at_s=ends_s, namespace=state["namespace"]
    )


def _lent(text: str, state: Mapping[str, Any], elapsed_s: float, clock: Clock) -> tuple[SecretRef, Lease]:
    return parse_ref(text), replace(_lease(state, elapsed_s, clock), foreign=True)


def _file_state(file: SecretFile) -> list[Any]:
    return [str(file.path), file.mode, file.uid, file.gid]


def _file(state: Sequence[Any]) -> SecretFile:
    path, mode, uid, gid = state
    return SecretFile(Path(path), mode, uid, gid)


def _delivery_state(delivery: Delivery) -> dict[str, Any]:
    return {
        "ref": format_ref(delivery.candidates[0]),
        "files": [_file_state(file) for file in delivery.files],
        "variables": list(delivery.variables),
    }


def _delivery(state: Mapping[str, Any]) -> Delivery:
    return Delivery((parse_ref(state["ref"]),), tuple(map(_file, state["files"])), tuple(state["variables"]))


def _template_state(template: Template) -> dict[str, Any]:
    names = {name: format_ref(ref) for name, ref in template.names.items()}
    return {"name": template.name, "text": template.text, "file": _file_state(template.file), "names": names}


def _template(state: Mapping[str, Any]) -> Template:
    names = {name: parse_ref(text) for name, text in state["names"].items()}
    return Template(state["name"], state["text"], _file(state["file"]), names)

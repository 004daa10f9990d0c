"""HashiCorp Vault and OpenBao: ``vault://MOUNT/PATH#key?version=N``.

What is mounted at the path decides how it is read: KV v1, KV v2 (with versions), or anything that answers a plain read,
dynamic secrets with leases among them. Options: ``namespace``; ``engine`` (``kv1``, ``kv2``, ``api`` and ``api-kv2``: the path
is the API's own) for identities that may not look mounts up; ``wrapped_in`` (a file with a wrapping token: the path is then the
one the response was wrapped from, and is compared with what Vault says).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from copilot.core.errors import (
    BadSecretRef,
    CopilotError,
    SecretDenied,
    SecretExpiredToken,
    SecretNotFound,
    SecretRefused,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.file import read_secret_file
from copilot.secrets.providers.grouping import check_options, no_version, read_each
from copilot.secrets.providers.vault_session import VaultSession
from copilot.secrets.values import Lease, Payload, Secret, field_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import hvac

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef, SecretValue
    from copilot.secrets.registry import ProviderContext

_ENGINES = ("kv1", "kv2", "api", "api-kv2")


class VaultSecrets:
    """Reads, renews and revokes with a token, AppRole, JWT or the pod's service account."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        import hvac  # noqa: F401, PLC0415 - says at once whether the client is installed

        self._clock = context.clock
        self._known = context.known
        self._session = VaultSession(context)
        self._mounts: dict[tuple[str, str], tuple[str, str]] = {}

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        """See ``SecretProvider``. All fields of one dynamic secret come from one lease."""
        lent: list[Payload] = []

        def read(ref: SecretRef) -> Payload:
            payload = self._read(ref)
            if payload.lease is not None:
                lent.append(payload)
            return payload

        try:
            return read_each(refs, read, cancel)
        except CopilotError:
            for payload in lent:  # a field that is not there: nobody else hears of these
                with suppress(CopilotError):
                    self._give_back(payload.lease)
            raise

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        """The value on a longer lease. The lease says how long it really got, which may be less than before.

        Raises:
            SecretNotFound: the lease is over; the value is worth nothing any more.
        """
        cancel.check()
        lease = value.lease if isinstance(value, Secret) else None
        if not isinstance(value, Secret) or lease is None:
            return value
        self._session.extend(lease.duration_s * 2)
        try:
            answer = self._session.call(
                lambda client: client.sys.renew_lease(lease.lease_id, increment=int(lease.duration_s)),
                op="renew",
                subject=_lease_path(lease),
                namespace=lease.namespace,
            )
        except SecretRefused as cause:
            raise SecretNotFound("the lease is over", op="renew", subject=_lease_path(lease)) from cause
        renewed = self._lease(answer, lease.namespace) or lease
        return value.with_lease(replace(renewed, foreign=lease.foreign))

    def revoke(self, value: SecretValue, cancel: CancelToken) -> None:
        """Gives the lease back and waits until the manager has taken it. One that is over is no error.

        Nor is an identity of our own login that may not revoke leases: ``close`` gives back its token, and the leases with it.

        Raises:
            SecretDenied: the token it hangs on stays, being given to us or another login's, and ours may not revoke leases.
        """
        cancel.check()
        self._give_back(value.lease if isinstance(value, Secret) else None)

    def _give_back(self, lease: Lease | None) -> None:
        if lease is None:
            return
        try:
            self._session.call(
                lambda client: client.adapter.put("/v1/sys/leases/revoke", json={"lease_id": lease.lease_id, "sync": True}),
                op="revoke",
                subject=_lease_path(lease),
                namespace=lease.namespace,
            )
        except SecretDenied as cause:
            if lease.foreign or not self._session.own:
                raise SecretDenied(
                    "the lease stays until its time is over: our token may not give it back",
                    op="revoke",
                    subject=_lease_path(lease),
                    hint="Allow it to update sys/leases/revoke."
                    + ("" if lease.foreign else " Or log in with AppRole, JWT or Kubernetes."),
                ) from cause
        except (SecretRefused, SecretNotFound, SecretExpiredToken):
            return

    def close(self, cancel: CancelToken) -> None:
        """Revokes the token, if it is of our own login."""
        cancel.check()
        self._session.close()

    def whoami(self, cancel: CancelToken) -> str:
        """The token's display name and policies."""
        cancel.check()
        said = self._session.call(lambda client: client.auth.token.lookup_self(), op="whoami", subject="vault://")["data"]
        return f"{said['display_name']} (policies: {', '.join(said['policies'])})"

    def state(self) -> dict[str, Any]:
        """The session, for a hand-over to another process of the pod; holds the token."""
        return self._session.state()

    def restore(self, state: dict[str, Any], elapsed_s: float = 0.0) -> None:
        """Goes on with the session another process began, ``elapsed_s`` seconds after it said its state."""
        self._session.restore(state, elapsed_s)

    # --- for the writer ----------------------------------------------------------------------------------------------

    def kv2(self, ref: SecretRef) -> tuple[str, str]:
        """Mount and path of a reference into a KV store of version 2. Raises ``BadSecretRef`` for anything else."""
        self._check(ref)
        engine, mount = self._engine(ref, ref.options.get("namespace", ""))
        path = ref.name.strip("/")
        if engine != "kv2":
            raise BadSecretRef(
                "secrets are written to KV stores of version 2 only",
                op="parse",
                subject=describe_ref(ref),
                hint="Enable one: vault secrets enable -version=2 kv.",
            )
        return mount.strip("/"), path[len(mount) :].strip("/")

    def call(self, work: Callable[[hvac.Client], Any], *, op: str, ref: SecretRef) -> Any:  # noqa: ANN401 - an answer's JSON
        """One call in the reference's namespace."""
        return self._session.call(work, op=op, subject=describe_ref(ref), namespace=ref.options.get("namespace", ""))

    # --- reading ---------------------------------------------------------------------------------------------------

    def _read(self, ref: SecretRef) -> Payload:
        self._check(ref)
        if "wrapped_in" in ref.options:
            return self._unwrap(ref)
        namespace = ref.options.get("namespace", "")
        engine, mount = self._engine(ref, namespace)
        path = ref.name.strip("/")
        if engine != "kv2":
            no_version(ref)
            return self._payload(self._get(path, ref, namespace), namespace, kv2=engine == "api-kv2")
        inside = path[len(mount) :].strip("/")
        if ref.version is not None and not ref.version.isdecimal():
            raise BadSecretRef("a version of Vault's KV store is a number", op="parse", subject=describe_ref(ref))
        answer = self._get(f"{mount.strip('/')}/data/{inside}", ref, namespace, version=ref.version)
        return self._payload(answer, namespace, kv2=True)

    def _check(self, ref: SecretRef) -> None:
        check_options(ref, ("namespace", "engine", "wrapped_in"))
        if any(step in {"", ".", ".."} for step in ref.name.strip("/").split("/")):
            raise BadSecretRef(
                "this is no path of Vault", op="parse", subject=describe_ref(ref), hint="Write vault://MOUNT/PATH#key."
            )

    def _engine(self, ref: SecretRef, namespace: str) -> tuple[str, str]:
        """How to read, and the mount's path."""
        path = ref.name.strip("/")
        first = path.split("/")[0]
        engine = ref.options.get("engine")
        if engine is not None:
            if engine not in _ENGINES:
                raise BadSecretRef(
                    f"there is no engine {engine}",
                    op="parse",
                    subject=describe_ref(ref),
                    hint=f"It is one of {', '.join(_ENGINES)}.",
                )
            return engine, first
        for (known_namespace, mount), found in self._mounts.items():
            if known_namespace == namespace and f"{path}/".startswith(mount):
                return found
        try:
            said = self._session.call(
                lambda client: client.adapter.get(f"/v1/sys/internal/ui/mounts/{quote(path)}"),
                op="resolve",
                subject=describe_ref(ref),
                namespace=namespace,
            )["data"]
        except SecretDenied as cause:
            # Vault says this to who may read nothing below the mount, and of mounts that are not there.
            raise SecretDenied(
                f"the identity may read nothing at {first}/, or nothing is mounted there",
                op="resolve",
                subject=describe_ref(ref),
                hint="Grant it read on the path in its policy, or say ?engine=kv2 if it may read but not look.",
            ) from cause
        version = str((said.get("options") or {}).get("version", "1"))
        found = (f"kv{version}" if said["type"] in {"kv", "generic"} else "api", str(said["path"]))
        self._mounts[namespace, str(said["path"])] = found
        return found

    def _get(self, path: str, ref: SecretRef, namespace: str, *, version: str | None = None) -> dict[str, Any]:
        parameters = {} if version is None else {"version": version}
        answer = self._session.call(
            lambda client: client.adapter.get(f"/v1/{quote(path)}", params=parameters),
            op="resolve",
            subject=describe_ref(ref),
            namespace=namespace,
        )
        return dict(answer)

    def _unwrap(self, ref: SecretRef) -> Payload:
        """A wrapped response, once. First it is looked up: a token from elsewhere could hand us somebody's forgery."""
        subject = describe_ref(ref)
        namespace = ref.options.get("namespace", "")
        token = read_secret_file(Path(ref.options["wrapped_in"]), subject).decode("ascii", errors="replace").strip()
        self._known(token.encode())
        try:
            made = self._session.anonymous(
                lambda client: client.adapter.post("/v1/sys/wrapping/lookup", json={"token": token}),
                op="unwrap",
                subject=subject,
                namespace=namespace,
            )["data"]["creation_path"]
            if _plain(made) != _plain(ref.name):
                raise SecretDenied(
                    f"the wrapping token was made for {made}",
                    op="unwrap",
                    subject=subject,
                    hint="Name that path if you trust it; otherwise somebody may have put another token in its place.",
                )
            answer = self._session.anonymous(
                lambda client: client.adapter.post("/v1/sys/wrapping/unwrap"),
                op="unwrap",
                subject=subject,
                namespace=namespace,
                token=token,
            )
        except (SecretRefused, SecretExpiredToken, SecretNotFound) as cause:
            raise SecretExpiredToken(
                "the wrapping token has expired or was used before",
                op="unwrap",
                subject=subject,
                hint="If nobody of yours used it, somebody else did: revoke what it held.",
            ) from cause
        return self._payload(dict(answer), namespace, kv2=None, single_use=True)

    def _payload(self, answer: dict[str, Any], namespace: str, *, kv2: bool | None, single_use: bool = False) -> Payload:
        data = answer.get("data") or {}
        version = None
        if kv2 or (kv2 is None and set(data) == {"data", "metadata"}):
            version = str(data["metadata"]["version"])
            data = data["data"] or {}
        fields = {name: field_bytes(value) for name, value in data.items()}
        return Payload(fields=fields, version=version, lease=self._lease(answer, namespace), single_use=single_use)

    def _lease(self, answer: dict[str, Any], namespace: str) -> Lease | None:
        """The lease in an answer, no longer than the token it hangs on."""
        if not answer.get("lease_id"):
            return None
        duration_s = float(answer["lease_duration"])
        left_s = self._session.remaining_s()
        if left_s is not None:
            duration_s = min(duration_s, left_s)
        return Lease(
            lease_id=answer["lease_id"],
            duration_s=duration_s,
            renewable=bool(answer["renewable"]),
            expires_at_s=self._clock.monotonic_s() + duration_s,
            namespace=namespace,
        )


def _lease_path(lease: Lease) -> str:
    """The path that lent it, for messages: without the lease's own number."""
    return f"vault://{lease.lease_id.rpartition('/')[0]}"


def _plain(path: str) -> str:
    """A path as people write it: without the ``data/`` of KV v2's API."""
    return path.strip("/").replace("/data/", "/", 1)

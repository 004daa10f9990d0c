"""One session with Vault or OpenBao: the login, its token's life, and what its errors mean."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from copilot.core.errors import (
    BadConfig,
    CopilotError,
    SecretDenied,
    SecretError,
    SecretExpiredToken,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
)
from copilot.secrets.providers.file import read_secret_file
from copilot.secrets.providers.grouping import classifying, silence
from copilot.secrets.providers.tls import check_ca_file
from copilot.secrets.providers.vault_errors import VaultCall, classified
from copilot.secrets.settings import SERVICE_ACCOUNT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable

    import hvac
    import requests

    from copilot.secrets.registry import ProviderContext

T = TypeVar("T")

_METHODS = ("token", "approle", "jwt", "kubernetes")
_SPARE = 0.1  # a token with less than this part of its time left is renewed before it is used


class VaultSession:
    """Logs in when first needed, again when its token is gone, and renews it in between. Safe to use from many threads."""

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        silence("hvac", "urllib3", "requests")
        self._settings = context.settings.vault
        self._clock = context.clock
        self._known = context.known
        self._lock = threading.RLock()
        self._token = ""
        self._own = False
        self._ttl_s = 0.0
        self._renewable = False
        self._expires_at_s: float | None = None
        self._retired: list[str] = []
        self._unwrapped = ""
        self._http: requests.Session | None = None

    def remaining_s(self) -> float | None:
        """How long the token still lives; None for one without end. What it was lent ends with it."""
        if self._expires_at_s is None:
            return None
        return max(0.0, self._expires_at_s - self._clock.monotonic_s())

    def call(self, work: Callable[[hvac.Client], T], *, op: str, subject: str, namespace: str = "") -> T:
        """``work`` with a client whose token lives. One new login is tried if the token turns out to be gone.

        Raises only ``CopilotError``.
        """
        self._authorise()
        try:
            return self._attempt(work, op, subject, namespace)
        except SecretExpiredToken:
            if not self._own and not self._settings.token_file:
                raise  # a token that was given as it is has no successor; one in a file may have been replaced there
            with self._lock:
                self._token = ""
            self._authorise()
            return self._attempt(work, op, subject, namespace)

    def anonymous(self, work: Callable[[hvac.Client], T], *, op: str, subject: str, namespace: str = "", token: str = "") -> T:
        """``work`` with a client that shows ``token`` or nothing: for wrapping tokens and logins."""
        return self._work(work, op, subject, namespace, token)

    def extend(self, wanted_s: float) -> None:
        """Renews the token if less than ``wanted_s`` seconds of it are left; what cannot be renewed stays as it is."""
        with self._lock:
            left_s = self.remaining_s()
            if not self._own or not self._renewable or left_s is None or left_s > wanted_s:
                return
            answer = self._attempt(lambda client: client.auth.token.renew_self(), "renew", self._where(), "")
            self._adopt(answer["auth"])

    @property
    def own(self) -> bool:
        """Whether the token is of a login of our own, and ends with us."""
        return self._own

    def close(self) -> None:
        """Gives back the tokens of our own logins, and with them everything they were lent."""
        with self._lock:
            tokens = [*self._retired, *([self._token] if self._own and self._token else [])]
            self._token, self._retired = "", []
        for token in tokens:
            with suppress(SecretDenied, SecretExpiredToken):  # a token that is gone is what we wanted
                self._work(lambda client: client.auth.token.revoke_self(), "revoke", self._where(), "", token)
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def state(self) -> dict[str, Any]:
        """The session for a hand-over to another process of the pod; holds the token."""
        return {"token": self._token, "own": self._own, "ttl_s": self._ttl_s, "renewable": self._renewable,
                "left_s": self.remaining_s(), "retired": self._retired}  # fmt: skip

    def restore(self, state: dict[str, Any], elapsed_s: float = 0.0) -> None:
        """Goes on with the session another process began, ``elapsed_s`` seconds after it said its state."""
        with self._lock:
            self._token, self._own, self._retired = state["token"], state["own"], list(state["retired"])
            self._ttl_s, self._renewable = state["ttl_s"], state["renewable"]
            self._expires_at_s = None if state["left_s"] is None else self._clock.monotonic_s() + state["left_s"] - elapsed_s
            for token in (self._token, *self._retired):
                self._known(token.encode())

    # --- the token -------------------------------------------------------------------------------------------------

    def _authorise(self) -> None:
        with self._lock:
            left_s = self.remaining_s()
            if self._token and (left_s is None or left_s > self._ttl_s * _SPARE):
                return
            if self._token and left_s:
                try:
                    self.extend(left_s)
                except SecretError as error:
                    if error.transient:
                        raise
                left_s = self.remaining_s()
                if not self._own or (left_s is not None and left_s > self._ttl_s * _SPARE):
                    return
            if self._token and self._own:
                self._retired.append(self._token)
            self._login()

    def _adopt(self, auth: dict[str, Any]) -> None:
        self._token = auth["client_token"]
        self._known(self._token.encode())
        self._ttl_s = float(auth["lease_duration"])
        self._renewable = bool(auth["renewable"])
        self._expires_at_s = None if not self._ttl_s else self._clock.monotonic_s() + self._ttl_s

    def _login(self) -> None:
        settings, method = self._settings, self._method()
        mount = settings.auth_mount or method
        if method == "token":
            self._token = settings.token or self._read(settings.token_file or "")
            self._own, self._expires_at_s = False, None
            self._known(self._token.encode())
            return
        if method == "approle":
            secret_id = self._secret_id()

            def enter(client: hvac.Client) -> Any:  # noqa: ANN401 - the answer's JSON
                return client.auth.approle.login(settings.role_id, secret_id, mount_point=mount)
        else:
            default = f"{SERVICE_ACCOUNT_DIRECTORY}/token" if method == "kubernetes" else ""
            jwt = self._read(settings.jwt_file or default)
            self._known(jwt.encode())

            def enter(client: hvac.Client) -> Any:  # noqa: ANN401 - as above
                if method == "kubernetes":
                    return client.auth.kubernetes.login(settings.role, jwt, mount_point=mount)
                return client.auth.jwt.jwt_login(settings.role, jwt, path=mount)

        try:
            answer = self.anonymous(enter, op="login", subject=self._where())
        except (SecretDenied, SecretRefused, SecretNotFound, SecretExpiredToken) as cause:
            raise SecretNoIdentity(
                f"Vault refused the login by {method}",
                op="login",
                subject=self._where(),
                hint=f"Check the role and what is shown to auth/{mount}, and that it has not expired.",
            ) from cause
        self._own = True
        self._adopt(answer["auth"])

    def _method(self) -> str:
        settings = self._settings
        has = {
            "token": bool(settings.token or settings.token_file),
            "approle": bool(settings.role_id),
            "jwt": bool(settings.role and settings.jwt_file),
            "kubernetes": bool(settings.role),
        }
        if settings.auth is not None and settings.auth not in _METHODS:
            raise BadConfig(
                f"there is no Vault login called {settings.auth}", op="login", hint=f"It is one of {', '.join(_METHODS)}."
            )
        method = settings.auth or next((name for name in _METHODS if has[name]), "")
        if not method or not has[method]:
            raise SecretNoIdentity(
                "nothing was given to log in to Vault with",
                op="login",
                subject=self._where(),
                hint="Set VAULT_TOKEN, COPILOT_VAULT_ROLE (the pod's service account), or VAULT_ROLE_ID and VAULT_SECRET_ID.",
            )
        return method

    def _secret_id(self) -> str:
        settings = self._settings
        secret_id = settings.secret_id or (self._read(settings.secret_id_file) if settings.secret_id_file else "")
        self._known(secret_id.encode())
        if settings.secret_id_wrapped and not self._unwrapped:
            try:
                answer = self.anonymous(
                    lambda client: client.adapter.post("/v1/sys/wrapping/unwrap"),
                    op="unwrap",
                    subject=self._where(),
                    token=secret_id,
                )
            except (SecretRefused, SecretDenied, SecretNotFound, SecretExpiredToken) as cause:
                raise SecretExpiredToken(
                    "the wrapping token of the secret id has expired or was used before",
                    op="login",
                    subject=self._where(),
                    hint="If nobody of yours used it, somebody else did: revoke the secret id.",
                ) from cause
            self._unwrapped = answer["data"]["secret_id"]
            self._known(self._unwrapped.encode())
        return self._unwrapped or secret_id

    def _read(self, path: str) -> str:
        try:
            return read_secret_file(Path(path), path).decode("ascii").strip()
        except UnicodeDecodeError:
            # The exception would carry the bytes.
            raise SecretNoIdentity("what to log in to Vault with is no text", op="login", subject=path) from None
        except SecretError as cause:
            raise SecretNoIdentity("what to log in to Vault with cannot be read", op="login", subject=path) from cause

    # --- the wire --------------------------------------------------------------------------------------------------

    def _where(self) -> str:
        return self._settings.address or "vault://"

    def _client(self, namespace: str, token: str) -> hvac.Client:
        import hvac  # noqa: PLC0415 - clients are imported when used

        settings = self._settings
        if not settings.address:
            raise BadConfig("no address of Vault is known", op="login", subject="vault://", hint="Set VAULT_ADDR.")
        check_ca_file(settings.ca_file, variable="VAULT_CACERT", subject="vault://")
        return hvac.Client(
            url=settings.address,
            token=token or "",
            verify=settings.ca_file or settings.verify_tls,
            timeout=settings.timeout_s,
            namespace=namespace or settings.namespace or None,
            session=self._connections(),
        )

    def _connections(self) -> requests.Session:
        """One pool of connections for all clients."""
        import requests  # noqa: PLC0415 - hvac's own transport

        with self._lock:
            if self._http is None:
                self._http = requests.Session()
            return self._http

    def _attempt(self, work: Callable[[hvac.Client], T], op: str, subject: str, namespace: str) -> T:
        return self._work(work, op, subject, namespace, self._token)

    def _work(self, work: Callable[[hvac.Client], T], op: str, subject: str, namespace: str, token: str) -> T:
        def classify(cause: Exception, op: str, subject: str) -> CopilotError:
            return classified(cause, VaultCall(op, subject, self._where(), token, self._client))

        with classifying(classify, op, subject):
            return work(self._client(namespace, token))

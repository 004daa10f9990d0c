"""AWS Secrets Manager: ``aws://NAME-or-ARN#key?version=STAGE-or-ID``.

Several current versions are read by one ``BatchGetSecretValue`` where the identity may do that. Options: ``region``, ``role``
(an ARN to assume first, with ``external_id``). A version that is a UUID is a version id, anything else a stage.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from copilot.core.errors import (
    BadConfig,
    BadSecretRef,
    CopilotError,
    SecretDenied,
    SecretError,
    SecretExpiredToken,
    SecretFault,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import WithoutLeases, address, check_options, classifying, pick_all, silence
from copilot.secrets.providers.tls import not_accepted
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef, SecretValue
    from copilot.secrets.registry import ProviderContext

_UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_ARN_REGION = 3
_ROLE_MARGIN_S = 300.0

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "DecryptionFailure", "OptInRequired", "NotAuthorized"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "InvalidIdentityToken",
        "IDPRejectedClaim",
    }
)
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown"}
)
_MISTAKEN = frozenset({"InvalidParameterException", "ValidationException", "ValidationError"})


class AwsSecrets(WithoutLeases):
    """Reads with the standard chain's identity. One session a process, one client a region and role."""

    max_batch = 20  # BatchGetSecretValue's own bound

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        import boto3  # noqa: PLC0415 - clients are imported when used
        import botocore.config  # noqa: PLC0415 - as above

        silence("boto3", "botocore", "urllib3")
        self._settings = context.settings.aws
        self._clock = context.clock
        self._known = context.known
        self._config = botocore.config.Config(
            retries={"total_max_attempts": 1, "mode": "standard"},  # the engine retries
            connect_timeout=self._settings.timeout_s,
            read_timeout=self._settings.timeout_s,
        )
        with classifying(classified, "login", "aws://"):
            self._session = boto3.session.Session(region_name=self._settings.region, profile_name=self._settings.profile)
        self._clients: dict[tuple[str, str, str], tuple[Any, float | None]] = {}
        self._lock = threading.Lock()  # sessions make clients one at a time
        self._may_batch = True

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        """See ``SecretProvider``."""
        refs = list(refs)
        payloads: dict[SecretRef, Payload] = {}
        by_client: dict[tuple[str, str, str], list[SecretRef]] = {}
        for where in dict.fromkeys(address(ref) for ref in refs):
            check_options(where, ("region", "role", "external_id"))
            by_client.setdefault(self._route(where), []).append(where)
        for route, group in by_client.items():
            current = [where for where in group if where.version is None]
            if self._may_batch and len(current) > 1:
                cancel.check()
                payloads |= self._read_batch(route, current)
            for where in group:
                if where not in payloads:
                    cancel.check()
                    payloads[where] = self._read(route, where)
        return pick_all(refs, payloads)

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """The identity's ARN, as STS says."""
        cancel.check()
        with classifying(classified, "whoami", "aws://"):
            with self._lock:
                client = self._session.client("sts", config=self._config, endpoint_url=self._settings.sts_endpoint)
            return str(client.get_caller_identity()["Arn"])

    def client(self, ref: SecretRef) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """The client of the reference's region and role."""
        check_options(ref, ("region", "role", "external_id"))
        return self._client(self._route(ref))

    def _route(self, ref: SecretRef) -> tuple[str, str, str]:
        """Region, role and external id: what needs a client of its own. An ARN brings its region."""
        parts = ref.name.split(":")
        own = parts[_ARN_REGION] if ref.name.startswith("arn:") and len(parts) > _ARN_REGION else ""
        region = ref.options.get("region") or own or self._session.region_name or ""
        if not region:
            raise BadConfig(
                "no AWS region is known", op="resolve", subject=describe_ref(ref), hint="Set AWS_REGION, or add ?region= to it."
            )
        return region, ref.options.get("role", ""), ref.options.get("external_id", "")

    def _client(self, route: tuple[str, str, str]) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        region, role, external_id = route
        with self._lock:
            client, until_s = self._clients.get(route, (None, None))
            if client is not None and (until_s is None or self._clock.now_s() < until_s - _ROLE_MARGIN_S):
                return client
            keys: dict[str, str] = {}
            until_s = None
            if role:
                sts = self._session.client(
                    "sts", region_name=region, config=self._config, endpoint_url=self._settings.sts_endpoint
                )
                extra = {"ExternalId": external_id} if external_id else {}
                lent = sts.assume_role(RoleArn=role, RoleSessionName="copilot", **extra)["Credentials"]
                keys = {
                    "aws_access_key_id": lent["AccessKeyId"],
                    "aws_secret_access_key": lent["SecretAccessKey"],
                    "aws_session_token": lent["SessionToken"],
                }
                for credential in (keys["aws_secret_access_key"], keys["aws_session_token"]):
                    self._known(credential.encode())
                until_s = lent["Expiration"].timestamp()
            client = self._session.client(
                "secretsmanager", region_name=region, config=self._config, endpoint_url=self._settings.endpoint, **keys
            )
            self._clients[route] = (client, until_s)
            return client

    def _read(self, route: tuple[str, str, str], ref: SecretRef) -> Payload:
        arguments = {"SecretId": ref.name}
        if ref.version is not None:
            arguments["VersionId" if _UUID.match(ref.version) else "VersionStage"] = ref.version
        with classifying(classified, "resolve", describe_ref(ref)):
            return _payload(self._client(route).get_secret_value(**arguments))

    def _read_batch(self, route: tuple[str, str, str], refs: Sequence[SecretRef]) -> dict[SecretRef, Payload]:
        """What one batch gives. What it does not give is read one by one, where its error is told."""
        found: dict[SecretRef, Payload] = {}
        try:
            client = self._client(route)
            arguments: dict[str, Any] = {"SecretIdList": [ref.name for ref in refs]}
            while True:
                answer = client.batch_get_secret_value(**arguments)
                for each in answer.get("SecretValues", ()):
                    for ref in refs:
                        if ref.name in {each.get("Name"), each.get("ARN")}:
                            found[ref] = _payload(each)
                if not answer.get("NextToken"):
                    return found
                arguments["NextToken"] = answer["NextToken"]
        except Exception as cause:
            error = classified(cause, "resolve", describe_ref(refs[0]))
            if error.transient or isinstance(error, SecretExpiredToken | SecretNoIdentity | BadConfig):
                raise error from cause
            self._may_batch = False  # the identity may not, or the server cannot: one by one says what is wrong
            return {}


def _payload(answer: Mapping[str, Any]) -> Payload:
    text = answer.get("SecretString")
    raw = text.encode() if text is not None else bytes(answer["SecretBinary"])
    return Payload(raw=raw, version=answer.get("VersionId"))


def classified(cause: Exception, op: str, subject: str) -> CopilotError:
    """What boto3 raised, as one of ours: by its class and the service's error code."""
    import botocore.exceptions as boto  # noqa: PLC0415 - clients are imported when used
    import botocore.parsers  # noqa: PLC0415 - as above

    if isinstance(cause, boto.ClientError):
        return _refusal(cause.response, op, subject)
    if isinstance(cause, boto.NoRegionError):
        return BadConfig("no AWS region is known", op=op, subject=subject, hint="Set AWS_REGION.")
    if isinstance(cause, boto.ParamValidationError | boto.InvalidRegionError):
        return BadSecretRef("AWS cannot have a secret of this name, version or region", op=op, subject=subject)
    if isinstance(cause, boto.ProfileNotFound):
        return BadConfig("the AWS profile is not in the shared files", op=op, subject=subject, hint="Look at AWS_PROFILE.")
    if isinstance(cause, boto.SSLError):
        return not_accepted("AWS", op=op, subject=subject, variable="AWS_CA_BUNDLE")
    if isinstance(cause, boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError):
        return SecretUnreachable("AWS Secrets Manager does not answer", op=op, subject=subject)
    if isinstance(cause, botocore.parsers.ResponseParserError):
        return SecretFault("AWS answered what is no answer", op=op, subject=subject)
    if isinstance(cause, boto.BotoCoreError | OSError):
        return SecretNoIdentity(
            "there are no usable AWS credentials",
            op=op,
            subject=subject,
            hint="Give the pod a role (IRSA or Pod Identity), or set AWS_PROFILE.",
        )
    raise cause


def _refusal(response: Mapping[str, Any], op: str, subject: str) -> SecretError:
    code = str(response.get("Error", {}).get("Code", ""))
    http = response.get("ResponseMetadata", {})
    status = int(http.get("HTTPStatusCode", 0))
    if code == "ResourceNotFoundException":
        return SecretNotFound(
            "AWS Secrets Manager has no such secret, or no such version of it",
            op=op,
            subject=subject,
            hint="Check the name, the region and the account.",
        )
    if code in _DENIED:
        return SecretDenied(
            "the identity may not read this secret",
            op=op,
            subject=subject,
            hint="Grant it secretsmanager:GetSecretValue, and kms:Decrypt on the secret's key.",
        )
    if code in _EXPIRED:
        return SecretExpiredToken("the AWS credentials have expired", op=op, subject=subject, hint="Renew the session.")
    if code in _UNKNOWN:
        return SecretNoIdentity("AWS does not know the credentials we show", op=op, subject=subject)
    if code in _THROTTLED or status == 429:  # noqa: PLR2004 - HTTP's own number
        after = str(http.get("HTTPHeaders", {}).get("retry-after", ""))
        return SecretThrottled(
            "AWS asks us to slow down", op=op, subject=subject, retry_after_s=float(after) if after.isdecimal() else None
        )
    if code in _MISTAKEN:
        return BadSecretRef("AWS cannot have a secret of this name or version", op=op, subject=subject)
    if status >= 500:  # noqa: PLR2004 - HTTP's own number
        return SecretFault(f"AWS Secrets Manager failed with {status}", op=op, subject=subject)
    return SecretRefused(
        f"AWS refused the request with {code or status}",
        op=op,
        subject=subject,
        hint="A secret that is scheduled for deletion cannot be read." if code == "InvalidRequestException" else "",
    )

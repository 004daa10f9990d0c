"""obstore's exceptions → ours.

The class decides where obstore has one. Its ``GenericError`` covers everything else, and carries the HTTP status, the kind of
the connection's failure and the store's own error code nowhere but in its text: reading them there, in the one function
``facts``, is a decision of its own (docs/decisions/0010-obstore-errors.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from copilot.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    BadStoreRequest,
    BucketNotFound,
    ChecksumMismatch,
    CopilotError,
    NoIdentity,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    StoreError,
    Throttled,
    Truncated,
    Unreachable,
    UnsafePath,
)

# Error codes of the stores' own documents (S3's and GCS's <Code>, Azure's <Code>) that say who we are is the trouble.
_IDENTITY_CODES = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
        "RequestTimeTooSkewed",
        "AuthorizationHeaderMalformed",
    }
)
_BUCKET_CODES = frozenset({"NoSuchBucket", "ContainerNotFound", "ResourceNotFound"})
_THROTTLE_CODES = frozenset({"SlowDown", "TooManyRequests", "RequestLimitExceeded", "ServerBusy"})

_DIGEST_CODES = frozenset({"BadDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})

_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_REQUEST = re.compile(r"Error performing [A-Z]+ (https?://[^\s?]+)")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Request|Interrupted|Decode|Body)\b")
_CODE = re.compile(r"<Code>(\w+)</Code>")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an exception of obstore says besides its class.

    Attributes:
        status: the HTTP status, or None where no answer came.
        kind: of a failure below HTTP: ``Connect``, ``Timeout``, ``Request``, ``Interrupted``, ``Decode``, ``Body``; or empty.
        code: the store's own error code (``NoSuchBucket``), or empty.
        host: whom the failed request was sent to, or empty.
    """

    status: int | None = None
    kind: str = ""
    code: str = ""
    host: str = ""


def facts(error: BaseException) -> Facts:
    """Reads the facts out of an exception's text: the status stands before anything the server wrote."""
    text = str(error)
    status, request, kind, code = (pattern.search(text) for pattern in (_STATUS, _REQUEST, _KIND, _CODE))
    return Facts(
        status=int(status[1]) if status else None,
        kind=kind[1] if kind and not status else "",
        code=code[1] if code else "",
        host=(urlsplit(request[1]).hostname or "") if request else "",
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a request was about, for the sentences.

    Attributes:
        uri: the object or prefix, redacted.
        bucket: the bucket's URI, redacted.
        host: the endpoint's host name: failures elsewhere are those of the credentials' source.
    """

    uri: str
    bucket: str
    host: str


def classified(error: BaseException, op: str, subject: Subject) -> CopilotError:  # noqa: PLR0911 - one a class
    """The error of ours for one of obstore's."""
    name, found = type(error).__name__, facts(error)
    if found.host and subject.host and found.host != subject.host and not found.host.endswith(f".{subject.host}"):
        return _of_credentials(found, op, subject)
    if isinstance(error, FileNotFoundError):
        return _missing(found, op, subject)
    if found.code == "ConditionalRequestConflict":  # two writers at once: neither has won yet
        return Throttled(f"Somebody else is writing {subject.uri} just now", op=op, subject=subject.uri)
    if name == "AlreadyExistsError":
        return AlreadyExists(f"{subject.uri} exists already", op=op, subject=subject.uri)
    if name in {"PreconditionError", "NotModifiedError"}:
        return ObjectChanged(f"{subject.uri} is not the object it was", op=op, subject=subject.uri)
    if name == "InvalidPathError" or isinstance(error, ValueError):
        return UnsafePath(
            f"{subject.uri} holds a name that is no path: an empty, '.' or '..' segment",
            op=op,
            subject=subject.uri,
            hint="Rename that object.",
        )
    if name in {"PermissionDeniedError", "UnauthenticatedError"}:
        return _denied(401 if name == "UnauthenticatedError" else 403, found.code, op, subject)
    if found.status is not None:
        return of_status(found.status, found.code, op, subject)
    return _without_answer(found.kind, op, subject)


def of_status(  # noqa: C901, PLR0911 - one a status
    status: int, code: str, op: str, subject: Subject
) -> StoreError:
    """The error for an HTTP answer that is not a success."""
    said = f"{status} {code}".strip()
    if code in _BUCKET_CODES or status == HTTPStatus.NOT_FOUND:
        return _missing(Facts(status=status, code=code), op, subject)
    if code in _IDENTITY_CODES or status in {401, 403}:
        return _denied(status, code, op, subject)
    if code in _DIGEST_CODES:
        return ChecksumMismatch(
            f"What arrived of {subject.uri} are other bytes than were sent ({said})",
            op=op,
            subject=subject.uri,
            hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
        )
    if code in _THROTTLE_CODES or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(f"The store asks for fewer requests ({said}) for {subject.uri}", op=op, subject=subject.uri)
    if status == HTTPStatus.REQUEST_TIMEOUT or code == "RequestTimeout":
        return Stalled(f"The store waited too long for our bytes of {subject.uri} ({said})", op=op, subject=subject.uri)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFault(
            f"The store failed with {said} for {subject.uri}",
            op=op,
            subject=subject.uri,
            hint="It may be overloaded: try again later.",
        )
    if code == "ConditionalRequestConflict":
        return Throttled(f"Somebody else is writing {subject.uri} just now", op=op, subject=subject.uri)
    if op == "put" and (status == HTTPStatus.PRECONDITION_FAILED or code == "BlobAlreadyExists"):
        return AlreadyExists(f"{subject.uri} exists already", op=op, subject=subject.uri)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChanged(f"{subject.uri} is not the object it was", op=op, subject=subject.uri)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return BadStoreRequest(
            f"{subject.bucket} lives elsewhere ({said})",
            op=op,
            subject=subject.uri,
            hint="Set the region or the endpoint the bucket belongs to.",
        )
    return BadStoreRequest(f"The store refused the request for {subject.uri} with {said}", op=op, subject=subject.uri)


def _missing(found: Facts, op: str, subject: Subject) -> StoreError:
    if found.code in _BUCKET_CODES:
        return BucketNotFound(
            f"There is no bucket {subject.bucket}",
            op=op,
            subject=subject.uri,
            hint="Check its name, the endpoint and the region.",
        )
    return ObjectNotFound(
        f"There is no object {subject.uri}", op=op, subject=subject.uri, hint="Check the URI: names are case-sensitive."
    )


def _denied(status: int, code: str, op: str, subject: Subject) -> StoreError:
    said = f"{status} {code}".strip()
    if status == HTTPStatus.UNAUTHORIZED or code in _IDENTITY_CODES:
        return BadCredentials(
            f"The store does not accept our credentials ({said}) for {subject.uri}",
            op=op,
            subject=subject.uri,
            hint="Check the access key, its secret, whether they expired, and this machine's clock.",
        )
    return AccessDenied(
        f"The store does not allow us to {op} {subject.uri} ({said})",
        op=op,
        subject=subject.uri,
        hint="Give this identity the right to it, or use another; with wrong keys some stores answer the same.",
    )


def _of_credentials(found: Facts, op: str, subject: Subject) -> StoreError:
    if found.status is not None and found.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFault(
            f"{found.host} failed with {found.status} when asked for credentials for {subject.bucket}",
            op=op,
            subject=subject.uri,
        )
    if found.status == HTTPStatus.TOO_MANY_REQUESTS:
        said = f"{found.host} asks for fewer requests for credentials for {subject.bucket}"
        return Throttled(said, op=op, subject=subject.uri)
    said = f"answered {found.status} {found.code}".strip() if found.status is not None else "did not answer"
    return (BadCredentials if found.status is not None else NoIdentity)(
        f"There are no credentials for {subject.bucket}: none are configured, and {found.host} {said}",
        op=op,
        subject=subject.uri,
        hint="Set the cloud's variables or a profile, attach an identity to the pod, or ask for anonymous access.",
    )


def _without_answer(kind: str, op: str, subject: Subject) -> StoreError:
    where = f" at {subject.host}" if subject.host else ""
    if kind == "Timeout":
        return Stalled(f"The store{where} sent nothing for too long for {subject.uri}", op=op, subject=subject.uri)
    if kind in {"Decode", "Body", "Interrupted"}:
        return Truncated(f"The connection broke while {subject.uri} was moving", op=op, subject=subject.uri)
    if kind in {"Connect", "Request"}:
        return Unreachable(
            f"The store{where} cannot be reached for {subject.uri}",
            op=op,
            subject=subject.uri,
            hint="Check the endpoint's name and port, and the network.",
        )
    return BadStoreRequest(
        f"{subject.uri} cannot be opened as it is configured", op=op, subject=subject.uri, hint="Check the store's settings."
    )

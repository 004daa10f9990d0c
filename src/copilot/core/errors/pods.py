"""The executor, or the Kubernetes API, about a pod."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class PodError(CopilotError):
    """An executor, or the Kubernetes API, about a pod."""

    reason = "PodFailed"
    exit_code = ExitCode.CONTROL_PLANE


class PodNotFound(PodError):
    """There is no such pod (404)."""

    reason = "PodNotFound"


class PodExists(PodError):
    """A pod of this name is there already (409)."""

    reason = "PodExists"


class PodRefused(PodError):
    """The manifest, or the request, will never be accepted (400, 403, 422): asking again changes nothing."""

    reason = "PodRefused"
    kind = Kind.USER


class PodApiUnavailable(PodError):
    """No answer, 429 or 5xx: ask again later."""

    reason = "PodApiUnavailable"
    transient = True


class PodConflict(PodApiUnavailable):
    """Somebody else changed it first (409): read it and try again."""

    reason = "PodConflict"


class PodQuotaExceeded(PodError):
    """The namespace's ResourceQuota has no room for another pod: once others have ended there is."""

    reason = "PodQuotaExceeded"
    transient = True


class PodUnauthenticated(PodError):
    """The cluster does not know us (401): our credentials are wrong or over, which is no fault of any pod."""

    reason = "PodUnauthenticated"
    transient = True


class PodListExpired(PodError):
    """The version asked for is too old (410): list again."""

    reason = "PodListExpired"

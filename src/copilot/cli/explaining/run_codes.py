"""The codes of ended attempts beside the reasons of our errors: the pod's, the kubelet's, the server's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RunCode:
    """One code of an ended attempt.

    Attributes:
        cause: what happened.
        cure: what to do.
        budget: which retries it uses: ``user``, ``system`` or ``preemption``; empty where there are none.
    """

    cause: str
    cure: str
    budget: str


_IMAGE: Final = "Correct the image's name, or give the pods a pull secret; `kubectl describe pod` has the registry's words."
_CONFIG: Final = "Look for the Secret, ConfigMap or volume that the message names."

RUN_CODES: Final = {
    "Aborted": RunCode("Somebody aborted the run", "Nothing, if it was meant; submit it again otherwise.", ""),
    "ContainerCannotRun": RunCode("The runtime could not start the command", "Check the command and the image.", "user"),
    "CrashLoopBackOff": RunCode("A container of the pod ends again and again", "Look at its log: `kubectl logs -p`.", "user"),
    "CreateContainerConfigError": RunCode("The container's configuration names what is not there", _CONFIG, "user"),
    "CreateContainerError": RunCode("The runtime could not make the container", _CONFIG, "user"),
    "ErrImageNeverPull": RunCode("The image is not on the node, and may not be pulled", _IMAGE, "user"),
    "ErrImagePull": RunCode("The image could not be pulled", _IMAGE, "user"),
    "ErrorUnreadable": RunCode("The attempt left an error document that is none", "Look at what wrote it.", "system"),
    "Evicted": RunCode(
        "The pod was evicted from its node", "It is tried again; ask for what the task really needs.", "preemption"
    ),
    "ImagePullBackOff": RunCode("The image could not be pulled, again and again", _IMAGE, "user"),
    "InitFailed": RunCode("An init container of the pod's template failed", "Look at that container's log.", "user"),
    "InputDownloadFailed": RunCode(
        "The inputs could not be fetched",
        "The message has the reason code of `copilot init`: explain that one.",
        "user or system",
    ),
    "InvalidImageName": RunCode("The image's name cannot be one", "Correct the image's name.", "user"),
    "NodeLost": RunCode("The pod's node stopped answering", "It is tried again; look at the node.", "preemption"),
    "OOMKilled": RunCode(
        "The task used more memory than its limit and was killed", "Give the task a higher memory limit.", "user"
    ),
    "OutputUploadFailed": RunCode(
        "The outputs could not be published",
        "The message has the reason code of `copilot sidecar`: explain that one, or the attempt's prefix.",
        "user or system",
    ),
    "OutputsNotPublished": RunCode(
        "The task ended well and nothing in the store says so", "Look at the sidecar's log and at the prefix.", "system"
    ),
    "PodDeleted": RunCode(
        "The pod was deleted while the task ran", "It is tried again, unless somebody aborts it.", "preemption"
    ),
    "PodLost": RunCode(
        "The pod is gone, and nothing in the store proves that the task had finished",
        "It is tried again; look for who deletes pods without their finalizer.",
        "preemption",
    ),
    "Preempted": RunCode(
        "The pod made room for one of higher priority", "It is tried again; raise its priority.", "preemption"
    ),
    "QueuedTimeout": RunCode(
        "The attempt waited longer for its start than the task allows", "Raise the queued timeout, or --max-pods.", "user"
    ),
    "RegistryUnavailable": RunCode("The image's registry does not answer", _IMAGE, "user"),
    "RunContainerError": RunCode("The runtime could not run the container", _CONFIG, "user"),
    "StartError": RunCode(
        "The command could not be started: it is not in the image", "Check the command and the image.", "user"
    ),
    "TimedOut": RunCode("The task outlived its timeout", "Raise the task's timeout, or let it do less.", "user"),
}

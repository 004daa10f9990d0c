"""What an attempt has left under its prefix, read in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.control_plane.lifecycle.work import Published
from copilot.core import podfiles
from copilot.core.errors import ObjectNotFound

if TYPE_CHECKING:
    from copilot.control_plane.objects import Objects


def published(objects: Objects, prefix: str) -> Published:
    """Blocking. ``outputs.pb`` is looked at first: it is written last, so what belongs to it is there by then."""
    error = objects.read_now(f"{prefix}/{podfiles.ERROR_PB}")
    if error is None:
        error = objects.read_now(f"{prefix}/{podfiles.ERRORS_PB}")
    location = objects.stores.locate(f"{prefix}/{podfiles.OUTPUTS_PB}")
    try:
        location.store.head(location.key)
    except ObjectNotFound:
        outputs = False
    else:
        outputs = True
    manifest = objects.read_now(f"{prefix}/{podfiles.MANIFEST}")
    receipt = objects.read_now(f"{prefix}/{podfiles.RECEIPT}")
    return Published(outputs=outputs, error=error, manifest=manifest, receipt=receipt)

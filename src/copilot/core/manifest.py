"""The text of ``_manifest.json`` and ``_receipt.json``: what was published, and how the work ended.

``_manifest.json`` is written object by object, so that a million objects need no memory: ``manifest_head``, one
``manifest_line`` an object, ``manifest_tail``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from copilot.core.uri import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.core.values import Receipt, Totals

MANIFEST_FORMAT: Final = "copilot-manifest/1"
RECEIPT_FORMAT: Final = "copilot-receipt/1"


def manifest_head(outputs_uri: str) -> str:
    """The beginning, up to the first object."""
    return f'{{"format": {_json(MANIFEST_FORMAT)}, "outputs": {_json(redact(outputs_uri))},\n "objects": ['


def manifest_line(receipt: Receipt, *, first: bool) -> str:
    """One object: where it is, what it was, and what proves it. Fields that are not known are left out, credentials too."""
    known = {
        "path": receipt.path,
        "uri": redact(receipt.uri),
        "variable": receipt.variable,
        "digest": receipt.digest,
        "etag": receipt.etag,
        "version": receipt.version,
    }
    fields: dict[str, object] = {name: value for name, value in known.items() if value}
    fields["size_bytes"] = receipt.size_bytes
    return f"{'' if first else ','}\n  {_json(fields)}"


def manifest_tail(*, totals: Totals, digest: str, outputs_size_bytes: int, outputs_sha256: str) -> str:
    """The end: totals, the digest over all objects, and what ``outputs.pb`` will be."""
    fields = {
        "totals": {"objects": totals.objects, "size_bytes": totals.size_bytes},
        "digest": digest,
        "outputs_pb": {"size_bytes": outputs_size_bytes, "digest": f"sha256:{outputs_sha256}"},
    }
    return "\n ],\n " + _json(fields)[1:] + "\n"


def receipt_document(
    *,
    published: bool,
    outputs_uri: str,
    verdict: Mapping[str, object],
    totals: Totals,
    timings: Mapping[str, float],
    failure: Mapping[str, str] | None = None,
    partial: Mapping[str, object] | None = None,
    run: Mapping[str, str] | None = None,
    outputs_pb: Mapping[str, object] | None = None,
) -> bytes:
    """``_receipt.json``: how the task and the work ended.

    Args:
        published: whether ``outputs.pb`` was written.
        outputs_uri: where it is, or would be.
        verdict: how the task ended, and how that is known.
        totals: what moved.
        timings: seconds of each step, by name.
        failure: ``reason``, ``message`` and ``hint`` of what went wrong.
        partial: where what the task left is kept, when it is not published.
        run: which run of a task this was.
        outputs_pb: ``size_bytes`` and ``digest`` of what was published.
    """
    fields: dict[str, object] = {
        "format": RECEIPT_FORMAT,
        "published": published,
        "outputs": redact(outputs_uri),
        "verdict": dict(verdict),
        "totals": {"objects": totals.objects, "size_bytes": totals.size_bytes, "seconds": round(totals.seconds, 3)},
        "timings_s": {name: round(seconds, 3) for name, seconds in timings.items()},
    }
    if run:
        fields["run"] = dict(run)
    if outputs_pb:
        fields["outputs_pb"] = dict(outputs_pb)
    if failure:
        fields["failure"] = dict(failure)
    if partial:
        fields["partial"] = dict(partial)
    return (json.dumps(fields, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

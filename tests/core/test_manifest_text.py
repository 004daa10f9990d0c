"""``_manifest.json`` and ``_receipt.json`` are JSON, whatever stands in them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from copilot.core.manifest import manifest_head, manifest_line, manifest_tail, receipt_document
from copilot.core.uri import redact
from copilot.core.values import Receipt, Totals

RECEIPTS = st.builds(Receipt, st.text(), st.text(), st.integers(0), st.text(), st.text(), st.text(), st.text())


@given(st.text(), st.lists(RECEIPTS, max_size=4))
def test_a_manifest_written_in_pieces_is_one_json_document(uri: str, receipts: list[Receipt]) -> None:
    text = manifest_head(uri)
    for index, receipt in enumerate(receipts):
        text += manifest_line(receipt, first=index == 0)
    text += manifest_tail(totals=Totals(len(receipts), 7), digest="d", outputs_size_bytes=3, outputs_sha256="ab")
    document = json.loads(text)
    assert document["format"] == "copilot-manifest/1"
    assert document["outputs"] == redact(uri)
    assert document["totals"] == {"objects": len(receipts), "size_bytes": 7}
    assert document["outputs_pb"] == {"size_bytes": 3, "digest": "sha256:ab"}
    assert [entry["size_bytes"] for entry in document["objects"]] == [receipt.size_bytes for receipt in receipts]
    for entry, receipt in zip(document["objects"], receipts, strict=True):
        assert entry.get("uri", "") == redact(receipt.uri)
        assert entry.get("version", "") == receipt.version


def test_a_receipt_shows_no_credentials() -> None:
    content = receipt_document(
        published=False, outputs_uri="https://user:pw@host/x?sig=1", verdict={}, totals=Totals(), timings={"wait": 0.12345}
    )
    document = json.loads(content)
    assert document["outputs"] == "https://host/x"
    assert document["timings_s"] == {"wait": 0.123}
    assert "failure" not in document

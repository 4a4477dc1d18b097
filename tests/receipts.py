"""Receipts of parts, for tests: a complete one with some fields replaced, and a part file that carries it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from scoreline.pipeline.outputs.receipt import footer_metadata, with_checksum
from scoreline.schemas.run import Fingerprint, Receipt

DIGEST = "sha256:" + "0" * 64


def fingerprint_of(**changes: Any) -> Fingerprint:
    """A fingerprint of `a.parquet`, of a bundle whose digest is zeros."""
    fields = {
        "source": "a.parquet", "size": 10, "mtime_ns": 20, "first_row": 0, "bundle": DIGEST, "options": {"top_k": "2"}
    }  # fmt: skip
    return Fingerprint(**{**fields, **changes})


def receipt_of(fingerprint: Fingerprint | None = None, **changes: Any) -> Receipt:
    """A receipt of the only split of `a.parquet`, three rows, without a checksum."""
    fields = {
        "fingerprint": fingerprint or fingerprint_of(), "root": "/data", "split": 0, "last": True, "num_keys": 1,
        "rows_in": 3, "rows_scored": 3, "rows_rejected": 0, "rejects": None, "made_with": {"torch": "2"},
    }  # fmt: skip
    return Receipt(**{**fields, **changes})


def write_part(path: Path, receipt: Receipt, *, rows: int | None = None, first: int = 0) -> Receipt:
    """Write a part with as many rows as the receipt counts, and ids from `first` on. Returns the receipt with its
    checksum."""
    receipt = with_checksum(receipt)
    ids = range(first, first + (receipt.rows_scored if rows is None else rows))
    table = pa.table({"id": pa.array(ids, pa.int64())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(footer_metadata(receipt)), path, write_page_checksum=True)
    return receipt

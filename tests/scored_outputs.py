"""Outputs of finished runs, written from tables without a model."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.outputs.assemble import REJECT
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import write_manifest
from scoreline.pipeline.outputs.naming import part_name
from scoreline.pipeline.outputs.receipt import file_digest, footer_metadata, with_checksum
from scoreline.pipeline.outputs.store import SUCCESS
from scoreline.schemas.run import HeadRecord

from planned_runs import ledger, part, partition, plan
from receipts import fingerprint_of, receipt_of


def write_scored(
    folder: Path,
    tables: Mapping[str, pa.Table],
    head: HeadRecord,
    *,
    split_rows: int = 1000,
    rejected: Mapping[str, Collection[int]] | None = None,
    prefix: str = "",
    mtime_ns: int = 20,
) -> Path:
    """Write an output with a part for every `split_rows` rows of each table, the rows of an input with their
    predictions.

    Args:
        rejected: the numbers of the rows that are rejected, by input.
    """
    sources = {name: partition(name) for name in tables}
    found = ledger(plan(list(sources.values())), columns=ColumnOptions(prefix=prefix))
    found.heads = [head]
    store = FolderStore(folder)
    store.prepare()
    for name, table in tables.items():
        starts = range(0, max(1, table.num_rows), split_rows)
        for split, first in enumerate(starts):
            rows = np.arange(first, min(first + split_rows, table.num_rows))
            lost = [row for row in rows.tolist() if row in (rejected or {}).get(name, ())]
            kept = table.take(np.setdiff1d(rows, lost))
            target = part_name(name, split, several=len(starts) > 1)
            mark = fingerprint_of(source=name, first_row=first, mtime_ns=mtime_ns)
            last = split == len(starts) - 1
            counts: dict[str, Any] = {"rows_in": len(rows), "rows_scored": len(kept), "rows_rejected": len(lost)}
            record = part(target, split=split, scored=len(kept), rejected=len(lost), last=last)
            if record.rejects:
                _write_rejects(store.path(record.rejects), name, lost)
                counts["rejects"] = file_digest(store.path(record.rejects))
            receipt = with_checksum(receipt_of(mark, split=split, last=last, **counts))
            store.path(target).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(kept.replace_schema_metadata(footer_metadata(receipt)), store.path(target))
            found.publish(sources[name], record)
    write_manifest(store, found.manifest(None), found.record())
    store.write(SUCCESS, b"")
    return folder


def _write_rejects(path: Path, source: str, rows: list[int]) -> None:
    reasons = [
        {"source": source, "row_number": row, "stage": "check", "column": "age", "reason": "is null"} for row in rows
    ]
    batch = pa.record_batch({"age": pa.nulls(len(rows), pa.float64()), "reject": pa.array(reasons, REJECT)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)

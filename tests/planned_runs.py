"""Inputs, parts and ledgers of runs that are planned and recorded, but not executed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from scoreline.pipeline.inputs.discover import Discovery
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs.assemble import REJECT
from scoreline.pipeline.outputs.part_records import PartRecord
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import Plan
from scoreline.pipeline.records import Partition
from scoreline.pipeline.running.ledger import Ledger, RunClock
from scoreline.schemas.run import BundleRecord

DIGEST = "sha256:" + "0" * 64


def partition(name: str) -> Partition:
    """An input below /in."""
    return Partition(path=f"/in/{name}", name=name, format="parquet", size=9, mtime_ns=1)


def part(target: str, *, split: int = 0, scored: int = 10, rejected: int = 0, **more: Any) -> PartRecord:
    """The record of a part, the last of its input unless given otherwise."""
    given = {"last": True, "sha256": DIGEST, "receipt": DIGEST, **more}
    return PartRecord(
        target=target, split=split, rows_in=scored + rejected, rows_scored=scored, rows_rejected=rejected, **given
    )


def plan(
    partitions: Sequence[Partition],
    *,
    kept: Mapping[Partition, Sequence[PartRecord]] | None = None,
    num_rows: int | None = 0,
    **existing: Any,
) -> Plan:
    """A plan with kept parts, and nothing to score."""
    parts = {owner: {one.split: one for one in records} for owner, records in (kept or {}).items()}
    return Plan(
        discovery=Discovery(real_root="/in", partitions=tuple(partitions)),
        existing=ExistingParts(kept=parts, **existing),
        split_rows=100,
        partitions=(),
        reasons={},
        failed=(),
        num_rows=num_rows,
    )


def ledger(planned: Plan, *, device: str = "cpu", compiled: bool = False, **options: Any) -> Ledger:
    """The ledger of a run with some options."""
    job = ScoreJob(**{"bundle": "b", "input": "/in", "output": "/out", "run_id": "one", **options})
    return Ledger(
        job=job,
        plan=planned,
        bundle=BundleRecord(
            path="b", digest=DIGEST, golden_rows=None, golden_source=None, golden_largest_difference=None
        ),
        device=device,
        block_rows=64,
        compiled=compiled,
        versions={"torch": "2.9"},
        heads=[],
        stage_names=("discover", "read", "forward"),
        clock=RunClock(),
        startup_s=0.0,
    )


def rejects(*rows: int) -> pa.RecordBatch:
    """Rejects of a.parquet with these row numbers."""
    reasons = [
        {"source": "a.parquet", "row_number": row, "stage": "check", "column": "age", "reason": "is null"}
        for row in rows
    ]
    return pa.record_batch({"age": pa.nulls(len(rows), pa.float64()), "reject": pa.array(reasons, REJECT)})

"""The Parquet files beside run.json, from the schemas with which they are written."""

import pyarrow as pa
import pyarrow.parquet as pq
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs.part_records import (
    OutputRecord,
    PartitionRecord,
    PartRecord,
    PartVersion,
    encode_record,
)
from scoreline.pipeline.planning.shard_plan import ShardedJob, ShardPlan, encode_plan

from .markdown import code, table

PARTS = {
    "source": "the name of the input; null for an orphaned part",
    "path": "its path",
    "format": "its format",
    "error": "why it could not be read to its end",
    "target": "the part file; null if the input has none",
    "split": "the number of the split, from 0",
    "last": "whether it is the last one of its input",
    "kept": "whether an earlier run made the part",
    "sha256": "the digest of the part file",
    "receipt": "the checksum of its receipt",
    "rows_in": "rows read",
    "rows_scored": "rows written to the part",
    "rows_rejected": "rows written to the rejects",
    "out_of_bounds": "scored rows that are out of bounds",
    "above_threshold": "scored rows that are flagged",
    "etag": "the ETag of the part; of a file, its size, times of modification and change, and inode",
    "rejects_etag": "the ETag of its rejects",
    "identity": "the digest of its fingerprint and of the root of its input",
    "made_with": "what its receipt names as `made_with`, as JSON",
}
PIECES = {
    "source": "the name of the input",
    "format": "its format",
    "size": "its size in bytes",
    "mtime_ns": "its time of modification, in nanoseconds since 1970",
    "etag": "the ETag of an object; null for a file",
    "first_split": "the first split that the shard scores; null if it scores all",
    "stop_split": "the split after the last one",
    "shard": "the number of the shard, from 1",
}


def records_section() -> str:
    """The columns of parts.pq and plan.pq."""
    return "\n".join((
        "## _scoreline/parts.pq\n\n"
        "One row for each part, in the order of inputs and splits. An input without a part has a row with its error, "
        "an orphaned part has a row without an input.\n\n" + _columns(encode_record(_record()), PARTS),
        "## _scoreline/shards/plan.pq\n\n"
        "The plan that [shards](../how-to/shards.md) follow: one row for each input, or for each range of its splits. "
        "The options of the job, the digest of the bundle and the number of shards are in the metadata of its schema, "
        "under `scoreline.shards`.\n\n" + _columns(encode_plan(_empty_plan()), PIECES),
    ))  # fmt: skip


def _columns(data: bytes, meanings: dict[str, str]) -> str:
    """The columns of a file. A column without a meaning raises KeyError."""
    schema = pq.read_schema(pa.BufferReader(data))
    return table(("column", "type", "meaning"), [(code(one.name), str(one.type), meanings[one.name]) for one in schema])


def _record() -> OutputRecord:
    """A record of a part with a version, which has every column."""
    digest = "sha256:" + "0" * 64
    part = PartRecord(
        target="a.parquet", split=0, last=True, sha256=digest, receipt=digest, rows_in=0, rows_scored=0,
        rows_rejected=0, version=PartVersion(etag="0", rejects_etag=None, identity=digest, made_with="{}"),
    )  # fmt: skip
    return OutputRecord(
        partitions=[PartitionRecord(source="a.parquet", path="a.parquet", format="parquet", parts=[part])]
    )


def _empty_plan() -> ShardPlan:
    job = ScoreJob(bundle="bundle", input="data", output="scored", run_id="")
    return ShardPlan(sharded=ShardedJob(job=job, root="data", bundle="", split_rows=1, count=1), pieces=())

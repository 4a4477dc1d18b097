"""What a run writes besides its rows: the receipt in the footer of each part file, and `_scoreline/run.json`. The
parts are listed in a Parquet file beside it (`pipeline/outputs/part_records.py`)."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Schema, Sha256
from .drift import WorstDrift


class Fingerprint(Schema):
    """What a part was made from: equal fingerprints mean equal work. It contains only what changes values beyond
    rounding. An option that is off is left out, so that a new option makes no part out of date. The rows begin at
    `first_row`; the receipt has their number."""

    source: str
    size: int
    mtime_ns: int
    #: Of an object; left out for files.
    etag: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    first_row: int
    bundle: Sha256
    options: dict[str, str]


class ProfileLocation(Schema):
    """Where a part file has its profile: between its last row group and its footer."""

    offset: int = Field(ge=4)
    length: int = Field(ge=0, le=1 << 16)
    sha256: Sha256


class Receipt(Schema):
    """The description of a part file in its own footer, under the key `scoreline.receipt`.

    It contains no time, no run id and no number of workers: equal work gives equal bytes. `made_with`: what only
    affects the last bits of values. `rejects`: the digest of the rejects file; another file in its place is invalid.
    """

    format: Literal[1] = 1
    fingerprint: Fingerprint
    #: The real path of the folder that the source's name is relative to.
    root: str
    split: int
    #: Whether it contains the last rows of the input.
    last: bool
    #: How many of the first columns are keys, carried from the input; the others are outputs.
    num_keys: int
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rejects: Sha256 | None
    #: How many of the scored rows are out of the bounds of the bundle, and above its threshold.
    out_of_bounds: int = 0
    above_threshold: int = 0
    made_with: dict[str, str]
    #: None in a part that was made without a profile.
    profile: ProfileLocation | None = Field(default=None, exclude_if=lambda location: location is None)
    checksum: Sha256 | None = None


class StageTotals(Schema):
    """One stage of the run. `busy_s`: work, summed over threads. `waiting_s`: how long the run waited for it; summed
    over all stages, with `startup_s` and `other_s`, this is the wall time."""

    busy_s: float
    waiting_s: float
    rows: int
    bytes: int


class DeviceRecord(Schema):
    """A GPU that scored. `device`: its name in torch; `card`: its model. `busy_s`: the seconds in which it computed or
    copied, on any of its streams; `busy_share`: their share of the wall time."""

    device: str
    card: str
    busy_s: float
    busy_share: float


class BundleRecord(Schema):
    """The bundle that made the output."""

    path: str
    digest: Sha256
    #: None if there was nothing to score, so that the model was not loaded.
    golden_rows: int | None
    golden_source: Literal["model", "expected"] | None
    golden_largest_difference: float | None


class HeadRecord(Schema):
    """A head and its predictions, for evaluation. `columns`: their names in the output."""

    name: str
    task: str
    labels: list[bool | int | float | str] = []
    targets: list[str] = []
    #: The quantile of each column, in order.
    quantiles: list[float] = []
    #: The time steps of a forecast.
    horizons: list[str] = []
    #: The number above which a row is flagged.
    threshold: float | None = None
    columns: list[str]


class ShardRecord(Schema):
    """A shard of a finished run. `shard`: its number and the number of shards, `3/16`."""

    shard: str
    run_id: str
    started: str
    ended: str
    device: str
    rows_in: int
    wall_s: float


class ColumnDrift(Schema):
    """A column at yellow or red in any input or in all rows, with its largest PSI `against` the bundle's reference or
    the run before."""

    column: str
    role: Literal["feature", "output"]
    against: Literal["reference", "previous"]
    psi: float


class DriftSummary(Schema):
    """How far the rows are from the bundle's reference; `_scoreline/profile.json` has the details. `worst_psi`: the
    largest PSI above the bound of chance, of `worst_column` in `worst_partition` (None: all rows); `red`, `yellow`: the
    numbers of comparisons at each level, of `tests`. `unprofiled_parts`: parts that were made without a profile.

    `previous_run`: the id of the run before, None if the rows were not compared with one; `worst_from_previous`: as the
    worst, in comparison with it. `columns`: those with drift, at most 50 for each baseline, the largest PSI first."""

    worst_psi: float | None
    worst_column: str | None
    worst_partition: str | None
    red: int
    yellow: int
    tests: int
    unprofiled_parts: int
    previous_run: str | None = None
    worst_from_previous: WorstDrift | None = None
    columns: list[ColumnDrift] = []


class RunManifest(Schema):
    """`_scoreline/run.json`: what was done, with what, and what the run waited for. `status` is `running` from the time
    when parts may be replaced until the run ends; if the run is killed, it stays `running`. Its size does not depend on
    the number of inputs: `_scoreline/parts.pq` lists them with their parts."""

    format: Literal[1] = 1
    run_id: str
    status: Literal["success", "failed", "running"]
    error: str | None = None
    started: str
    ended: str
    input: str
    #: The real path of the folder that the names of inputs are relative to.
    root: str = ""
    #: Its earlier values, at which kept parts were made, as accepted by --moved-input.
    roots: list[str] = []
    #: The version of a Delta table, or the id of an Iceberg snapshot, whose data files the inputs are; None for files.
    table_version: str | None = None
    output: str
    options: dict[str, str | int | None]
    versions: dict[str, str]
    #: cpu, cuda (every GPU) or cuda:1; none if there was nothing to score.
    device: str
    #: The GPUs, in order.
    devices: list[DeviceRecord] = []
    bundle: BundleRecord
    #: Of a shard's record: which it is, and the digest of the plan that it followed.
    shard: str | None = None
    shard_plan: Sha256 | None = None
    #: The shards that have scored, where `scoreline finish` has completed their run.
    shards: list[ShardRecord] = []
    #: The digest of `_scoreline/parts.pq`, which belongs to this run.
    parts_digest: Sha256 | None = None
    #: How many inputs it lists, how many of them could not be read to their end, and how many parts they have.
    inputs: int
    inputs_failed: int = 0
    parts: int
    #: The parts that earlier runs have made, and their rows.
    parts_kept: int = 0
    rows_kept: int = 0
    rows_scored_kept: int = 0
    #: Parts of earlier runs whose input is not among this run's.
    orphaned_parts: int = 0
    #: Files that are not inputs, and the first of their names.
    ignored: int = 0
    first_ignored: list[str] = []
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rows_out_of_bounds: int = 0
    #: Rows that a regression with a threshold flags.
    rows_above_threshold: int = 0
    #: The bundle's heads, in order.
    heads: list[HeadRecord] = []
    wall_s: float
    startup_s: float
    other_s: float
    stages: dict[str, StageTotals]
    verdict: str
    #: None where rows are not counted, or the run ended before they were.
    drift: DriftSummary | None = None
    #: The digest of every byte of the file before this line.
    checksum: Sha256 | None = None

"""What a run leaves beside its rows: the receipt in a part file's footer, and `_scoreline/run.json`."""

from typing import Literal

from .base import Schema, Sha256


class Receipt(Schema):
    """What a part file's footer says of itself, under the key `scoreline.receipt`.

    Nothing in it comes from a clock, a run's name or the machine at hand: equal work gives equal bytes.
    """

    format: Literal[1] = 1
    source: str
    split: int
    last: bool
    bundle: Sha256
    options: dict[str, str]
    rows_in: int
    rows_scored: int
    rows_rejected: int


class StageTotals(Schema):
    """One stage of the run. `busy_s`: work, summed over threads. `waiting_s`: how long the run stood still
    for it; over all stages, with start-up and `other_s`, these are the wall time."""

    busy_s: float
    waiting_s: float
    rows: int
    bytes: int


class PartitionRecord(Schema):
    """One input file: what became of it. `error` is set where it could not be read or scored."""

    source: str
    target: str
    rows_in: int = 0
    rows_scored: int = 0
    rows_rejected: int = 0
    rejects: str | None = None
    error: str | None = None


class BundleRecord(Schema):
    """The bundle that made the output."""

    path: str
    digest: Sha256
    golden_rows: int
    golden_source: Literal["model", "expected"]
    golden_largest_difference: float


class RunManifest(Schema):
    """`_scoreline/run.json`: what was done, with what, and what it waited for."""

    format: Literal[1] = 1
    run_id: str
    status: Literal["success", "failed"]
    error: str | None = None
    started: str
    ended: str
    input: str
    output: str
    options: dict[str, str | int | None]
    versions: dict[str, str]
    device: str
    bundle: BundleRecord
    partitions: list[PartitionRecord]
    ignored: list[str]
    #: Parts of earlier runs whose input is not among this run's.
    orphans: list[str] = []
    rows_in: int
    rows_scored: int
    rows_rejected: int
    wall_s: float
    startup_s: float
    other_s: float
    stages: dict[str, StageTotals]
    verdict: str

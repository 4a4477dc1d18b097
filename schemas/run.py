"""What a run leaves beside its rows: the receipt in a part file's footer, and `_scoreline/run.json`."""

from typing import Literal

from .base import Schema, Sha256


class Fingerprint(Schema):
    """What a part was made of: equal fingerprints mean equal work. Only what changes values beyond rounding is in it,
    and an option that is off is left out, so that a new one voids nothing. The rows are those from `first_row` on, as
    many as the receipt counts."""

    source: str
    size: int
    mtime_ns: int
    first_row: int
    bundle: Sha256
    options: dict[str, str]


class Receipt(Schema):
    """What a part file's footer says of itself, under the key `scoreline.receipt`.

    Nothing in it comes from a clock, a run's name or the number of workers: equal work gives equal bytes. `made_with`
    is what only touches the last bits. `rejects` is the digest of the rejects file, without which that does not count.
    """

    format: Literal[1] = 1
    fingerprint: Fingerprint
    #: The real path of the folder that the source's name is relative to.
    root: str
    split: int
    #: Whether no rows of the input come after it.
    last: bool
    #: How many of its columns, the first, were carried from the input; the others are outputs.
    num_keys: int
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rejects: Sha256 | None
    #: Of the rows scored, those that are out of the bounds of the bundle.
    out_of_bounds: int = 0
    made_with: dict[str, str]
    checksum: Sha256 | None = None


class StageTotals(Schema):
    """One stage of the run. `busy_s`: work, summed over threads. `waiting_s`: how long the run waited for
    it; over all stages, with start-up and `other_s`, these are the wall time."""

    busy_s: float
    waiting_s: float
    rows: int
    bytes: int


class PartRecord(Schema):
    """One part file: a split of an input. `kept` where an earlier run had made it already. `receipt`: the checksum of
    the receipt in the file that `sha256` is the digest of, so that a digest counts for no other part of that name."""

    target: str
    split: int
    last: bool
    kept: bool = False
    sha256: Sha256
    receipt: Sha256
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rejects: str | None = None
    out_of_bounds: int = 0


class PartitionRecord(Schema):
    """One input file: what became of it. `error` is set where it could not be read to its end; the parts before that
    are kept."""

    source: str
    path: str
    format: str
    rows_in: int = 0
    rows_scored: int = 0
    rows_rejected: int = 0
    parts: list[PartRecord] = []
    error: str | None = None


class BundleRecord(Schema):
    """The bundle that made the output."""

    path: str
    digest: Sha256
    #: None where there was nothing to score, so that the model was not loaded.
    golden_rows: int | None
    golden_source: Literal["model", "expected"] | None
    golden_largest_difference: float | None


class HeadRecord(Schema):
    """What the predictions of a head are, for evaluation. `columns`: their names in the output."""

    name: str
    task: str
    labels: list[bool | int | float | str] = []
    targets: list[str] = []
    #: Of each column of quantiles, in order.
    quantiles: list[float] = []
    columns: list[str]


class RunManifest(Schema):
    """`_scoreline/run.json`: what was done, with what, and what it waited for. `status` is `running` from the moment
    that parts may be replaced until the run ends; a run that is killed leaves it so."""

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
    output: str
    options: dict[str, str | int | None]
    versions: dict[str, str]
    device: str
    bundle: BundleRecord
    partitions: list[PartitionRecord]
    ignored: list[str]
    #: Parts of earlier runs whose input is not among this run's.
    orphaned_parts: list[str] = []
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rows_out_of_bounds: int = 0
    #: The bundle's heads, in order.
    heads: list[HeadRecord] = []
    wall_s: float
    startup_s: float
    other_s: float
    stages: dict[str, StageTotals]
    verdict: str
    #: Of every byte of the file before this line.
    checksum: Sha256 | None = None

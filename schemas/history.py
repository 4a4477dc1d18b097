"""The lines of `_scoreline/history.jsonl`."""

from typing import Literal

from .base import Schema, Sha256


class LargestDrift(Schema):
    """The largest PSI above the bound of chance that a run has found `against` the bundle's reference or the run
    before: of `column`, in the input `partition` (None: in all rows). A `psi` of 0, without the others: there is none
    above it."""

    psi: float
    column: str | None = None
    partition: str | None = None
    against: Literal["reference", "previous"] | None = None


class HistoryEntry(Schema):
    """One run that had the lock of its output, however it ended, unless it was killed. Rows are None if it failed
    before it began to score; `waited_s`: the seconds that it waited for each stage, empty if there was nothing to
    do; `drift`: None if its rows were not compared with anything."""

    format: Literal[1] = 1
    run_id: str
    started: str
    ended: str
    exit_code: int
    #: Whether it was to complete the shards of an output (`scoreline finish`).
    finish: bool = False
    #: The message, at most 500 characters of it.
    error: str | None = None
    bundle: str
    digest: Sha256
    #: Rows of the output.
    rows_in: int | None = None
    rows_rejected: int | None = None
    #: Rows that this run read; the others were kept.
    rows_read: int | None = None
    wall_s: float
    waited_s: dict[str, float] = {}
    drift: LargestDrift | None = None

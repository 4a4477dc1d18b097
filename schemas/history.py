"""The lines of `_scoreline/history.jsonl`."""

from typing import Literal

from .base import Schema, Sha256


class HistoryEntry(Schema):
    """One run that had the lock of its output, however it ended, unless it was killed. Rows are None if it failed
    before it began to score; `waited_s`: the seconds that it waited for each stage, empty if there was nothing to
    do."""

    format: Literal[1] = 1
    run_id: str
    started: str
    ended: str
    exit_code: int
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

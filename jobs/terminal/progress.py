"""Subscribers of a run that concern its process: a progress bar or a heartbeat, signals, the garbage collector."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar

from tqdm import tqdm

from ...pipeline.events import Event, Subscriber
from ...pipeline.running.events import BlockWritten, ScoringStarted
from .process import freeze_imports
from .signals import raise_again

HEARTBEAT_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat(Event):
    """The progress of the run; emitted every 30 seconds if there is no progress bar."""

    name: ClassVar[str] = "heartbeat"
    #: Scored or rejected so far.
    rows: int
    #: To score; None if it is not known before the files are read (CSV).
    of_rows: int | None
    rows_per_s: int
    seconds_left: int | None


class Progress:
    """Draws a progress bar on a terminal, and reports a heartbeat elsewhere.

    Args:
        report: receives the heartbeats.
        bar: whether to draw a bar; None: only if stderr is a terminal.
    """

    def __init__(self, report: Subscriber, *, bar: bool | None) -> None:
        self._report = report
        self._draw = sys.stderr.isatty() if bar is None else bar
        self._bar: tqdm[Any] | None = None
        self._total: int | None = None
        self._rows = 0
        self._started = self._last_beat = monotonic()

    def __call__(self, event: Event) -> None:
        """Update the progress from an event."""
        match event:
            case ScoringStarted():
                self._start(event.rows)
            case BlockWritten():
                self._advance(event.rows)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _start(self, num_rows: int | None) -> None:
        self._total, self._started = num_rows, monotonic()
        self._last_beat = self._started
        if self._draw:
            columns = shutil.get_terminal_size().columns  # 80 if unknown
            self._bar = tqdm(total=num_rows, unit=" rows", unit_scale=True, file=sys.stderr, leave=False, ncols=columns)

    def _advance(self, rows: int) -> None:
        self._rows += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif monotonic() - self._last_beat >= HEARTBEAT_S:
            self._beat()

    def _beat(self) -> None:
        self._last_beat = monotonic()
        rate = self._rows / (self._last_beat - self._started)
        left = None if self._total is None else round((self._total - self._rows) / max(rate, 1e-9))
        self._report(Heartbeat(rows=self._rows, of_rows=self._total, rows_per_s=round(rate), seconds_left=left))


def tune_process(event: Event) -> None:
    """Freeze the imported objects when scoring starts, and end the run for a signal that was deferred.

    Raises:
        InterruptedRunError: a signal was deferred; raised at the start of scoring or after a block.
    """
    if isinstance(event, ScoringStarted | BlockWritten):
        raise_again()
    if isinstance(event, ScoringStarted):
        freeze_imports()

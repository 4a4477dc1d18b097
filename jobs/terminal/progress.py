"""How a run is shown while it goes: a bar on a terminal, a heartbeat in the log elsewhere."""

import shutil
import sys
from time import monotonic
from typing import Any

import structlog
from tqdm import tqdm

from .process import settle
from .signals import raise_again

HEARTBEAT_S = 30.0


class RunWatcher:
    """Told by the run what happens; tells it to the log and to the terminal.

    Args:
        log: bound to the run's id.
        bar: whether to draw one; None: where stderr is a terminal.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, *, bar: bool | None) -> None:
        self._log = log
        self._draw = sys.stderr.isatty() if bar is None else bar
        self._bar: tqdm[Any] | None = None
        self._total: int | None = None
        self._rows = 0
        self._started = self._last_beat = monotonic()

    def start(self, num_rows: int | None) -> None:
        """The plan stands; `num_rows` is None where the files do not say. Raises InterruptedRunError for a signal that
        could not be heeded before."""
        raise_again()
        settle()
        self._total, self._started = num_rows, monotonic()
        self._last_beat = self._started
        if self._draw:
            columns = shutil.get_terminal_size().columns  # 80 where a terminal does not say
            self._bar = tqdm(total=num_rows, unit=" rows", unit_scale=True, file=sys.stderr, leave=False, ncols=columns)

    def advance(self, rows: int) -> None:
        """So many more rows are scored or rejected. Raises InterruptedRunError as `start` does."""
        raise_again()
        self._rows += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif monotonic() - self._last_beat >= HEARTBEAT_S:
            self._beat()

    def event(self, name: str, /, level: str = "info", **fields: Any) -> None:
        """Write a log line."""
        getattr(self._log, level)(name, **fields)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _beat(self) -> None:
        self._last_beat = monotonic()
        rate = self._rows / (self._last_beat - self._started)
        left = None if self._total is None else round((self._total - self._rows) / max(rate, 1e-9))
        self._log.info("heartbeat", rows=self._rows, of_rows=self._total, rows_per_s=round(rate), seconds_left=left)

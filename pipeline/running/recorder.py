"""Records a run in the history of its output, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter

from ...schemas.history import HistoryEntry, LargestDrift
from ..bundle.bundle import Bundle
from ..errors import InterruptedRunError, ScorelineError
from ..events import Emitter, Event
from ..monitoring.history import append_entry
from ..options import ScoreJob
from ..outputs.store import Store
from .events import HistoryNotWritten, NothingToDo, RunEnded, RunRecorded
from .findings import DriftMeasured
from .ledger import RunClock

#: Characters of an error message in a line.
MOST_CHARACTERS = 500


class RunRecorder:
    """A subscriber that remembers the totals of a run, and appends its line to the history.

    Args:
        finish: whether it completes shards.
    """

    def __init__(self, job: ScoreJob, bundle: Bundle, clock: RunClock, *, finish: bool = False) -> None:
        self._job, self._bundle, self._clock, self._finish = job, bundle, clock, finish
        self._last: RunEnded | NothingToDo | None = None
        self._drift: LargestDrift | None = None

    def __call__(self, event: Event) -> None:
        """Remember the last event, and the drift."""
        if isinstance(event, RunEnded | NothingToDo):
            self._last = event
        if isinstance(event, DriftMeasured):
            self._drift = _largest(event)

    @contextmanager
    def recorded(self, store: Store, emit: Emitter) -> Iterator[None]:
        """Append the line when the block ends, while the output is still locked. That it cannot be written is only
        reported."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:  # a signal, too
            error = raised
            raise
        finally:
            try:
                append_entry(store, self.entry(error))
            except ScorelineError as failed:
                emit(HistoryNotWritten(reason=str(failed)))
            if self._last is None:  # it failed before it had a manifest
                emit(RunRecorded(output=self._job.output))

    def entry(self, error: BaseException | None) -> HistoryEntry:
        """The line of a run that ends now, by an error or without one."""
        last, waited = self._last, {}
        if isinstance(last, RunEnded):
            waited = {name: round(spent["waiting_s"], 3) for name, spent in last.stages.items()}
            waited = {"start-up": last.startup_s, **waited}
        return HistoryEntry(
            run_id=self._job.run_id,
            started=self._clock.started.isoformat(timespec="milliseconds"),
            ended=datetime.now(UTC).isoformat(timespec="milliseconds"),
            exit_code=_exit_code(error),
            finish=self._finish,
            error=None if error is None else str(error)[:MOST_CHARACTERS],
            bundle=self._bundle.name,
            digest=self._bundle.digest,
            rows_in=None if last is None else last.rows,
            rows_rejected=None if last is None else last.rejected,
            rows_read=None if last is None else self._clock.times["read"].rows,
            wall_s=round(perf_counter() - self._clock.start_s, 3),
            waited_s=waited,
            drift=self._drift,
        )


def _largest(found: DriftMeasured) -> LargestDrift:
    """The largest PSI; that from the reference among equals."""
    against = max(found.worst, key=lambda one: found.worst[one]["psi"])
    worst = found.worst[against]
    return LargestDrift(**worst, against=against) if worst["psi"] else LargestDrift(psi=0.0)


def _exit_code(error: BaseException | None) -> int:
    """The exit code of the command for an error of its run."""
    if error is None:
        return 0
    return error.exit_code if isinstance(error, ScorelineError | InterruptedRunError) else 1

"""When each thread worked on which stage, as a file in Chrome's trace format, which ui.perfetto.dev and chrome://tracing
open. Its spans add up to the stage table of the run.

Format: the JSON object of "Trace Event Format" (Google, 2016): `X` events with `ts` and `dur` in microseconds, `i`
events for splits that were published, `M` events for the names of threads.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from ..errors import StorageError
from ..events import Event, Level
from ..running.events import RunEnded, RunFailed, SplitPublished
from ..storage.replaced_file import refuse_other_file, replaced_file

#: Spans, and marks of splits, that a trace keeps. With more, spans of one stage that begin close to each other in a
#: thread are joined.
MAX_SPANS, MAX_SPLITS = 40_000, 10_000
#: The first distance, in seconds, within which spans are joined; it doubles as long as there are too many.
_FIRST_WIDTH_S = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceNotWritten(Event):
    """The run failed, and its trace could not be written either."""

    name: ClassVar[str] = "trace_not_written"
    level: ClassVar[Level] = "warning"
    reason: str


#: The thread, the stage, the start and the busy seconds, and how many pieces of work it joins.
Span = tuple[int, str, float, float, int]


class Trace:
    """Records the pieces of work of a run as its `recorder`, and splits as a subscriber; writes the file when the run
    ends.

    Args:
        report: receives an event if the file of a failed run cannot be written.
        max_spans: as `MAX_SPANS`.

    Raises:
        StorageError: the run succeeded, and the file cannot be written.
    """

    def __init__(self, path: Path, report: Callable[[Event], object], *, max_spans: int = MAX_SPANS) -> None:
        self._path, self._report, self._max_spans = path, report, max_spans
        self._start_s, self._width_s = perf_counter(), _FIRST_WIDTH_S
        self._spans: list[Span] = []
        self._threads: dict[int, str] = {}
        self._splits: list[tuple[float, SplitPublished]] = []
        self._num_splits = 0
        self._lock = threading.Lock()

    def prepare(self, output: str) -> None:
        """Create the folder of the file.

        Raises:
            StorageError: it cannot be created.
            UsageError: the file would replace something else, or is within the output.
        """
        refuse_other_file(self._path, "the trace", b'{"traceEvents"', output)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the folder of the trace {str(self._path)!r} cannot be created: {error.strerror}; choose another path"
            ) from error

    def record(self, stage: str, start_s: float, busy_s: float) -> None:
        """Record a piece of work of the calling thread."""
        thread = threading.get_ident()
        with self._lock:
            if thread not in self._threads:
                self._threads[thread] = threading.current_thread().name
            self._spans.append((thread, stage, start_s, busy_s, 1))
            while len(self._spans) > self._max_spans:
                self._spans = _joined(self._spans, self._width_s)
                self._width_s *= 2

    def __call__(self, event: Event) -> None:
        """Mark splits, and write the file at the end."""
        match event:
            case SplitPublished():
                self._num_splits += 1
                if len(self._splits) < MAX_SPLITS:
                    self._splits.append((perf_counter(), event))
            case RunEnded():
                self._write(event)

    def _write(self, event: RunEnded) -> None:
        with self._lock:
            text = json.dumps(self._document(event))
        try:
            with replaced_file(self._path, "the trace") as file:
                file.write(text.encode())
        except StorageError as error:
            if not isinstance(event, RunFailed):
                raise
            self._report(TraceNotWritten(reason=str(error)))

    def _document(self, event: RunEnded) -> dict[str, Any]:
        numbers = {thread: number for number, thread in enumerate(self._threads, 2)}
        names = {1: "not attributed to a thread", **{numbers[one]: name for one, name in self._threads.items()}}
        spans = list(_reconciled(self._spans, {name: one["busy_s"] for name, one in event.stages.items()}))
        events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}}
            for number, name in names.items()
        ]
        events += [
            {
                "ph": "X", "pid": 1, "tid": numbers.get(thread, 1), "name": stage, "cat": "stage",
                "ts": self._microseconds(start), "dur": busy * 1e6, "args": {"pieces": pieces},
            }
            for thread, stage, start, busy, pieces in _in_sequence(spans)
        ]  # fmt: skip
        events += [
            {
                "ph": "i", "s": "p", "pid": 1, "tid": 1, "name": f"{split.partition} split {split.split}",
                "cat": "split", "ts": self._microseconds(time_s),
                "args": {"rows": split.rows, "rejected": split.rejected},
            }
            for time_s, split in self._splits
        ]  # fmt: skip
        return {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"splits": self._num_splits, "splits_marked": len(self._splits), "seconds": event.seconds},
        }

    def _microseconds(self, time_s: float) -> float:
        return round((time_s - self._start_s) * 1e6, 1)


def _joined(spans: Iterable[Span], width_s: float) -> list[Span]:
    """Join the spans of one thread and stage that begin in the same interval of `width_s`. Sums of seconds are kept."""
    found: dict[tuple[int, str, int], Span] = {}
    for thread, stage, start, busy, pieces in spans:
        key = (thread, stage, int(start / width_s))
        _, _, first, seconds, number = found.get(key, (thread, stage, start, 0.0, 0))
        found[key] = (thread, stage, min(first, start), seconds + busy, number + pieces)
    return list(found.values())


def _reconciled(spans: list[Span], totals: dict[str, float]) -> Iterator[Span]:
    """Make the spans of each stage add up to its total: the seconds that a GPU measured replace those of the threads
    that waited for it, and seconds without a thread become a span of their own."""
    recorded = dict.fromkeys(totals, 0.0)
    for _, stage, _, busy, _ in spans:
        if stage in recorded:
            recorded[stage] += busy
    for thread, stage, start, busy, pieces in spans:
        if stage in totals:
            yield thread, stage, start, busy * min(1.0, totals[stage] / max(recorded[stage], 1e-12)), pieces
    first = min((start for _, _, start, _, _ in spans), default=0.0)
    for stage, total in totals.items():
        if (rest := total - recorded[stage]) > 1e-6:
            yield 0, stage, first, rest, 1


def _in_sequence(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans by thread and start. Joined spans are moved behind those before them, since viewers draw only spans
    that are apart or nested."""
    end, current = 0.0, -1
    for thread, stage, start, busy, pieces in sorted(spans, key=lambda span: (span[0], span[2])):
        if thread != current:
            current, end = thread, 0.0
        begin = max(start, end)
        yield thread, stage, begin, busy, pieces
        end = begin + busy

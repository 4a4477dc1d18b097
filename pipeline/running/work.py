"""What the flows of a run have left to do: partitions that no flow has begun, and the later splits of those that are
being read. Does not import torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from ..arrow_types import is_flat
from ..errors import PartitionError
from ..inputs.cut import SplitRange
from ..inputs.formats import FORMATS
from ..model.first_rows import FirstRows
from ..planning.plan import PlannedPartition
from ..storage.ranges import refuse_gone_service
from ..storage.uris import is_remote

#: The memory that all readers may take together: this much, or this much for each flow.
READERS_BYTES, FLOW_BYTES = 512 << 20, 64 << 20
#: The average size of small objects, at most: requesting one takes longer than scoring its rows.
SMALL_OBJECT_BYTES = 4 << 20
#: What is scored together: files of at most so many rows; at most so many files, and values.
SMALL_ROWS, MOST_FILES, MOST_CELLS = 512, 32, 1 << 18
#: Of a file that does not say how many rows it has: the most bytes, and about how many bytes a value has.
SMALL_BYTES, VALUE_BYTES = 1 << 17, 8


@dataclass(eq=False, kw_only=True, slots=True)
class Work:
    """Consecutive splits of a partition, which one flow reads in order. `first_rows`: of the file, None where the
    splits cannot have them."""

    planned: PlannedPartition
    splits: SplitRange
    first_rows: FirstRows | None = None
    #: The splits at which another flow can begin; None until they are needed.
    starts: Sequence[int] | None = None

    def split_off(self) -> Work | None:
        """Remove the later half of the splits that have not been begun; None if it cannot be read on its own."""
        if self.planned.num_splits is None or (self.first_rows is not None and not self.first_rows.settled):
            return None
        if self.starts is None:
            self.starts = split_starts(self.planned)
        later = self.splits.split_off(self.starts)
        return None if later is None else Work(planned=self.planned, splits=later, starts=self.starts)


class WorkQueue:
    """The work of a run. Flows claim whole partitions in order; once all are claimed, an idle flow takes over the later
    half of what another has left, so that a large file is read in several places at once and, within each, in order."""

    def __init__(self, partitions: Iterable[PlannedPartition]) -> None:
        self._unclaimed = deque(map(_whole, partitions))
        self._claimed: list[Work] = []
        self._lock = Lock()

    def claim(self) -> Work | None:
        """The next work for a flow; None if there is none at present."""
        with self._lock:
            if self._unclaimed:
                work = self._unclaimed.popleft()
            elif (later := self._split_off()) is not None:
                work = later
            else:
                return None
            self._claimed.append(work)
            return work

    def claim_files(self, num_flows: int, *, together: bool) -> list[Work]:
        """The next work for a flow, or several: whole small files with the same columns. Empty if there is none at
        present.

        Args:
            num_flows: the number of flows that share what is left.
            together: whether files may be scored together.
        """
        first = self.claim()
        if first is None:
            return []
        works, cells = [first], _num_cells(first.planned)
        if not together or not cells or not all(map(is_flat, first.planned.columns.read.types)):
            return works
        with self._lock:
            most = min(MOST_FILES, len(self._unclaimed) // num_flows)
            while self._unclaimed and len(works) < most:
                planned = self._unclaimed[0].planned
                cells += (own := _num_cells(planned))
                if not own or cells > MOST_CELLS or planned.columns is not first.planned.columns:
                    break
                works.append(self._unclaimed.popleft())
                self._claimed.append(works[-1])
        return works

    def finish(self, work: Work) -> None:
        """Its last split has been read."""
        with self._lock:
            self._claimed.remove(work)

    def fail(self, planned: PlannedPartition, split: int) -> None:
        """A partition cannot be read or published from this split on: later ones are not begun."""
        with self._lock:
            for work in self._claimed:
                if work.planned is planned:
                    work.splits.end_before(split)

    def _split_off(self) -> Work | None:
        for work in sorted(self._claimed, key=lambda work: -work.splits.num_left()):
            if (later := work.split_off()) is not None:
                return later
        return None


def _whole(planned: PlannedPartition) -> Work:
    """All splits of a partition that are to be scored. Rows after kept parts count as the first of the file only if no
    row of those parts was scored; otherwise an interrupted run could end differently from an uninterrupted one."""
    splits = planned.splits()
    has_first = planned.nothing_scored or splits.start == 0
    return Work(planned=planned, splits=splits, first_rows=FirstRows() if has_first else None)


def _num_cells(planned: PlannedPartition) -> int:
    """About how many values a small file has that is scored as a whole; 0 for other inputs."""
    if planned.kept:
        return 0
    if planned.num_rows is None:
        size = planned.partition.size
        return max(1, size // VALUE_BYTES) if size <= SMALL_BYTES else 0
    is_small = planned.num_splits == 1 and 0 < planned.num_rows <= SMALL_ROWS
    return planned.num_rows * max(1, len(planned.columns.read)) if is_small else 0


def split_starts(planned: PlannedPartition) -> Sequence[int]:
    """The splits at which a reader can begin without decoding most of a row group in vain: the first one in each row
    group. A file that cannot be read has none; the flow that reads it reports the error."""
    try:
        starts = FORMATS[planned.partition.format].starts(planned.partition)
    except PartitionError as error:
        refuse_gone_service(planned.partition.path, error)
        return ()
    return sorted({-(-row // planned.split_rows) for row in starts})


def num_readers(partitions: Iterable[PlannedPartition], most: int, memory: int | None = None) -> int:
    """How many flows can read at once, at most `most`: by the places where reading can begin, and by the memory that
    the readers take together, which counts where there are a thousand columns.

    Args:
        memory: their limit in bytes; None: by the number of flows.
    """
    memory = max(READERS_BYTES, most * FLOW_BYTES) if memory is None else memory
    count = 0
    for planned in partitions:
        if count < most:
            count += 1 if planned.num_splits in (None, 1) else max(1, len(split_starts(planned)))
        reader_bytes = FORMATS[planned.partition.format].reader_bytes(planned.partition, len(planned.columns.read))
        most = min(most, max(1, memory // max(1, reader_bytes)))
    return max(1, min(count, most))


def are_small_objects(partitions: Sequence[PlannedPartition]) -> bool:
    """Whether the inputs are objects in an object store, and small on average."""
    remote = bool(partitions) and is_remote(partitions[0].partition.path)
    return remote and sum(planned.partition.size for planned in partitions) <= SMALL_OBJECT_BYTES * len(partitions)

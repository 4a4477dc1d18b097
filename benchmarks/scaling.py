"""How a run scales with cores: the real scheduler on virtual ones.

    python benchmarks/scaling.py [--cores 2,4,16,64] [--rows 64] [--split-rows 262144]

Files, row groups, flows, takeovers and publishers are those of a run; the stages are not. Each sleeps, on one of the
virtual cores, for the time in which it works without the GIL, and holds the GIL for the rest, with the costs below. So
the figures show what the scheduler makes of the cores, whatever machine this runs on; they say nothing about the
bandwidth of memory or disks. Ideal: all work divided by the cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Semaphore
from time import perf_counter, sleep
from types import SimpleNamespace
from typing import Any

from scoreline.pipeline.inputs.csv import Csv
from scoreline.pipeline.inputs.cut import SplitRange
from scoreline.pipeline.inputs.formats import FORMATS
from scoreline.pipeline.inputs.parquet import Parquet
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.part_file import Published
from scoreline.pipeline.records import Partition, RowCounts, Split
from scoreline.pipeline.running.flows import Flows
from scoreline.pipeline.running.lanes import Lane
from scoreline.pipeline.running.profiles import PartProfiles
from scoreline.pipeline.running.publisher import Finished, Publisher
from scoreline.pipeline.running.work import Work, WorkQueue
from scoreline.pipeline.timing import StageTimes

#: Nanoseconds of CPU per row, for 30 features and a network of 128-64-5 (docs/explanation/benchmarks.md).
READ_NS, SCORE_NS, WRITE_NS, PUBLISH_NS = 250, 330, 40, 29
#: Milliseconds of a block that hold the GIL, by step.
READ_GIL_MS, SCORE_GIL_MS, WRITE_GIL_MS = 0.12, 0.21, 0.08
BLOCK_ROWS, BLOCK_BYTES = 1 << 15, 12 << 20
MAX_IN_FLIGHT_BYTES = 24 << 20


class _Starts(Parquet):
    """Row groups as the file's name says, `rows:group_rows`."""

    def starts(self, partition: Partition) -> Sequence[int]:
        rows, group_rows = map(int, partition.name.split(":")[1:])
        return range(0, rows, group_rows)


@dataclass(frozen=True, kw_only=True)
class File:
    """Stands for a planned partition. `group_rows` 0: a CSV, of unknown length, which is read from its start."""

    partition: Partition
    rows: int
    group_rows: int
    split_rows: int
    nothing_scored: bool = True

    @property
    def num_splits(self) -> int | None:
        """As for a planned partition."""
        return -(-self.rows // self.split_rows) if self.group_rows else None

    def splits(self) -> SplitRange:
        """As for a planned partition."""
        return SplitRange(0, self.num_splits)

    def target(self, split: Split) -> str:
        """As for a planned partition."""
        return f"{self.partition.name}-{split.index}"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A block of some rows, or the end of a split."""

    file: File
    split: int
    rows: int
    ends: bool = False


@dataclass(kw_only=True)
class Machine:
    """Virtual cores."""

    cores: Semaphore
    published: int = 0

    def work(self, seconds: float, gil_s: float = 0.0) -> None:
        """Occupy a core, and the GIL for a part of the time."""
        with self.cores:
            sleep(max(0.0, seconds - gil_s))
            end = perf_counter() + gil_s
            while perf_counter() < end:
                pass


@dataclass(kw_only=True)
class Part:
    """Stands for a part file."""

    machine: Machine
    num_rows: int = 0
    num_rejects: int = 0

    def publish(self, target: str) -> Published:  # noqa: ARG002 - nothing is written
        """Digest and rename."""
        self.machine.work(self.num_rows * PUBLISH_NS / 1e9)
        self.machine.published += self.num_rows
        digest = "sha256:" + "0" * 64
        return Published(sha256=digest, receipt=digest, num_bytes=0)


@dataclass(kw_only=True)
class Steps:
    """The steps of a run, asleep (`flows.Steps`)."""

    machine: Machine
    queue: WorkQueue
    publisher: Publisher
    parts: dict[int, Part] = field(default_factory=dict)

    def thread(self) -> AbstractContextManager[None]:
        """Nothing to set up."""
        return nullcontext()

    def claim(self) -> Iterator[Item] | None:
        """The blocks of the next work."""
        work = self.queue.claim()
        return None if work is None else self._items(work, work.planned)

    def _items(self, work: Work, file: Any) -> Iterator[Item]:
        split = work.splits.start
        if file.group_rows:  # rows of the row group before the split are decoded in vain
            self.machine.work(split * file.split_rows % file.group_rows * READ_NS / 1e9)
        while split * file.split_rows < file.rows and work.splits.take(split):
            left = min(file.split_rows, file.rows - split * file.split_rows)
            for rows in [BLOCK_ROWS] * (left // BLOCK_ROWS) + ([left % BLOCK_ROWS] if left % BLOCK_ROWS else []):
                self.machine.work(rows * READ_NS / 1e9, READ_GIL_MS / 1e3)
                if work.first_rows is not None:
                    work.first_rows.announce(rows)
                yield Item(file=file, split=split, rows=rows)
            yield Item(file=file, split=split, rows=left, ends=True)
            split += 1
        self.queue.finish(work)

    def num_bytes(self, item: Item) -> int:
        """Of a block of 30 features."""
        return 0 if item.ends else BLOCK_BYTES

    def read(self, item: Item, waited_s: float) -> None:
        """Nothing is timed."""

    def score(self, item: Item, _: Lane) -> Item:
        """check → … → decode."""
        if not item.ends:
            self.machine.work(item.rows * SCORE_NS / 1e9, SCORE_GIL_MS / 1e3)
        return item

    def scored(self, item: Item, waited_s: float) -> None:
        """Nothing is timed."""

    def write(self, flow: int, item: Item, share: float) -> None:
        """write, and the end of a split."""
        part = self.parts.setdefault(flow, Part(machine=self.machine))
        if not item.ends:
            self.machine.work(item.rows * WRITE_NS / 1e9, WRITE_GIL_MS / 1e3)
            part.num_rows += item.rows
            return
        split = Split(index=item.split, first_row=0, num_rows=item.rows, last=False)
        planned: Any = item.file
        finished: Any = part
        self.publisher.submit(
            Finished(part=finished, planned=planned, split=split, counts=RowCounts(), times=StageTimes()), share
        )
        self.parts[flow] = Part(machine=self.machine)

    def stop(self) -> None:
        """Nothing is running but sleep."""


def seconds(files: Sequence[File], cores: int) -> float:
    """The time of a run over some files."""
    planned: Any = files
    machine = Machine(cores=Semaphore(cores))
    ledger: Any = SimpleNamespace(
        publish=lambda *_: None, add_times=lambda _: None, stage_names=(), profiles=PartProfiles()
    )
    events: SimpleQueue[Any] = SimpleQueue()
    start = perf_counter()
    with Publisher(ledger, lambda _: None, FolderStore(".").num_publishers(cores)) as publisher:
        steps = Steps(machine=machine, queue=WorkQueue(planned), publisher=publisher)
        limit = max(96 << 20, cores * MAX_IN_FLIGHT_BYTES)
        with Flows(steps, num_flows=cores, max_bytes=limit, ended=lambda: events.put(None)) as flows:
            events.get()
        flows.check()
    took = perf_counter() - start
    assert machine.published == sum(file.rows for file in files), "every row is published"
    return took


def file_of(number: int, rows: int, group_rows: int, split_rows: int) -> File:
    """A Parquet file with row groups of one size, or a CSV."""
    name = f"{number}:{rows}:{group_rows}"
    kind = "starts" if group_rows else Csv.name
    partition = Partition(path=name, name=name, format=kind, size=0, mtime_ns=0)
    return File(partition=partition, rows=rows, group_rows=group_rows, split_rows=split_rows)


def main() -> None:
    """Print million rows/s, and the share of the ideal, for each kind of input and number of cores."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--cores", default="2,4,8,16,64")
    options.add_argument("--rows", type=int, default=64, help="million rows")
    options.add_argument("--split-rows", type=int, default=1 << 18)
    given = options.parse_args()
    rows, split_rows = given.rows * 1_000_000, given.split_rows
    FORMATS["starts"] = _Starts()
    inputs = {
        "64 files": [file_of(n, rows // 64, 1 << 20, split_rows) for n in range(64)],
        "1 file, row groups of 1 M": [file_of(0, rows, 1_000_000, split_rows)],
        "1 file, row groups of 122,880": [file_of(0, rows, 122_880, split_rows)],
        "1 file, one row group": [file_of(0, rows, rows, split_rows)],
        "1 CSV": [file_of(0, rows, 0, split_rows)],
    }
    row_ns = READ_NS + SCORE_NS + WRITE_NS + PUBLISH_NS
    counts = [int(cores) for cores in given.cores.split(",")]
    print("million rows/s (share of ideal) on", ", ".join(f"{cores} cores" for cores in counts))  # noqa: T201
    for name, files in inputs.items():
        cells = []
        for cores in counts:
            rate = rows / seconds(files, cores) / 1e6
            cells.append(f"{rate:5.1f} ({rate * row_ns / 1000 / cores:.2f})")
        print(f"{name:32}", "  ".join(cells), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""The writer of a flow: parts in order, their receipts, and what is discarded and not counted after a failure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import PartitionError, RowsRejectedError
from scoreline.pipeline.events import Event
from scoreline.pipeline.options import RejectBudget
from scoreline.pipeline.outputs.receipt import read_receipt
from scoreline.pipeline.records import RowCounts, Split
from scoreline.pipeline.running.blocks import ReadFailed, Scored, ScoredBlock, SplitEnd, load_blocks, score_block
from scoreline.pipeline.running.events import BlockWritten, PartitionFailed, SplitPublished
from scoreline.pipeline.running.publisher import Publisher
from scoreline.pipeline.running.work import Work, WorkQueue
from scoreline.pipeline.running.writer import Writer
from scoreline.pipeline.scoring.line import compose
from scoreline.pipeline.scoring.retries import Retried, Retries
from scoreline.pipeline.timing import StageTimes
from scoreline.schemas.run import Receipt

from conftest import Example
from open_runs import BLOCK_ROWS, OpenRun, open_run


class Bench:
    """A writer with everything that it writes to. `events`: what it and the publisher have sent, in any order."""

    def __init__(self, opened: OpenRun) -> None:
        self.opened, self.ledger, self.out = opened, opened.ledger, opened.store.root
        self.events: list[Event] = []
        self.reported: list[Retried] = []
        self.retries = Retries(self.reported.append)
        self.queue = WorkQueue(opened.plan.partitions)
        self.publisher = Publisher(self.ledger, self.events.append, opened.store.num_publishers(1))
        self.writer = Writer(opened.store, self.ledger, self.publisher, self.queue, self.retries)

    def claim(self) -> Work:
        """The next file, as a flow claims it."""
        work = self.queue.claim()
        assert work is not None
        return work

    def items(self, work: Work) -> list[Scored]:
        """All items of a file."""
        line = compose(self.opened.scorer.loaded)
        loaded = load_blocks(work.planned, line, BLOCK_ROWS, work.splits, work.first_rows)
        return [score_block(item, line) for item in loaded]

    def write(self, items: Iterable[Scored], *, share: float = 1.0) -> None:
        """Write items, and publish what is finished."""
        with self.publisher:
            for item in items:
                self.writer.write(item, share)

    def files(self) -> set[str]:
        """The files of the output."""
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()}

    def receipt(self, name: str) -> Receipt:
        """The receipt of a part."""
        found = read_receipt(self.out / name)
        assert isinstance(found, Receipt)
        return found


@pytest.fixture
def bench(tmp_path: Path, iris: Example) -> Bench:
    """25 rows, of which rows 2 and 13 have no value, and 6 rows."""
    (tmp_path / "data").mkdir()
    frame = iris.frame.head(25).copy()
    frame.loc[[2, 13], iris.features[0]] = np.nan
    frame.to_parquet(tmp_path / "data" / "a.parquet", index=False)
    iris.frame.tail(6).to_parquet(tmp_path / "data" / "b.parquet", index=False)
    return Bench(open_run(iris.bundle, tmp_path / "data"))


def failed(work: Work, split: int, reason: str = "a.parquet: broken") -> ReadFailed:
    """The item of a file that cannot be read further."""
    error = PartitionError(reason, partition=work.planned.partition.name)
    return ReadFailed(planned=work.planned, split=split, error=error, times=StageTimes())


def test_parts_of_splits(bench: Bench, iris: Example) -> None:
    """A part for each split, with its rows in order and the predictions of plain torch; rejects are beside it."""
    bench.write(bench.items(bench.claim()))
    assert bench.files() == {
        "a-00000.parquet", "a-00001.parquet", "a-00002.parquet", "_rejects/a-00000.arrow", "_rejects/a-00001.arrow",
    }  # fmt: skip
    table = pa.concat_tables(pq.read_table(bench.out / f"a-0000{split}.parquet") for split in range(3))
    scored = iris.frame.head(25).drop([2, 13])
    assert table["row_id"].to_pylist() == scored["row_id"].tolist()
    assert table["prediction"].to_pylist() == [iris.labels[n] for n in iris.raw(scored).argmax(1)]
    with pa.ipc.open_file(bench.out / "_rejects/a-00001.arrow") as file:
        assert file.read_all()["row_id"].to_pylist() == [iris.frame["row_id"][13]]


def test_a_file_of_one_split(bench: Bench) -> None:
    """Its part has no number."""
    bench.claim()
    bench.write(bench.items(bench.claim()))
    assert bench.files() == {"b.parquet"}


def test_receipts(bench: Bench) -> None:
    """Each names its split, counts its own rows, and fits the input, bundle and options of the run."""
    bench.write(bench.items(bench.claim()))
    found = [bench.receipt(f"a-0000{split}.parquet") for split in range(3)]
    assert [(one.split, one.last, one.fingerprint.first_row) for one in found] == [
        (0, False, 0), (1, False, 10), (2, True, 20),
    ]  # fmt: skip
    assert [(one.rows_in, one.rows_scored, one.rows_rejected) for one in found] == [(10, 9, 1), (10, 9, 1), (5, 5, 0)]
    for one in found:
        assert (one.num_keys, one.root) == (2, str(bench.out.parent / "data"))
        assert (one.fingerprint.source, one.fingerprint.bundle) == ("a.parquet", bench.ledger.bundle.digest)
        assert one.made_with == bench.ledger.made_with()
    assert [bench.opened.store.path(part.target).name for part in bench.ledger.record().partitions[0].parts] == [
        "a-00000.parquet", "a-00001.parquet", "a-00002.parquet",
    ]  # fmt: skip


def test_rows_out_of_bounds_are_counted_by_split(bench: Bench) -> None:
    """Those of all its blocks, and of no other split."""
    items = bench.items(bench.claim())
    outside = iter([1, 2, 0, 4, 0, 8, 0, 0])
    items = [
        replace(item, scored=replace(item.scored, counts=RowCounts(out_of_bounds=next(outside))))
        if isinstance(item, ScoredBlock)
        else item
        for item in items
    ]
    bench.write(items)
    assert [bench.receipt(f"a-0000{split}.parquet").out_of_bounds for split in range(3)] == [3, 12, 0]
    assert [part.out_of_bounds for part in bench.ledger.record().partitions[0].parts] == [3, 12, 0]


def test_events(bench: Bench) -> None:
    """Every row is reported once as it is written, rejects included, and once as part of its split."""
    bench.write(bench.items(bench.claim()))
    assert [event.rows for event in bench.events if isinstance(event, BlockWritten)] == [4, 4, 2, 4, 4, 2, 4, 1]
    published = {event.split: event for event in bench.events if isinstance(event, SplitPublished)}
    assert {split: (event.rows, event.rejected) for split, event in published.items()} == {
        0: (10, 1), 1: (10, 1), 2: (5, 0),
    }  # fmt: skip
    for event in published.values():
        assert event.stages["read"]["rows"] == event.rows
        assert event.stages["write"]["rows"] == event.rows - event.rejected
        assert event.stages["write"]["bytes"] > 0


def test_the_share_of_the_run_that_waits(bench: Bench) -> None:
    """The run waits for writing by the share of flows that write."""
    bench.write(bench.items(bench.claim()), share=0.25)
    spent = bench.ledger.clock.times["write"]
    assert spent.waiting_s == pytest.approx(spent.busy_s / 4)


def test_blocks_that_passed_in_pieces(bench: Bench) -> None:
    """Are reported with the file and their row numbers; a reject among them counts."""
    blocks = [item for item in bench.items(bench.claim()) if isinstance(item, ScoredBlock)]
    bench.writer.write(replace(blocks[3], scored=replace(blocks[3].scored, retried=("4 rows are too many",))), 1.0)
    assert bench.reported == [
        Retried(source="a.parquet", first_row=10, last_row=13, reason="4 rows are too many", blocks=1, rows=4)
    ]
    bench.writer.close()


def test_more_rejects_than_allowed(tmp_path: Path, iris: Example, bench: Bench) -> None:
    """Are refused before the block is written."""
    strict = Bench(open_run(iris.bundle, tmp_path / "data", max_rejects=RejectBudget(count=1)))
    items = strict.items(strict.claim())
    with pytest.raises(RowsRejectedError, match="2 rows rejected, 1 allowed"):
        strict.write(items)
    strict.writer.close()
    assert [event.rows for event in strict.events if isinstance(event, BlockWritten)] == [4, 4, 2]
    assert strict.files() == {"a-00000.parquet", "_rejects/a-00000.arrow"}


class TestFailedInputs:
    """Splits before the failure are published; the current one is discarded, and later ones are not begun."""

    def test_a_read_error(self, bench: Bench) -> None:
        """The rejects of the discarded split no longer count."""
        work = bench.claim()
        items = bench.items(work)
        bench.write([*items[:6], failed(work, 1)])
        assert bench.files() == {"a-00000.parquet", "_rejects/a-00000.arrow"}
        assert bench.ledger.rejected == 1
        assert bench.ledger.errors == {"a.parquet": "a.parquet: broken"}
        assert [event for event in bench.events if isinstance(event, PartitionFailed)] == [
            PartitionFailed(partition="a.parquet", reason="a.parquet: broken")
        ]
        assert not work.splits.take(1)

    def test_an_error_before_the_first_row(self, bench: Bench) -> None:
        """There is nothing to discard, and the next file is written as usual."""
        bench.write([failed(bench.claim(), 0), *bench.items(bench.claim())])
        assert bench.files() == {"b.parquet"}
        assert bench.receipt("b.parquet").rows_in == 6

    def test_the_next_file_begins_with_nothing(self, bench: Bench) -> None:
        """Neither rows, nor counts, nor times of the split that was discarded."""
        work = bench.claim()
        first = bench.items(work)[0]
        assert isinstance(first, ScoredBlock)
        first = replace(first, scored=replace(first.scored, counts=RowCounts(out_of_bounds=3)))
        bench.write([first, failed(work, 0), *bench.items(bench.claim())])
        assert bench.receipt("b.parquet").out_of_bounds == 0
        assert pq.read_metadata(bench.out / "b.parquet").num_rows == 6
        (published,) = [event for event in bench.events if isinstance(event, SplitPublished)]
        assert published.stages["read"]["rows"] == 6
        assert bench.ledger.clock.times["read"].rows == 4 + 6

    def test_it_is_reported_once(self, bench: Bench) -> None:
        """Where several flows read it; the first error counts."""
        work = bench.claim()
        bench.write([failed(work, 1), failed(work, 0, "a.parquet: again")])
        assert [event.name for event in bench.events] == ["partition_failed"]
        assert bench.ledger.errors == {"a.parquet": "a.parquet: broken"}

    def test_an_input_that_changes(self, bench: Bench, iris: Example) -> None:
        """Between reading and publishing: the split is not published."""
        work = bench.claim()

        def items() -> Iterator[Scored]:
            for number, item in enumerate(bench.items(work)):
                if number == 7:  # the end of the second split
                    iris.frame.head(24).to_parquet(work.planned.partition.path, index=False)
                yield item

        bench.write(islice(items(), 8))
        assert bench.files() == {"a-00000.parquet", "_rejects/a-00000.arrow"}
        assert bench.ledger.errors["a.parquet"].startswith("a.parquet: changed while it was read")
        assert not work.splits.take(1)


@pytest.fixture
def unfinished(bench: Bench) -> Iterator[Bench]:
    """A writer in the second split, of which one row is rejected."""
    bench.write(bench.items(bench.claim())[:6])
    yield bench
    bench.writer.close()


def test_closing(unfinished: Bench) -> None:
    """Both files of an unfinished part are removed; its times still count."""
    assert len(unfinished.opened.store.temporaries()) == 2
    assert unfinished.ledger.clock.times["read"].rows == 10
    unfinished.writer.close()
    assert unfinished.files() == {"a-00000.parquet", "_rejects/a-00000.arrow"}
    assert unfinished.ledger.clock.times["read"].rows == 18


def test_an_empty_split(tmp_path: Path, iris: Example) -> None:
    """A file without rows has a part without rows."""
    (tmp_path / "data").mkdir()
    iris.frame.head(0).to_parquet(tmp_path / "data" / "a.parquet", index=False)
    bench = Bench(open_run(iris.bundle, tmp_path / "data"))
    bench.write(bench.items(bench.claim()))
    assert bench.receipt("a.parquet").rows_in == 0


def test_a_row_that_is_lost(bench: Bench) -> None:
    """Is a defect, and nothing is published."""
    items = bench.items(bench.claim())
    with pytest.raises(AssertionError, match="a row was lost"):
        bench.write([items[0], *items[2:4]])
    bench.writer.close()
    assert bench.files() == set()
    assert isinstance(items[3], SplitEnd)
    assert items[3].split == Split(index=0, first_row=0, num_rows=10, last=False)

"""Scoring every split of a plan: values, events and their thread, times, and what is left after a failure."""

import threading
from collections.abc import Callable
from pathlib import Path
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.errors import OutputError, RowsRejectedError
from scoreline.pipeline.events import Emitter, Event
from scoreline.pipeline.options import RejectBudget
from scoreline.pipeline.running.events import BlockWritten, OutOfMemory, PartitionFailed, SplitPublished
from scoreline.pipeline.running.findings import BlockRetried, BlocksRetried, blocks_retried
from scoreline.pipeline.running.score import score_splits
from scoreline.pipeline.scoring.line import Line
from torch import Tensor, nn

from conftest import Example
from moody_models import take_at_most
from open_files import open_paths
from open_runs import OpenRun, open_run

FORMAT1 = Path(__file__).parent.parent / "bundles" / "format1"


@pytest.fixture
def folder(tmp_path: Path, iris: Example) -> Path:
    """80 rows in two row groups, and 25 rows as a CSV."""
    (tmp_path / "data").mkdir()
    iris.frame.head(80).to_parquet(tmp_path / "data" / "a.parquet", index=False, row_group_size=40)
    iris.frame.tail(25).to_csv(tmp_path / "data" / "b.csv", index=False)
    return tmp_path / "data"


def score(opened: OpenRun, *subscribers: Callable[[Event], object], cores: int = 1) -> tuple[Line, list[Event]]:
    """Score a run. Returns its line and events; fails if anything of it is left."""
    events: list[Event] = []
    try:
        emit = Emitter([events.append, *subscribers])
        summary = score_splits(opened.store, opened.scorer, opened.ledger, emit, cores)
        return summary.line, [*events, *blocks_retried(summary.retries)]
    finally:
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith(("flow-", "publisher-", "decoder"))]
        assert not opened.store.temporaries()
        assert not open_paths(Path(opened.job.input))


def parts(opened: OpenRun) -> list[str]:
    """The names of the parts, in order."""
    return list(opened.store.parquet_files())


def splits(events: list[Event]) -> list[tuple[str, int]]:
    """The splits that were reported, in order."""
    return sorted((event.partition, event.split) for event in events if isinstance(event, SplitPublished))


@pytest.mark.parametrize("cores", [1, 4])
def test_every_split_is_scored(folder: Path, iris: Example, cores: int) -> None:
    """With the values of plain torch, in the order of the input, and recorded in the ledger."""
    opened = open_run(iris.bundle, folder)
    _, events = score(opened, cores=cores)
    names = [f"a-{split:05d}.parquet" for split in range(8)] + [f"b.csv-{split:05d}.parquet" for split in range(3)]
    assert parts(opened) == names
    tables = [pq.read_table(opened.store.path(name)).select(["prediction", "probability_1"]) for name in names]
    scored, raw = pa.concat_tables(tables), iris.raw()[[*range(80), *range(125, 150)]]
    assert scored["prediction"].to_pylist() == [iris.labels[n] for n in raw.argmax(1)]
    expected = torch.from_numpy(raw).double().softmax(1)[:, 1]
    np.testing.assert_allclose(scored["probability_1"].to_numpy(), expected.numpy(), rtol=1e-5)
    assert splits(events) == [("a.parquet", split) for split in range(8)] + [("b.csv", split) for split in range(3)]
    assert sum(event.rows for event in events if isinstance(event, BlockWritten)) == 105
    assert [sum(part.rows_scored for part in one.parts) for one in opened.ledger.record().partitions] == [80, 25]


def test_events_come_in_the_calling_thread(folder: Path, iris: Example) -> None:
    """Whichever thread has sent them."""
    threads: set[threading.Thread] = set()
    score(open_run(iris.bundle, folder), lambda _: threads.add(threading.current_thread()), cores=3)
    assert threads == {threading.current_thread()}


def test_the_line_is_returned(folder: Path, iris: Example) -> None:
    """The one that scored the blocks, with the stages that the options ask for."""
    line, _ = score(open_run(iris.bundle, folder, dedupe=True))
    assert line.load_names == ("read", "check", "profile", "scale", "dedupe")
    assert [stage.name for stage in line.score_stages] == ["transfer", "forward", "decode", "profile_outputs"]


class TestTimes:
    """What flows did, and what they waited for."""

    def test_work_counts_once(self, folder: Path, iris: Example) -> None:
        """The work of a stage is that of all splits; the time of idle flows is not work."""
        opened = open_run(iris.bundle, folder)
        line, events = score(opened, cores=4)
        published = [event.stages for event in events if isinstance(event, SplitPublished)]
        for stage in (*line.load_names, *line.score_names):
            spent = opened.ledger.clock.times[stage]
            assert spent.busy_s == pytest.approx(sum(stages[stage]["busy_s"] for stages in published), abs=1e-3)
            assert spent.rows == sum(stages[stage]["rows"] for stages in published)

    def test_idle_flows_wait_for_the_line(self, folder: Path, iris: Example) -> None:
        """So the waits exceed those of the splits, in proportion to the work; here one block keeps one flow busy."""
        (folder / "a.parquet").unlink()
        opened = open_run(iris.bundle, folder, split_rows=100, batch_rows=100)
        opened.scorer.members.models[0] = Slow(opened.scorer.members.models[0])
        line, events = score(opened, cores=4)
        (published,) = [event.stages for event in events if isinstance(event, SplitPublished)]
        times, names = opened.ledger.clock.times, (*line.load_names, *line.score_names)
        idle = {name: times[name].waiting_s - published[name]["waiting_s"] for name in names}
        total, work = sum(idle.values()), sum(times[name].busy_s for name in names)
        assert total > 0.05
        for name in names:
            assert idle[name] == pytest.approx(total * times[name].busy_s / work, abs=1e-3)


class Slow(nn.Module):
    """A model that takes a tenth of a second for each pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        sleep(0.1)
        found: Tensor = self.model(x)
        return found


class Meeting(nn.Module):
    """A model that returns once as many threads as there are flows run it at the same time. `threads`: their names."""

    def __init__(self, model: nn.Module, flows: int) -> None:
        super().__init__()
        self.model, self.barrier = model, threading.Barrier(flows, timeout=30)
        self.threads: set[str] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.threads.add(threading.current_thread().name)
        self.barrier.wait()
        found: Tensor = self.model(x)
        return found


class TestFlows:
    """As many as there are cores, within the memory limit."""

    @pytest.mark.parametrize(("memory_bytes", "flows"), [(None, 3), (3 << 20, 3), (700, 2), (1, 1)])
    def test_their_number(self, folder: Path, iris: Example, memory_bytes: int | None, flows: int) -> None:
        """A block takes 4 rows of six columns of 8 bytes, and what the model computes of 4 bytes each; 24 blocks."""
        (folder / "b.csv").unlink()
        opened = open_run(iris.bundle, folder, memory_bytes=memory_bytes)
        block_bytes = 4 * (8 * 6 + 4 * opened.scorer.loaded.values_per_row())
        assert 2 * block_bytes <= 700 < 3 * block_bytes
        opened.scorer.members.models[0] = model = Meeting(opened.scorer.members.models[0], flows)
        score(opened, cores=3)
        assert model.threads == {f"flow-{number}" for number in range(flows)}

    def test_images_are_decoded_by_threads(self, tmp_path: Path) -> None:
        """Of a pool that all flows share, and that ends with the run."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.parquet").write_bytes((FORMAT1 / "image" / "input.parquet").read_bytes())
        found: set[str] = set()

        def look(_: Event) -> None:
            found.update(thread.name for thread in threading.enumerate() if thread.name.startswith("decoder"))

        score(open_run(FORMAT1 / "image" / "bundle", tmp_path / "data"), look, cores=2)
        assert "decoder_0" in found


def test_a_device_without_memory(folder: Path, iris: Example) -> None:
    """Each smaller number of rows is reported once, not for each block; the values are the same."""
    opened = open_run(iris.bundle, folder)
    take_at_most(opened.scorer, 2, torch.OutOfMemoryError)
    _, events = score(opened)
    assert [event for event in events if isinstance(event, OutOfMemory)] == [OutOfMemory(rows_at_once=2)]
    table = pq.read_table(opened.store.path("a-00000.parquet"))
    assert table["prediction"].to_pylist() == [iris.labels[n] for n in iris.raw()[:10].argmax(1)]


def test_blocks_that_pass_in_pieces(folder: Path, iris: Example) -> None:
    """The first is an event at once, before its rows are written, and their number at the end."""
    opened = open_run(iris.bundle, folder)
    take_at_most(opened.scorer, 3, ValueError)
    _, events = score(opened)
    (first,) = [event for event in events if isinstance(event, BlockRetried)]
    assert (first.partition, first.first_row, first.last_row) == ("a.parquet", 0, 3)
    assert "3 rows at most, not 4" in first.reason
    assert events.index(first) < min(n for n, event in enumerate(events) if isinstance(event, BlockWritten))
    last = events[-1]
    assert isinstance(last, BlocksRetried)
    assert (last.blocks, last.rows, last.reason) == (16 + 5, 64 + 20, first.reason)


class TestFailures:
    """What is complete is published and reported; nothing else is left."""

    def test_too_many_rejects(self, folder: Path, iris: Example) -> None:
        """The splits before are published, and their events come before the error is raised."""
        frame = iris.frame.head(80).copy()
        frame.loc[[35, 36], iris.features[0]] = np.nan
        frame.to_parquet(folder / "a.parquet", index=False)
        opened = open_run(iris.bundle, folder, max_rejects=RejectBudget(count=1))
        events: list[Event] = []
        with pytest.raises(RowsRejectedError, match="row 35: column 'sepal length"):
            score(opened, events.append)
        assert splits(events) == [("a.parquet", 0), ("a.parquet", 1), ("a.parquet", 2)]
        assert parts(opened) == [f"a-{split:05d}.parquet" for split in range(3)]

    @pytest.mark.parametrize("cores", [1, 3])
    def test_a_target_that_cannot_be_written(self, folder: Path, iris: Example, cores: int) -> None:
        """The other finished parts are published or discarded, and those that were published are reported."""
        opened = open_run(iris.bundle, folder)
        (opened.store.root / "a-00004.parquet" / "folder").mkdir(parents=True)
        events: list[Event] = []
        with pytest.raises(OutputError, match=r"a-00004\.parquet cannot be created"):
            score(opened, events.append, cores=cores)
        found = opened.ledger.record().partitions
        recorded = [(record.source, part.split) for record in found for part in record.parts]
        assert splits(events) == recorded
        assert ("a.parquet", 4) not in recorded

    def test_an_error_in_a_subscriber(self, folder: Path, iris: Example) -> None:
        """As if a signal had come."""
        opened = open_run(iris.bundle, folder)

        def interrupt(event: Event) -> None:
            if isinstance(event, BlockWritten):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            score(opened, interrupt, cores=2)

    def test_a_file_that_cannot_be_read(self, folder: Path, iris: Example) -> None:
        """Is reported, and the others are scored."""
        opened = open_run(iris.bundle, folder)
        (folder / "a.parquet").unlink()
        _, events = score(opened, cores=2)
        (failed,) = [event for event in events if isinstance(event, PartitionFailed)]
        assert failed.partition == "a.parquet"
        assert opened.ledger.errors == {"a.parquet": failed.reason}
        assert splits(events) == [("b.csv", 0), ("b.csv", 1), ("b.csv", 2)]

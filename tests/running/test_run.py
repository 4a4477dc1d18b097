"""One job from start to end: what is locked, removed and written when, and what a run that cannot begin leaves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import (
    ColumnError,
    DeviceError,
    OutputError,
    OutputLockedError,
    PartitionError,
    StorageError,
)
from scoreline.pipeline.events import Event
from scoreline.pipeline.options import ColumnOptions, ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest
from scoreline.pipeline.outputs.store import HISTORY, MANIFEST, PROFILE, SUCCESS
from scoreline.pipeline.running.events import (
    BlockWritten,
    BundleLoaded,
    PartitionFailed,
    RunEnded,
    RunFailed,
    RunRecorded,
    RunStarted,
    ScoringStarted,
    SplitPublished,
    TemporariesRemoved,
)
from scoreline.pipeline.running.findings import DriftMeasured, KeptPartsDiffer, NewInputsFound
from scoreline.pipeline.running.run import run

from conftest import Example
from outcomes import recorded


@pytest.fixture
def job(tmp_path: Path, iris: Example) -> ScoreJob:
    """Two files of 150 rows, in splits of 100."""
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        iris.frame.to_parquet(tmp_path / "data" / f"{name}.parquet", index=False)
    return ScoreJob(
        bundle=str(iris.bundle), input=str(tmp_path / "data"), output=str(tmp_path / "out"), run_id="one",
        batch_rows=50, split_rows=100, device="cpu",
    )  # fmt: skip


PARTS = {f"{name}-0000{split}.parquet" for name in "ab" for split in (0, 1)}


def files(folder: str) -> dict[str, bytes]:
    """The content of all files of an output but its history, to which every run appends."""
    root = Path(folder)
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(HISTORY, None)
    return found


def events_of(job: ScoreJob, *subscribers: Callable[[Event], object]) -> list[Event]:
    """The events of a run."""
    events: list[Event] = []
    run(job, [events.append, *subscribers])
    return events


def when(kind: type[Event], action: Callable[[], object]) -> Callable[[Event], None]:
    """A subscriber that acts on the first event of a class."""
    done: list[Event] = []

    def act(event: Event) -> None:
        if isinstance(event, kind) and not done:
            done.append(event)
            action()

    return act


def test_the_manifest_is_returned(job: ScoreJob) -> None:
    """As it is written; it counts every row, and `_SUCCESS` exists."""
    found = run(job)
    written = read_manifest(FolderStore(job.output))
    assert (found.status, found.rows_in, found.rows_scored, found.rows_rejected) == ("success", 300, 300, 0)
    assert found == written.model_copy(update={"checksum": None})
    assert (written.run_id, written.status, written.device) == ("one", "success", "cpu")
    assert set(files(job.output)) == {*PARTS, MANIFEST, PROFILE, SUCCESS, "_scoreline/lock", "_scoreline/parts.pq"}


class TestBeginning:
    """A run that cannot begin changes nothing, and one that begins has a locked output that says so."""

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"columns": ColumnOptions(keys=("nope",))}, ColumnError),
            ({"device": "cuda:99", "force": True}, DeviceError),
            ({"output": "data/out"}, OutputError),
        ],
        ids=["columns", "device", "overlap"],
    )
    def test_what_is_refused(
        self, job: ScoreJob, changes: dict[str, object], error: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before anything is removed or written: an earlier output stays complete."""
        monkeypatch.chdir(Path(job.output).parent)
        run(job)
        before = files(job.output)
        with pytest.raises(error):
            run(replace(job, **changes))
        assert files(job.output) == before
        assert not Path("data/out").exists()

    def test_a_new_output_is_not_created_in_vain(self, job: ScoreJob) -> None:
        """A column is missing, so there is no folder."""
        with pytest.raises(ColumnError, match="column 'nope' is missing"):
            run(replace(job, columns=ColumnOptions(keys=("nope",))))
        assert not Path(job.output).exists()

    def test_while_it_scores(self, job: ScoreJob) -> None:
        """There is no `_SUCCESS` of an earlier run, and run.json has the status."""
        run(job)
        seen: list[tuple[str, bool]] = []

        def look() -> None:
            store = FolderStore(job.output)
            seen.append((read_manifest(store).status, SUCCESS in files(job.output)))

        run(replace(job, force=True, run_id="two"), [when(BlockWritten, look)])
        assert seen == [("running", False)]
        assert SUCCESS in files(job.output)

    @pytest.mark.parametrize("earlier", [False, True])
    @pytest.mark.parametrize("kind", [RunStarted, BundleLoaded, BlockWritten])
    def test_the_output_is_locked(self, job: ScoreJob, kind: type[Event], earlier: bool) -> None:
        """From the plan on; an output that exists, before it is scanned."""
        if earlier:
            run(job)
        seen: list[Event] = []

        def second() -> None:
            with pytest.raises(OutputLockedError, match="run two"):
                run(replace(job, run_id="three"), [seen.append])

        run(replace(job, force=True, run_id="two"), [when(kind, second)])
        assert not seen

    def test_temporary_files_are_removed(self, job: ScoreJob) -> None:
        """Those of a killed run, before the first row is read."""
        store = FolderStore(job.output)
        store.prepare()
        store.temporary("a-00000.parquet").write_bytes(b"half")
        events = events_of(job)
        (removed,) = [event for event in events if isinstance(event, TemporariesRemoved)]
        assert (removed.count, removed.first.startswith(".scoreline-")) == (1, True)
        started = next(event for event in events if isinstance(event, ScoringStarted))
        assert events.index(removed) < events.index(started)
        assert not store.temporaries()

    def test_nothing_left_to_score(self, job: ScoreJob) -> None:
        """But the run before has not ended: no model is loaded, and the kept parts count."""
        run(job)
        FolderStore(job.output).remove(SUCCESS)
        events = events_of(replace(job, run_id="two"))
        assert [type(event) for event in events] == [RunStarted, ScoringStarted, DriftMeasured, RunRecorded, RunEnded]
        written = read_manifest(FolderStore(job.output))
        assert (written.run_id, written.device, written.rows_in) == ("two", "none", 300)
        assert SUCCESS in files(job.output)


class TestKeptParts:
    """Only what is missing is scored."""

    def test_parts_of_another_environment(self, job: ScoreJob) -> None:
        """Are kept, and named in an event before the first row is read."""
        run(job)
        FolderStore(job.output).remove("b-00001.parquet")
        before = files(job.output)
        events = events_of(replace(job, batch_rows=25))
        (found,) = [event for event in events if isinstance(event, KeptPartsDiffer)]
        assert (found.kept_with, found.now_with) == ({"batch_rows": "50"}, {"batch_rows": "25"})
        published = [(event.partition, event.split) for event in events if isinstance(event, SplitPublished)]
        assert published == [("b.parquet", 1)]
        after = files(job.output)
        assert [name for name in sorted(PARTS) if after[name] != before.get(name)] == ["b-00001.parquet"]
        assert read_manifest(FolderStore(job.output)).rows_in == 300

    def test_parts_under_other_names(self, job: ScoreJob) -> None:
        """Are removed at the end, once they are replaced."""
        run(job)
        seen: list[set[str]] = []
        run(replace(job, split_rows=200), [when(SplitPublished, lambda: seen.append(set(files(job.output))))])
        assert seen[0] >= PARTS
        assert {name for name in files(job.output) if name.endswith(".parquet")} == {"a.parquet", "b.parquet"}

    def test_parts_under_other_names_of_a_run_that_fails(self, job: ScoreJob) -> None:
        """Those of complete inputs are removed all the same, so that no row is there twice; those of others stay."""
        run(job)
        (Path(job.input) / "a.parquet").write_bytes(b"PAR1 and then nothing")
        with pytest.raises(PartitionError):
            run(replace(job, split_rows=200))
        names = {name for name in files(job.output) if name.endswith(".parquet")}
        assert names == {"a-00000.parquet", "a-00001.parquet", "b.parquet"}


class TestInputs:
    """That cannot be read, or change while the run lasts."""

    def test_one_cannot_be_opened(self, job: ScoreJob) -> None:
        """It is reported before the others are scored, and fails the run at the end; their parts are published."""
        (Path(job.input) / "a.parquet").write_bytes(b"PAR1 and then nothing")
        events: list[Event] = []
        with pytest.raises(PartitionError, match=r"^a\.parquet: .* \(1 of 2 inputs could not be read; the others are"):
            run(job, [events.append])
        names = [event.name for event in events if not isinstance(event, BlockWritten)]
        assert names == [
            "run_started", "bundle_loaded", "scoring_started", "partition_failed", "split_published", "split_published",
            "drift_measured", "run_recorded", "run_failed",
        ]  # fmt: skip
        assert SUCCESS not in files(job.output)
        assert recorded(Path(job.output))[0]["error"] is not None

    def test_none_can_be_opened(self, job: ScoreJob) -> None:
        """No model is loaded."""
        for path in Path(job.input).iterdir():
            path.write_bytes(b"PAR1 and then nothing")
        events: list[Event] = []
        with pytest.raises(
            PartitionError, match=r"\(2 of 2 inputs could not be read\); replace or remove such files, then run again$"
        ):
            run(job, [events.append])
        assert [type(event) for event in events] == [
            RunStarted, ScoringStarted, PartitionFailed, PartitionFailed, RunRecorded, RunFailed,
        ]  # fmt: skip

    def test_new_ones(self, job: ScoreJob, iris: Example) -> None:
        """Are left for the next run, and reported."""

        def add() -> None:
            for name in ("c", "0"):
                iris.frame.to_parquet(Path(job.input) / f"{name}.parquet", index=False)

        events = events_of(job, when(ScoringStarted, add))
        assert NewInputsFound(count=2, first="0.parquet") in events
        assert {name for name in files(job.output) if name.endswith(".parquet")} == PARTS
        assert run(replace(job, run_id="two")).rows_in == 600

    def test_they_are_gone_at_the_end(self, job: ScoreJob) -> None:
        """Then there are no new ones, and the run ends well."""

        def remove() -> None:
            for path in Path(job.input).iterdir():
                path.unlink()
            Path(job.input).rmdir()

        published: list[Event] = []

        def count(event: Event) -> None:
            if isinstance(event, SplitPublished):
                published.append(event)
                if len(published) == len(PARTS):
                    remove()

        events = events_of(job, count)
        assert isinstance(events[-1], RunEnded)
        assert not [event for event in events if isinstance(event, NewInputsFound)]


def test_a_part_that_is_removed_during_the_run(job: ScoreJob) -> None:
    """The run fails, and there is no `_SUCCESS`."""
    run(job)
    store = FolderStore(job.output)
    store.remove("b-00001.parquet")
    with pytest.raises(StorageError, match=r"1 of 4 parts is missing from .*, first 'a-00000\.parquet'"):
        run(job, [when(BlockWritten, lambda: store.remove("a-00000.parquet"))])
    assert SUCCESS not in files(job.output)
    assert pq.read_metadata(store.path("b-00001.parquet")).num_rows == 50

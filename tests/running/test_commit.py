"""The output at the beginning and end of a run: the lock, what is up to date, what is removed, and the last files."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scoreline.pipeline.errors import OutputLockedError, PartitionError, StorageError
from scoreline.pipeline.events import Emitter, Event
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest
from scoreline.pipeline.outputs.part_records import OutputRecord, PartVersion
from scoreline.pipeline.outputs.store import MANIFEST, SUCCESS, Store
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import Plan
from scoreline.pipeline.running.commit import (
    check_parts_exist,
    lock_new_output,
    remove_replaced_parts,
    up_to_date_manifest,
    write_manifest_at_end,
)
from scoreline.pipeline.running.events import ManifestNotWritten, RunEnded, RunFailed, RunRecorded
from scoreline.pipeline.running.ledger import Ledger
from scoreline.schemas.run import RunManifest

from planned_runs import DIGEST, ledger, part, partition, plan

A, B = partition("a.parquet"), partition("b.parquet")
JOB = ScoreJob(bundle="b", input="/in", output="/out", run_id="two", max_rejects=RejectBudget(count=1))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An output with a part for each of two inputs, one of which has rejects."""
    found = FolderStore(tmp_path / "out")
    for name in ("a.parquet", "b.parquet", "_rejects/a.arrow"):
        found.write(name, b"")
    return found


def files(store: Store) -> set[str]:
    """All files of an output."""
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


class TestNewOutputs:
    """A new output is locked, and must be empty."""

    def test_it_is_created_and_locked(self, tmp_path: Path) -> None:
        """Until the run ends."""
        store = FolderStore(tmp_path / "new")
        with ExitStack() as held:
            lock_new_output(store, JOB, held, ExistingParts())
            with pytest.raises(OutputLockedError, match="run two"):
                lock_new_output(store, JOB, ExitStack(), ExistingParts())
        with ExitStack() as held:
            lock_new_output(store, JOB, held, ExistingParts())

    def test_another_run_was_faster(self, store: Store) -> None:
        """It has written a part since the output was scanned."""
        with pytest.raises(OutputLockedError, match="another run has just started in"), ExitStack() as held:
            lock_new_output(store, JOB, held, ExistingParts())


PARTS = {A: [part("a.parquet", rejected=1, kept=True)], B: [part("b.parquet", kept=True)]}


def ended() -> Ledger:
    """The ledger of the run that wrote the parts."""
    found = ledger(plan([A, B]))
    for owner, parts in PARTS.items():
        for record in parts:
            found.publish(owner, replace(record, kept=False))
    return found


def finished(**changes: Any) -> RunManifest:
    """The manifest of that run."""
    return ended().manifest(None).model_copy(update=changes)


def recorded(orphaned: Sequence[str] = ()) -> OutputRecord:
    """What that run recorded of inputs and parts."""
    return replace(ended().record(), orphaned_parts=list(orphaned))


def scanned(**changes: Any) -> Plan:
    """The plan of the next run, with everything up to date."""
    all_parts = {A: {"a.parquet"}, B: {"b.parquet"}}
    given = {
        "kept": PARTS,
        "all_parts": all_parts,
        "succeeded": True,
        "manifest": finished(),
        "recorded": recorded(),
        **changes,
    }
    return plan([A, B], **given)


class TestUpToDate:
    """The last run's manifest counts if it records exactly what is there."""

    def test_nothing_has_changed(self, store: Store) -> None:
        """The manifest is returned as it is."""
        current = scanned()
        assert up_to_date_manifest(store, current, JOB, DIGEST) is current.existing.manifest

    @pytest.mark.parametrize(
        "changes",
        [
            {"succeeded": False},
            {"manifest": None},
            {"manifest": finished(status="failed")},
            {"manifest": finished(root="/elsewhere")},
            {"manifest": finished(roots=["/before"])},
            {"recorded": recorded(["c.parquet"])},
            {"recorded": OutputRecord()},
            {"manifest": finished(rows_rejected=2)},
            {"orphaned_parts": ["c.parquet"]},
            {"kept": {A: PARTS[A]}},
            {"kept": {**PARTS, B: [part("b.parquet", kept=True, sha256="sha256:" + "1" * 64)]}},
            {"all_parts": {A: {"a.parquet", "a-00000.parquet"}, B: {"b.parquet"}}},
        ],
    )
    def test_something_has_changed(self, store: Store, changes: dict[str, Any]) -> None:
        """Each difference by itself."""
        assert up_to_date_manifest(store, scanned(**changes), JOB, DIGEST) is None

    def test_another_bundle(self, store: Store) -> None:
        """Made the parts."""
        assert up_to_date_manifest(store, scanned(), JOB, "sha256:" + "1" * 64) is None

    def test_other_etags(self, store: Store) -> None:
        """As in a copy: the parts are the same."""
        version = PartVersion(etag="2", rejects_etag=None, identity=DIGEST, made_with="{}")
        current = scanned(kept={**PARTS, A: [replace(PARTS[A][0], version=version)]})
        assert up_to_date_manifest(store, current, JOB, DIGEST) is current.existing.manifest

    def test_rejects_without_a_part(self, store: Store) -> None:
        """Must be removed first."""
        store.write("_rejects/c.arrow", b"")
        assert up_to_date_manifest(store, scanned(), JOB, DIGEST) is None

    def test_orphaned_parts(self, store: Store) -> None:
        """Are kept with their rejects, and removed with --prune."""
        store.write("_rejects/c.arrow", b"")
        current = scanned(orphaned_parts=["c.parquet"], recorded=recorded(["c.parquet"]))
        assert up_to_date_manifest(store, current, JOB, DIGEST) is not None
        prune = ScoreJob(bundle="b", input="/in", output="/out", run_id="", prune=True, max_rejects=JOB.max_rejects)
        assert up_to_date_manifest(store, current, prune, DIGEST) is None


class TestReplacedParts:
    """Parts under other names, and what belongs to them, are removed."""

    @pytest.mark.parametrize(("prune", "left"), [(False, {"c.parquet", "_rejects/c.arrow"}), (True, set())])
    def test_of_another_split_size(self, store: Store, prune: bool, left: set[str]) -> None:
        """The parts of complete inputs; those of inputs that are gone only with --prune."""
        for name in ("a-00000.parquet", "_rejects/a-00000.arrow", "_rejects/x.arrow", "c.parquet", "_rejects/c.arrow"):
            store.write(name, b"")
        all_parts = {A: {"a.parquet", "a-00000.parquet"}, B: {"b.parquet"}}
        found = ledger(plan([A, B], all_parts=all_parts, orphaned_parts=["c.parquet"]), prune=prune)
        for owner, (record,) in PARTS.items():
            found.publish(owner, record)
        remove_replaced_parts(store, found, Emitter())
        assert files(store) == {"a.parquet", "_rejects/a.arrow", "b.parquet", *left}
        assert found.plan.existing.orphaned_parts == ([] if prune else ["c.parquet"])

    def test_of_an_input_that_failed(self, store: Store) -> None:
        """Its earlier parts stay."""
        found = ledger(plan([A, B], all_parts={A: {"a.parquet"}, B: {"b.parquet"}}))
        found.publish(B, PARTS[B][0])
        found.fail(PartitionError("a.parquet: broken", partition="a.parquet"))
        remove_replaced_parts(store, found, Emitter())
        assert files(store) == {"a.parquet", "_rejects/a.arrow", "b.parquet"}


def test_parts_that_are_missing(store: Store) -> None:
    """At the end of the run, the first is named with the number of all."""
    found = ledger(plan([A, B]))
    for owner, (record,) in PARTS.items():
        found.publish(owner, record)
    check_parts_exist(store, found)
    store.remove("b.parquet")
    with pytest.raises(StorageError, match=r"^1 of 2 parts is missing from '.*', first 'b\.parquet': the output was"):
        check_parts_exist(store, found)


class TestEndOfRun:
    """run.json is written in any case, `_SUCCESS` only on success, and the last event comes after both."""

    def test_success(self, store: Store) -> None:
        """Both files."""
        events: list[Event] = []
        with write_manifest_at_end(store, ledger(plan([A])), Emitter([events.append])):
            assert MANIFEST not in files(store)
        assert {MANIFEST, SUCCESS} <= files(store)
        assert read_manifest(store).status == "success"
        assert [type(event) for event in events] == [RunRecorded, RunEnded]

    @pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt("stopped")])
    def test_an_error(self, store: Store, error: BaseException) -> None:
        """Is recorded and raised again, also a signal; temporary files are removed."""
        events: list[Event] = []
        store.temporary("c.parquet").write_bytes(b"unfinished")
        with pytest.raises(type(error)), write_manifest_at_end(store, ledger(plan([A])), Emitter([events.append])):
            raise error
        manifest = json.loads((store.root / MANIFEST).read_text())
        assert (manifest["status"], manifest["error"]) == ("failed", str(error))
        assert SUCCESS not in files(store)
        assert not store.temporaries()
        assert [type(event) for event in events] == [RunRecorded, RunFailed]

    def test_a_full_disk_after_an_error(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first error is raised; the second is an event."""
        monkeypatch.setattr(store, "write", _failing(StorageError("the disk is full")))
        events: list[Event] = []
        with (
            pytest.raises(ValueError, match="broken"),
            write_manifest_at_end(store, ledger(plan([A])), Emitter([events.append])),
        ):
            raise ValueError("broken")
        assert events[0] == ManifestNotWritten(reason="the disk is full")
        assert isinstance(events[1], RunFailed)

    def test_a_full_disk_at_the_end(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run fails, and no event says that it ended well."""
        monkeypatch.setattr(store, "write", _failing(StorageError("the disk is full")))
        events: list[Event] = []
        with pytest.raises(StorageError), write_manifest_at_end(store, ledger(plan([A])), Emitter([events.append])):
            pass
        assert not events


def _failing(error: Exception) -> Callable[..., None]:
    def write(*_: object) -> None:
        raise error

    return write

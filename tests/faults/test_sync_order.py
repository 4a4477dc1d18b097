"""What a crash of the machine may lose: a rename or a new folder whose folder was not synced, and bytes that were not.
A killed process loses none of that, so the order of calls is checked."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import pytest
from bench import OpenBench
from layer import Call
from scoreline.pipeline.outputs.naming import SUFFIX, rejects_name
from scoreline.pipeline.outputs.store import SUCCESS
from scoreline.pipeline.storage.temporaries import is_temporary

WRITES = {"write", "pwrite", "ftruncate"}


class Calls:
    """The calls of a run, all of which took effect. `replaces`: whether it replaced a complete output."""

    def __init__(self, calls: Sequence[Call], *, replaces: bool) -> None:
        self._calls, self.replaces = calls, replaces
        self.parts = [call for call in self.named("rename") if call.point.path.endswith(SUFFIX)]

    def named(self, *names: str) -> list[Call]:
        """The calls with these names, in the order in which they began."""
        return [call for call in self._calls if call.point.call in names]

    def synced(self, path: str, since: Call, before: Call) -> bool:
        """Whether an fsync of a path began after one call had ended, and ended before another began."""
        return any(
            sync.point.path == path and ended(since) < sync.began and ended(sync) < before.began
            for sync in self.named("fsync")
        )

    def folder_synced(self, change: Call, before: Call) -> bool:
        """Whether the folder of what a call created, renamed or removed was synced before another call."""
        return self.synced(str(PurePosixPath(change.point.path).parent), change, before)


def ended(call: Call) -> int:
    """When a call ended."""
    assert call.ended is not None, f"{call.point} did not end"
    return call.ended


@pytest.fixture(params=[("fresh", 1), ("fresh", 4), ("other split size", 4)], ids=str)
def calls(request: pytest.FixtureRequest, open_bench: OpenBench) -> Calls:
    """An undisturbed run with one flow or several, over a new output or one that is replaced."""
    kind, flows = request.param
    return Calls(open_bench(kind, flows).recorded.calls, replaces=kind != "fresh")


def test_files_are_synced_before_they_are_renamed(calls: Calls) -> None:
    """After the last of their bytes was written."""
    assert len(calls.parts) == 8
    for rename in calls.named("rename"):
        written = [call for call in calls.named("open", *WRITES) if call.point.path == rename.source]
        last = [call for call in written if call.began < rename.began][-1]
        assert calls.synced(rename.source, last, rename), rename


def test_rejects_come_before_their_part(calls: Calls) -> None:
    """They are renamed, and the folders of both are synced, before the part is renamed."""
    rejects = {call.point.path: call for call in calls.named("rename") if call.point.path.endswith(".arrow")}
    assert len(rejects) == 3
    for part in calls.parts:
        name, folders = rejects_name(part.point.path), set(PurePosixPath(part.point.path).parents)
        if name in rejects:
            assert calls.folder_synced(rejects.pop(name), part), name
            folders |= set(PurePosixPath(name).parents)
        for made in calls.named("mkdir"):
            if PurePosixPath(made.point.path) in folders:
                assert calls.folder_synced(made, part), made
    assert not rejects


def test_success_is_removed_first_and_written_last(calls: Calls) -> None:
    """Before the first part, and after everything else is synced; temporaries may come back."""
    removed = [call for call in calls.named("unlink") if call.point.path == SUCCESS]
    assert len(removed) == calls.replaces
    assert all(calls.folder_synced(call, part) for call in removed for part in calls.parts)
    last = calls.named("rename")[-1]
    assert last.point.path == SUCCESS
    for change in calls.named("rename", "mkdir", "unlink"):
        if change is not last and not is_temporary(PurePosixPath(change.point.path).name):
            assert calls.folder_synced(change, last), change
    assert any(sync.point.path == "." and sync.began > ended(last) for sync in calls.named("fsync"))

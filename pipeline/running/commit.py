"""The output at the beginning and end of a run: locks it, checks whether it is up to date, removes replaced parts,
checks that all parts exist, writes the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ...schemas.run import RunManifest
from ..errors import OutputLockedError, ScorelineError, StorageError, counted
from ..events import Emitter
from ..monitoring.run_profile import is_intact
from ..options import ScoreJob
from ..outputs.manifest import write_manifest
from ..outputs.naming import rejects_name
from ..outputs.part_records import PartRecord
from ..outputs.store import RUN_FILES, SUCCESS, RecordFiles, Store
from ..planning.existing import ExistingParts
from ..planning.plan import Plan
from ..storage.uris import is_remote
from .drift import is_within_drift
from .events import ManifestNotWritten, OrphanedPartsRemoved, RunEnded, RunRecorded
from .ledger import Ledger


def lock_new_output(store: Store, job: ScoreJob, held: ExitStack, existing: ExistingParts) -> None:
    """Create and lock an output, after the preflight has passed.

    Args:
        existing: what was in it; parts, if somebody has removed the records of earlier runs.

    Raises:
        OutputLockedError: another run has written to it since.
    """
    store.prepare()
    held.enter_context(store.lock(job.run_id))
    store.refresh()
    known = {name for names in existing.all_parts.values() for name in names}.union(existing.orphaned_parts)
    if set(store.parquet_files()) != known:
        raise OutputLockedError(f"another run has just started in {str(store.root)!r}; try again when it has ended")


def up_to_date_manifest(store: Store, plan: Plan, job: ScoreJob, bundle: str) -> RunManifest | None:
    """The last run's manifest if the output is up to date: the manifest records exactly the kept parts, they all exist,
    and so does `_SUCCESS`. Otherwise None."""
    existing = plan.existing
    kept = {part.target: part.rejects for parts in existing.kept.values() for part in parts.values()}
    if plan.partitions or plan.failed or not existing.succeeded or existing.surplus(kept):
        return None
    if job.prune and existing.orphaned_parts:
        return None
    manifest = existing.manifest
    if manifest is None or manifest.status != "success" or manifest.bundle.digest != bundle:
        return None
    if (manifest.root, manifest.roots) != (plan.discovery.real_root, existing.roots):
        return None  # the input has moved, and its new location must be recorded
    found, recorded = {part.content for parts in existing.kept.values() for part in parts.values()}, existing.recorded
    if {part.content for part in recorded.parts()} != found:
        return None
    if list(recorded.orphaned_parts) != existing.orphaned_parts:
        return None
    if not set(store.rejects_files()) <= {*kept.values(), *map(rejects_name, existing.orphaned_parts)}:
        return None  # rejects files without a part must be removed
    if manifest.drift is not None and not is_intact(store):
        return None  # it is written again, from the profiles in the parts
    within = manifest.rows_rejected <= job.max_rejects.allowed(manifest.rows_in)
    return manifest if within and is_within_drift(manifest.drift, job.max_drift) else None


def remove_replaced_parts(store: Store, ledger: Ledger, emit: Emitter) -> None:
    """Remove parts that were replaced under other names, and, with `--prune`, parts whose input is gone. Then remove
    rejects files without a part, which a killed run may have left."""
    existing = ledger.plan.existing
    made = {part.target: part.rejects for parts in ledger.parts.values() for part in parts}
    gone = existing.surplus(made, ledger.errors)
    orphaned = existing.orphaned_parts if ledger.job.prune else []
    for name in (*gone, *orphaned):
        store.remove(name)
    if orphaned:
        emit(OrphanedPartsRemoved(count=len(orphaned), first=orphaned[0]))
        existing.orphaned_parts = []
    named = {made.get(name, rejects_name(name)) for name in store.parquet_files()}
    for name in store.rejects_files():
        if name not in named:
            store.remove(name)


def check_parts_exist(store: Store, ledger: Ledger) -> None:
    """Check that every part still exists, and in an object store that it is the one that was written: the output may
    have been moved, removed or written to by others during the run."""
    parts = [part for parts in ledger.parts.values() for part in parts]
    gone = [part.target for part in parts if not _exists(store, part)]
    if gone:
        missing = "is missing" if len(gone) == 1 else "are missing"
        where = "from" if store.kind(gone[0]) != "file" else "or replaced in"
        raise StorageError(
            f"{len(gone):,} of {counted(len(parts), 'part')} {missing} {where} {str(store.root)!r}, first {gone[0]!r}:"
            " the output was changed during the run; run the same command again"
        )


def _exists(store: Store, part: PartRecord) -> bool:
    """Whether a part is there. Another ETag of an object means another object; of a file, perhaps only other
    permissions."""
    if part.version is None or not is_remote(store.root):
        return store.kind(part.target) == "file"
    rejects = None if part.rejects is None else store.etag(part.rejects)
    return (store.etag(part.target), rejects) == (part.version.etag, part.version.rejects_etag)


@dataclass(slots=True)
class Written:
    """The manifest, once it has been written."""

    manifest: RunManifest | None = None


@contextmanager
def write_manifest_at_end(
    store: Store, ledger: Ledger, emit: Emitter, files: RecordFiles = RUN_FILES
) -> Iterator[Written]:
    """Write the manifest and emit the last event when the block ends, even by an error; write `_SUCCESS` on success.

    Args:
        files: those of a shard, which neither completes the output nor removes temporaries, since others are at work.
    """
    error: BaseException | None = None
    written = Written()
    try:
        yield written
    except BaseException as raised:  # a signal, too
        error = raised
        raise
    finally:
        manifest = ledger.manifest(error)
        try:
            if error is not None and files == RUN_FILES:
                store.remove_temporaries()  # a signal may have arrived before a new one was registered
            manifest = written.manifest = write_manifest(store, manifest, ledger.record(), files)
            if files == RUN_FILES:
                emit(RunRecorded(output=ledger.job.output))
            if error is None and files == RUN_FILES:
                store.write(SUCCESS, b"")
        except ScorelineError as second:
            if error is None:
                raise
            emit(ManifestNotWritten(reason=str(second)))
        emit(RunEnded.of(manifest))

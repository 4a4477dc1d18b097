"""Commits the finished parts of an output to a table: one atomic version, without rewriting a file.

Repeating a commit, also after it was killed, adds nothing twice: the parts are recorded with a number before the table
gets its version, and the table stores the number in the same transaction. docs/decisions/0030-table-versions.md.
"""

from dataclasses import dataclass

from ...errors import DataError
from ...outputs.committed import CommittedPart, read_committed, write_committed
from ...outputs.finished import why_incomplete
from ...outputs.folder_store import FolderStore
from ...outputs.manifest import read_manifest, read_record
from ...outputs.part_records import PartRecord
from ...storage.folders import listing_error
from .files import read_files
from .table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitReport:
    """What a commit has done. `version`: the table's new version; None if there was nothing new. `parts`, `rows`: what
    it added; `parts_before`: how many parts of the output earlier versions have."""

    table: str
    version: str | None
    parts: int
    rows: int
    parts_before: int


def commit(output: str, table: Table, *, run_id: str) -> CommitReport:
    """Add the parts of an output that a table does not have yet.

    Args:
        run_id: for the lock.

    Raises:
        NoInputError: the folder is not an output.
        DataError: the output is not complete; a committed part was replaced; or the table has commits of this output
            that it has no record of.
        ColumnError: the columns of the parts do not suit each other or the table.
        OutputLockedError: a run or another commit has the output.
        StorageError: the disk or the table cannot be written. Repeat the commit.
    """
    store = FolderStore(output, failed=listing_error)
    read_manifest(store)  # before the lock, which needs the folder of an output
    with store.lock(run_id):
        parts, known, last = _parts(store), read_committed(store), table.last_number()
        before = [part for part in known if part.table == table.name and part.number <= last]
        if last and not before:
            raise DataError(
                f"{table.name} has commits of {str(store.root)!r}, which has no record of them, so their parts would be"
                " added twice; score to another --output"
            )
        receipts = {part.target: part.receipt for part in before}
        replaced = [part.target for part in parts if receipts.get(part.target, part.receipt) != part.receipt]
        if replaced:
            raise DataError(
                f"{replaced[0]} was replaced after it had been committed to {table.name}, which refers to the earlier"
                " file; score to another --output"
            )
        new = [part for part in parts if part.target not in receipts]
        report = CommitReport(table=table.name, version=None, parts=0, rows=0, parts_before=len(before))
        if not new:
            return report
        files = read_files(store, new)
        table.check(files)
        others = [part for part in known if part.table != table.name]
        number = last + 1
        added = [
            CommittedPart(table=table.name, number=number, target=part.target, receipt=part.receipt) for part in new
        ]
        write_committed(store, [*others, *before, *added])
        version = table.append(files, number)
    return CommitReport(
        table=table.name, version=version, parts=len(new), rows=files.num_rows, parts_before=len(before)
    )


def _parts(store: FolderStore) -> list[PartRecord]:
    """The parts that have rows. Raises DataError unless the output is complete."""
    manifest = read_manifest(store)
    if (reason := why_incomplete(store, manifest)) is not None:
        raise DataError(f"{str(store.root)!r} is not complete: {reason}")
    return [part for part in read_record(store, manifest).parts() if part.rows_scored]

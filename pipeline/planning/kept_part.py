"""Whether a part of an earlier run is what this run would make. Reads its receipt, not the input."""

from ...schemas.run import Fingerprint, Receipt
from ..outputs.naming import rejects_name
from ..outputs.part_records import PartRecord
from ..outputs.receipt import differences, expected_name, file_digest, is_whole, part_version
from ..outputs.store import Store

#: The reason why a part is not kept that has other bytes than it was published with.
DAMAGED = "damaged"
#: The reason why it is not kept although nothing else differs.
CHANGED = "input changed while it was read"


def kept_record(
    store: Store,
    name: str,
    etag: str | None,
    receipt: Receipt | str,
    wanted: Fingerprint,
    split_rows: int,
    known: PartRecord | None,
    *,
    force: bool,
) -> PartRecord | list[str]:
    """The record of a part that is kept, or the reasons why it is not.

    Args:
        etag: its ETag before the receipt was read.
        known: what the last manifest recorded under its name.
    """
    if not isinstance(receipt, Receipt):
        return [receipt]
    if known is not None and known.receipt == receipt.checksum and is_changed(store, known, etag):
        return [DAMAGED]  # also where it is scored again for another reason: that may be interrupted
    if force:
        return ["forced"]
    found = receipt.fingerprint
    if reasons := differences(found, wanted):
        return reasons
    if name != expected_name(receipt):
        return ["renamed"]
    full = receipt.rows_in == split_rows or (receipt.last and receipt.rows_in < split_rows)
    if not full or found.first_row != wanted.first_row:
        return ["option split_rows changed"]
    rejects = None if receipt.rejects is None else rejects_name(name)
    rejects_etag = None if rejects is None else store.etag(rejects)  # before it is read
    if rejects is not None and _digest(store, rejects) != receipt.rejects:
        return ["rejects missing or changed"]
    assert receipt.checksum is not None, "read_receipt has checked it"
    if (digest := _checked_digest(store, name, receipt.checksum, known)) is None:
        return [DAMAGED]
    return PartRecord(
        target=name,
        split=receipt.split,
        last=receipt.last,
        kept=True,
        sha256=digest,
        receipt=receipt.checksum,
        rows_in=receipt.rows_in,
        rows_scored=receipt.rows_scored,
        rows_rejected=receipt.rows_rejected,
        out_of_bounds=receipt.out_of_bounds,
        above_threshold=receipt.above_threshold,
        version=part_version(receipt, etag, rejects_etag),
    )


def _checked_digest(store: Store, name: str, receipt: str, known: PartRecord | None) -> str | None:
    """The digest of a part with this checksum of its receipt; None if it is damaged. It is read to the end if it was
    not recorded with this receipt; a recorded one has been compared before."""
    if known is None or known.receipt != receipt:
        return store.kept_digest(name) or _whole_digest(store, name)
    return known.sha256


def is_changed(store: Store, known: PartRecord, etag: str | None) -> bool:
    """Whether a recorded part has been written to, and has other bytes now. `etag`: its present ETag."""
    before = None if known.version is None else known.version.etag
    return store.is_rewritten(before, etag) and _digest(store, known.target) != known.sha256


def _digest(store: Store, name: str) -> str | None:
    """The digest of a file; None where it does not exist or cannot be read."""
    if store.kind(name) == "missing":
        return None
    if (kept := store.kept_digest(name)) is not None:
        return kept
    try:
        with store.local(name) as path:
            return file_digest(path)
    except OSError:
        return None


def _whole_digest(store: Store, name: str) -> str | None:
    """The digest of a Parquet file of which every page matches its checksum; None for another one."""
    with store.local(name) as path:
        return file_digest(path) if is_whole(path) else None

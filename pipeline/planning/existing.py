"""Finds the splits that already have an up-to-date part, and why the others must be scored. Reads the receipts of
parts, not the inputs.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from ...schemas.run import Fingerprint, Receipt, RunManifest
from ..errors import DataError, NoInputError, OutputError, changed_error
from ..options import ScoreJob
from ..outputs.committed import read_committed
from ..outputs.manifest import read_manifest, read_record
from ..outputs.naming import SUFFIX, numbered, whole_name
from ..outputs.part_records import NOTHING_RECORDED, OutputRecord, PartRecord
from ..outputs.receipt import expected_name, identity, read_receipt
from ..outputs.store import MANIFEST, SUCCESS, Store
from ..records import Partition
from ..storage.folders import Entry
from .fingerprint import NO_ENGINES, Fingerprints
from .kept_part import CHANGED, DAMAGED, kept_record

#: The splits of a shard, by input; an input that is missing here belongs to it as a whole.
OwnSplits: TypeAlias = Mapping[Partition, range]
ALL_SPLITS: OwnSplits = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What to scan of an output. `own`: the splits of the shard that scans its own parts, and ignores all other files;
    None: the whole output. `recorded`: the parts whose digests are known; None: those of the last manifest."""

    own: OwnSplits | None = None
    recorded: OutputRecord | None = None


@dataclass(kw_only=True, slots=True)
class ExistingParts:
    """What an output already contains, by input.

    `kept`: the parts that are what this run would make, by split. `complete_inputs`: the inputs whose parts are all
    kept. `reasons`: why other parts are not kept, by split. `all_parts`: every part of an input, kept or not.
    `to_remove`: the parts that are removed before scoring begins, since a later run could keep them: those with other
    bytes than they were published with, and those of inputs that changed while the last run read them.
    `orphaned_parts`: parts whose input is not among this run's. `foreign_files`: files that are not parts, by name.
    `made_with`: what the kept parts were made with, where that affects the last bits. `succeeded`: whether the last run
    ended with `_SUCCESS`. `manifest`: the last run's, None where it is missing or invalid, and `manifest_error` says
    why; `recorded`: the inputs and parts that it describes. `roots`: the earlier locations of the input, where it has
    moved since its parts were made. `committed`: the parts that tables refer to, with the name of a table.
    """

    kept: dict[Partition, dict[int, PartRecord]] = field(default_factory=dict)
    complete_inputs: set[Partition] = field(default_factory=set)
    reasons: dict[Partition, dict[int, list[str]]] = field(default_factory=dict)
    all_parts: dict[Partition, set[str]] = field(default_factory=dict)
    to_remove: list[str] = field(default_factory=list)
    orphaned_parts: list[str] = field(default_factory=list)
    foreign_files: list[str] = field(default_factory=list)
    made_with: list[dict[str, str]] = field(default_factory=list)
    succeeded: bool = False
    roots: list[str] = field(default_factory=list)
    manifest: RunManifest | None = None
    recorded: OutputRecord = NOTHING_RECORDED
    manifest_error: str | None = None
    committed: Mapping[str, str] = field(default_factory=dict)

    def num_kept(self) -> int:
        """How many splits need not be scored."""
        return sum(len(parts) for parts in self.kept.values())

    def surplus(self, made: Collection[str], failed: Collection[str] = ()) -> list[str]:
        """Parts that complete inputs do not need: of another split size, or of an input that has shrunk.

        Args:
            made: the parts that the inputs now consist of.
            failed: names of inputs that could not be read to their end; their parts stay.
        """
        names = {name for partition, names in self.all_parts.items() if partition.name not in failed for name in names}
        return sorted(names - set(made))


def scan_output(
    store: Store,
    partitions: Sequence[Partition],
    bundle: str,
    job: ScoreJob,
    split_rows: int,
    *,
    root: str,
    engines: Mapping[str, str] = NO_ENGINES,
    scope: Scope | None = None,
) -> ExistingParts:
    """Read the receipts of the parts in the output.

    A part is kept when its receipt equals the one that this run would write, its rejects file has the digest in it, and
    the last manifest recorded its digest with this receipt, or else every page matches its checksum.

    Args:
        bundle: its digest.
        root: the real path of the folder that the names of the partitions are relative to.
        engines: what computes the values of the bundle's optional stages, by stage.
        scope: of a shard, or of all shards; None: the whole output, as the last manifest recorded it.

    Raises:
        DataError: the list of the parts that tables refer to is damaged.
        OutputError: a foreign `.parquet` or a copy of a part; a part of another input of the same name; a folder or a
            pipe at a target; a folder that cannot be listed.
    """
    store.refresh()
    store.refuse_irregular()
    scope = scope or Scope()
    existing = ExistingParts(succeeded=store.kind(SUCCESS) == "file")
    existing.committed = {part.target: part.table for part in read_committed(store)}
    _read_manifest(store, existing)
    fingerprints = Fingerprints(bundle, job, engines)
    recorded = existing.recorded if scope.recorded is None else scope.recorded
    scan = _Scan(
        store=store,
        existing=existing,
        known={part.target: part for part in recorded.parts()},
        owners={whole_name(p.name): p for p in partitions},
        wanted=lambda owner, split: fingerprints.of(owner, split * split_rows),
        changed={one.source for one in recorded.partitions if one.error == str(changed_error(one.source))},
        job=job,
        split_rows=split_rows,
        root=root,
    )
    scan.add_all(entry for entry in store.entries() if scope.own is None or _is_own(entry.name, scan.owners, scope.own))
    files = {name for names in existing.all_parts.values() for name in names}
    _refuse_folders(store, (name for name in scan.owners if name not in files))
    own = scope.own or ALL_SPLITS
    existing.complete_inputs = {
        partition for partition, parts in existing.kept.items() if _is_whole(parts, own.get(partition))
    }
    return existing


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scan:
    """A scan of an output. `known`: the recorded parts, by target; `owners`: the inputs, by the name of their only
    part; `wanted`: the fingerprint of a split; `changed`: the names of the inputs that changed while the last run read
    them. Their fingerprints may be the same, where a file was replaced by another of the same size and time."""

    store: Store
    existing: ExistingParts
    known: Mapping[str, PartRecord]
    owners: Mapping[str, Partition]
    wanted: Callable[[Partition, int], Fingerprint]
    changed: Collection[str]
    job: ScoreJob
    split_rows: int
    root: str

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Examine files. The receipts of parts that are not those that were recorded are read, in objects by several
        threads."""
        unread = list[tuple[str, str | None]]()
        for entry in entries:
            name = entry.name
            if not name.endswith(SUFFIX):
                self.existing.foreign_files.append(name)
            elif entry.kind == "other":
                raise OutputError(f"{self.store.path(name)} is a pipe, a socket or a device, not a part; move it")
            elif not self._keep_unread(name, etag := self.store.etag(name)):
                unread.append((name, etag))
        with ThreadPoolExecutor(self.store.num_readers) as pool:
            mapped = map if self.store.num_readers == 1 else pool.map
            receipts = mapped(lambda found: read_receipt(self.store.path(found[0])), unread)
            for (name, etag), receipt in zip(unread, receipts, strict=True):
                self.add(name, etag, receipt)

    def _keep_unread(self, name: str, etag: str | None) -> bool:
        """Keep a part if it is the one that was recorded, and the one that this run would make."""
        known = self.known.get(name)
        owner, split = _named_owner(name, self.owners)
        if known is None or known.version is None or owner is None or self.job.force or known.version.etag != etag:
            return False
        if owner.name in self.changed:
            return False
        if known.version.is_weak or self._has_moved_away():
            return False
        wanted = self.wanted(owner, split)
        full = known.rows_in == self.split_rows or (known.last and known.rows_in < self.split_rows)
        if not full or known.version.identity != identity(wanted, self.root):
            return False
        if known.rejects is not None and self.store.etag(known.rejects) != known.version.rejects_etag:
            return False
        self._keep(owner, split, replace(known, kept=True), json.loads(known.version.made_with))
        return True

    def _has_moved_away(self) -> bool:
        """Whether a later location of the input has been recorded than this one."""
        last = self.existing.manifest
        return last is not None and self.root in last.roots

    def _keep(self, owner: Partition, split: int, record: PartRecord, made_with: dict[str, str]) -> None:
        existing = self.existing
        existing.all_parts.setdefault(owner, set()).add(record.target)
        existing.kept.setdefault(owner, {})[split] = record
        if made_with not in existing.made_with:
            existing.made_with.append(made_with)

    def add(self, name: str, etag: str | None, receipt: Receipt | Literal["missing", "foreign", "torn"]) -> None:
        """Examine a `.parquet` file with this ETag and receipt."""
        store, existing = self.store, self.existing
        owner, split = _owner(name, receipt, self.owners)
        changed = isinstance(receipt, Receipt) and receipt.fingerprint.source in self.changed
        if stale := changed and name not in existing.committed:
            existing.to_remove.append(name)  # whatever else differs, and whether or not the input is among this run's
        if receipt == "foreign" or (receipt == "torn" and owner is None and name not in self.known):
            raise _foreign(store, name)
        if isinstance(receipt, Receipt) and owner is None:
            _refuse_overwriting(store, name, receipt, self.owners)
        if owner is None:
            existing.orphaned_parts += [] if stale else [name]
            return
        if isinstance(receipt, Receipt):
            _refuse_other_root(store, name, receipt, existing.manifest, self.root, moved=self.job.moved_input)
            if receipt.root not in (self.root, *existing.roots):
                existing.roots.append(receipt.root)
        existing.all_parts.setdefault(owner, set()).add(name)
        wanted = self.wanted(owner, split)
        known = self.known.get(name)
        record = kept_record(store, name, etag, receipt, wanted, self.split_rows, known, force=self.job.force)
        if changed and isinstance(record, PartRecord):
            record = [CHANGED]
        if isinstance(record, PartRecord) and isinstance(receipt, Receipt):
            self._keep(owner, split, record, receipt.made_with)
        elif isinstance(record, list):
            if record == [DAMAGED] and not stale:
                existing.to_remove.append(name)
            existing.reasons.setdefault(owner, {}).setdefault(split, []).extend(record)


def _is_own(name: str, owners: Mapping[str, Partition], own: OwnSplits) -> bool:
    """Whether a file is a part of a shard, by its name."""
    owner, split = _named_owner(name, owners)
    return owner is not None and (owner not in own or split in own[owner])


def _named_owner(name: str, owners: Mapping[str, Partition]) -> tuple[Partition | None, int]:
    """The input that a part belongs to, and the index of its split, by its name."""
    whole, split = (name, 0) if name in owners else numbered(name) or ("", 0)
    return owners.get(whole), split


def _refuse_folders(store: Store, names: Iterable[str]) -> None:
    for name in names:
        if store.kind(name) == "folder":
            raise OutputError(f"{store.path(name)} is a folder where a part would be written; move it")


def _foreign(store: Store, name: str) -> OutputError:
    return OutputError(
        f"{store.path(name)} was not written by scoreline, and readers of the output would take it for predictions;"
        " move it, or choose another --output"
    )


def _owner(name: str, receipt: Receipt | str, owners: Mapping[str, Partition]) -> tuple[Partition | None, int]:
    """The input that a part belongs to, and the index of its split: by its name, unless a valid receipt of that name
    belongs to another input."""
    owner, split = _named_owner(name, owners)
    if owner is None or not isinstance(receipt, Receipt):
        return owner, split
    is_other = receipt.fingerprint.source != owner.name and expected_name(receipt) == name
    return (None, 0) if is_other else (owner, split)


def _refuse_overwriting(store: Store, name: str, receipt: Receipt, owners: Mapping[str, Partition]) -> None:
    """Raise OutputError for a part of another input that this run would overwrite, and for a copy of a part."""
    if name in owners:
        raise OutputError(
            f"{store.path(name)} contains rows of {receipt.fingerprint.source!r}, which is not among the inputs, and"
            f" {owners[name].name!r} would overwrite it; choose another --output, or rename the input"
        )
    if name != expected_name(receipt):
        raise OutputError(
            f"{store.path(name)} is a copy of {expected_name(receipt)!r}, and readers of the output would see its rows"
            " twice; move it"
        )


def _refuse_other_root(
    store: Store, name: str, receipt: Receipt, last: RunManifest | None, root: str, *, moved: bool
) -> None:
    """Raise OutputError for a part of an input of the same name in another folder, unless the input has been moved."""
    part_root = last.root if last is not None and receipt.root in last.roots else receipt.root
    if part_root != root and not moved:
        raise OutputError(
            f"{store.path(name)} contains rows of {receipt.fingerprint.source!r} in {part_root!r}, which those of the"
            f" input in {root!r} would replace; choose another --output, such as one with {{run_date}} in it, or, where"
            " the input has been moved, add --moved-input"
        )


def _is_whole(parts: Mapping[int, PartRecord], own: range | None) -> bool:
    """Whether these are all splits of an input, from the first to the one that is marked as the last, or all of a
    shard."""
    if own is not None:
        return all(split in parts for split in own)
    return all(split in parts for split in range(len(parts))) and parts[len(parts) - 1].last


def _read_manifest(store: Store, existing: ExistingParts) -> None:
    try:
        existing.manifest = read_manifest(store)
        existing.recorded = read_record(store, existing.manifest)
    except (DataError, NoInputError) as error:
        existing.manifest_error = str(error) if store.kind(MANIFEST) != "missing" else None

"""What earlier runs have done: which partitions have their part already, and why the others need theirs anew. Inputs
are not opened; outputs say of themselves what they are. Joins `inputs` and `outputs`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..schemas.run import Fingerprint, PartitionRecord, Receipt
from .errors import OutputError
from .outputs.receipt import differences, file_digest, is_whole, read_receipt
from .outputs.store import MANIFEST, REJECTS, SUCCESS, Store
from .records import ColumnOptions, Partition, ScoreJob


@dataclass(kw_only=True, slots=True)
class Standing:
    """`kept`: partitions whose part stands, with its record. `reasons`: why parts are made anew, counted. `orphans`:
    parts whose input is not among this run's. `complete`: whether the last run ended with `_SUCCESS`."""

    kept: dict[Partition, PartitionRecord] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    complete: bool = False


def target_of(partition: Partition) -> str:
    """Where a partition's rows go: its own path, with `.parquet` behind any other suffix."""
    return partition.name if partition.name.endswith(".parquet") else f"{partition.name}.parquet"


def rejects_of(target: str) -> str:
    """Where the rejects of a part go."""
    return f"{REJECTS}/{target.removesuffix('.parquet')}.arrow"


def fingerprint(partition: Partition, bundle: str, options: ColumnOptions) -> Fingerprint:
    """What the part of a partition is made of."""
    given = {
        "keys": None if options.keys is None else json.dumps(options.keys),
        "prefix": options.prefix or None,
        "probabilities": None if options.probabilities == "columns" else options.probabilities,
    }
    return Fingerprint(
        source=partition.name,
        size=partition.size,
        mtime_ns=partition.mtime_ns,
        bundle=bundle,
        options={name: value for name, value in given.items() if value is not None},
    )


def look(store: Store, partitions: Sequence[Partition], bundle: str, job: ScoreJob) -> Standing:
    """Read the receipts of what stands in the output.

    A part is kept when its receipt is whole and says what this run would say of it, its rejects have the digest it
    names, and its bytes are those the last manifest recorded, or, where none did, every page has its checksum.

    Raises:
        OutputError: a `.parquet` that is not ours, which readers would take for predictions; a folder at a target.
    """
    standing = Standing(complete=store.path(SUCCESS).exists())
    targets = {target_of(partition): partition for partition in partitions}
    recorded = _recorded(store)
    for name in targets:
        if store.path(name).is_dir():
            raise OutputError(f"{store.path(name)} is a folder, and a part is to stand there; move it")
    receipts = {name: read_receipt(store.path(name)) for name in store.parquet_files()}
    for name, receipt in receipts.items():
        if receipt == "foreign" or (receipt == "torn" and name not in targets and name not in recorded):
            raise OutputError(
                f"{store.path(name)} was not written by scoreline, and readers of the output would take it for"
                " predictions; move it, or choose another --output"
            )
    standing.orphans = sorted(name for name in receipts if name not in targets)
    for name, partition in targets.items():
        wanted = fingerprint(partition, bundle, job.columns)
        record = _kept(store, name, receipts.get(name, "missing"), wanted, recorded, force=job.force)
        if isinstance(record, PartitionRecord):
            standing.kept[partition] = record.model_copy(update={"path": partition.path})
        else:
            standing.reasons.update(record)
    return standing


def _kept(
    store: Store,
    name: str,
    receipt: Receipt | str,
    wanted: Fingerprint,
    recorded: Mapping[str, str],
    *,
    force: bool,
) -> PartitionRecord | list[str]:
    """The record of a part that stands, or the reasons why it does not."""
    if not isinstance(receipt, Receipt):
        return [receipt]
    if force:
        return ["forced"]
    if receipt.fingerprint != wanted:
        return differences(receipt.fingerprint, wanted)
    rejects = store.path(rejects_of(name))
    if receipt.rejects is not None and (not rejects.exists() or file_digest(rejects) != receipt.rejects):
        return ["rejects missing or changed"]
    digest = recorded.get(name)
    if digest is None:
        if not is_whole(store.path(name)):
            return ["damaged"]
        digest = file_digest(store.path(name))
    return PartitionRecord(
        source=receipt.fingerprint.source,
        target=name,
        kept=True,
        sha256=digest,
        rows_in=receipt.rows_in,
        rows_scored=receipt.rows_scored,
        rows_rejected=receipt.rows_rejected,
        rejects=rejects_of(name) if receipt.rejects is not None else None,
    )


def _recorded(store: Store) -> dict[str, str]:
    """The digests of parts that the last manifest knows, by target."""
    try:
        parts = json.loads(store.path(MANIFEST).read_text(encoding="utf-8"))["partitions"]
        return {part["target"]: part["sha256"] for part in parts if part["sha256"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

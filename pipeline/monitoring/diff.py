"""Compares the predictions of two outputs, such as those of two models for the same rows. Does not import torch."""

from collections.abc import Callable
from dataclasses import dataclass

from ...schemas.run import RunManifest
from ..errors import DataError, PartitionError, one_line
from ..outputs.finished import chosen_head, read_finished
from ..outputs.manifest import read_record
from ..outputs.store import Store
from ..outputs.stores import open_store
from ..parquet.file import ParquetSource
from ..storage.folders import listing_error
from .aligned_rows import Side, Unmatched, align_by_key, align_by_row
from .changes import Changes
from .compared_columns import Predictions, compared_columns
from .parts import OutputPart, output_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How two outputs differ. `task`: that of the compared head; `bundles`: the digests of both."""

    task: str
    bundles: tuple[str, str]
    changes: Changes
    unmatched: Unmatched


def compare(
    first: str,
    second: str,
    *,
    on: str | None = None,
    head: str | None = None,
    num_movers: int = 10,
    advance: Callable[[int], object] = lambda _: None,
) -> Difference:
    """Compare the predictions of two finished runs.

    Rows are aligned by input and row number, across rejects and other split sizes, or by a key. By row, one block of
    each output is held in memory; by key, the keys of both and the compared columns of the second.

    Args:
        first: the output of `scoreline score` to compare with; changes are second minus first.
        on: the key column; None aligns by input and row number.
        head: the head's name, if the bundles have several.
        num_movers: how many of the rows with the largest changes to keep.
        advance: called with the number of rows compared since the last call.

    Raises:
        NoInputError: a folder is not an output of Scoreline.
        DataError: a run is not complete; the predictions cannot be compared; no row is in both; a part is damaged.
        UsageError: there is no such head or key column.
    """
    stores = [open_store(output, failed=listing_error) for output in (first, second)]
    manifests = [read_finished(store) for store in stores]
    parts = [tuple(output_parts(read_record(*one))) for one in zip(stores, manifests, strict=True)]
    found = [_predictions(*one, head) for one in zip(stores, manifests, parts, strict=True)]
    columns = compared_columns(*found)
    sides = [
        Side(store=store, parts=some, columns=read)
        for store, some, read in zip(stores, parts, (columns.read_first, columns.read_second), strict=True)
    ]
    changes, unmatched = Changes(columns=columns, num_movers=num_movers), Unmatched()
    one, other = sides
    for block in align_by_row(one, other, unmatched) if on is None else align_by_key(one, other, on, unmatched):
        changes.add(block)
        advance(block.first.num_rows)
    if not changes.rows:
        raise DataError(f"{first!r} and {second!r} have no scored row in common")
    digests = manifests[0].bundle.digest, manifests[1].bundle.digest
    return Difference(task=found[0].head.task, bundles=digests, changes=changes, unmatched=unmatched)


def _predictions(store: Store, manifest: RunManifest, parts: tuple[OutputPart, ...], head: str | None) -> Predictions:
    """What the output's head predicts, with the columns of its first part."""
    chosen = chosen_head(manifest, head)
    if not parts:
        raise DataError(f"{str(store.root)!r} has no parts")
    try:
        with ParquetSource(store.path(parts[0].target), name=parts[0].target) as source:
            schema = source.schema(chosen.columns)
    except PartitionError as error:
        raise DataError(f"{one_line(error)}; run scoreline verify") from error
    return Predictions(head=chosen, prefix=str(manifest.options.get("prefix") or ""), schema=schema)

"""Which rows are explained, and the baseline they are compared with."""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...arrays import filled
from ...options import Explain


def draws(source: str, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A pseudo-random number for every row of a partition, uniform over uint64, which depends only on the partition's
    name and the row number (splitmix64, Steele, Lea and Flood 2014)."""
    start = np.uint64(int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little"))
    with np.errstate(over="ignore"):
        mixed = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def chosen(drawn: NDArray[np.uint64], explain: Explain) -> NDArray[np.int64]:
    """Indices of the rows to explain, ascending."""
    if explain.share >= 1:
        return np.arange(len(drawn), dtype=np.int64)
    return np.flatnonzero(drawn < np.uint64(int(explain.share * 2**64)))


def baseline_row(golden: pa.RecordBatch, categories: Collection[str]) -> pa.RecordBatch:
    """One raw row as the baseline: of each feature the (lower) median of the golden rows, or, for text and categories,
    the most frequent value (the smallest if several are equally frequent)."""
    columns = [_most_frequent(column) if name in categories else _median(column) for name, column in _columns(golden)]
    return pa.record_batch(columns, schema=golden.schema)


def _columns(batch: pa.RecordBatch) -> Sequence[tuple[str, pa.Array]]:
    plain = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return list(zip(batch.schema.names, plain, strict=True))


def _median(column: pa.Array) -> pa.Array:
    values = filled(column.cast(pa.float64(), safe=False), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return column.slice(0, 1)
    order = known[np.argsort(values[known], kind="stable")]
    return column.slice(int(order[(len(order) - 1) // 2]), 1)


def _most_frequent(column: pa.Array) -> pa.Array:
    found = column.drop_null().value_counts()
    if not len(found):
        return column.slice(0, 1)
    largest = found.filter(pc.equal(found.field("counts"), pc.max(found.field("counts")))).field("values")
    return largest.take(pc.array_sort_indices(largest)).slice(0, 1)

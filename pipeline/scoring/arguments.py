"""The arguments of `Scorer`, checked before anything is loaded or scored: a caller's mistake is not the bundle's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, get_args

import pyarrow as pa

from ..digests import is_digest
from ..errors import ColumnError, UsageError, counted
from ..options import Explain, ExplainMethod, Precision
from ..ordered import refuse_unordered


def check_load(*, device: str, trust: Collection[str], precision: str, batch_rows: int | None) -> None:
    """Refuse what `Scorer.load` cannot take. Raises UsageError."""
    if not isinstance(device, str):
        raise UsageError(f"device is {device!r}; it must be a name such as 'auto', 'cpu' or 'cuda:1'")
    if precision not in get_args(Precision):
        raise UsageError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}")
    if batch_rows is not None and not (isinstance(batch_rows, int) and batch_rows >= 1):
        raise UsageError(f"batch_rows is {batch_rows!r}; it must be an integer of at least 1, or None")
    if isinstance(trust, str):
        raise UsageError(f"trust is a text, {trust!r}; it must be a list of digests")
    for one in trust:
        if not (isinstance(one, str) and is_digest(one)):
            raise UsageError(f"trust: {one!r} is not a digest; use sha256:… as scoreline check prints it")


def hidden_names(hidden: Sequence[str]) -> tuple[str, ...]:
    """The names of hidden layers. Raises UsageError for a text, whose letters would be names, and for a set."""
    if isinstance(hidden, str):
        raise UsageError(f"hidden is a text, {hidden!r}; it must be a list of names, such as [{hidden!r}]")
    refuse_unordered(hidden=hidden)
    return tuple(hidden)


def explain_of(explain: Explain | ExplainMethod | None) -> Explain | None:
    """How attributions are computed: a method alone is that of every row. Raises UsageError for anything else."""
    if explain is None or isinstance(explain, Explain):
        return explain
    if explain not in get_args(ExplainMethod):
        raise UsageError(f"explain is {explain!r}; it must be one of {', '.join(get_args(ExplainMethod))}")
    return Explain(method=explain)


def refuse_other_tables(table: Any) -> None:
    """Raise UsageError for what is not a `pyarrow.Table`."""
    if not isinstance(table, pa.Table):
        raise UsageError(f"score_table takes a pyarrow.Table, not {type(table).__name__}; use score_frame")


def checked_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches.

    Raises:
        UsageError: they are not record batches.
        ColumnError: one has another schema than the first.
    """
    if isinstance(batches, pa.Table | pa.RecordBatch) or not isinstance(batches, Iterable):
        raise UsageError(
            f"score_batches takes several pyarrow.RecordBatch, not a {type(batches).__name__}; use score_frame"
        )
    first: pa.Schema | None = None
    for number, batch in enumerate(batches):
        if not isinstance(batch, pa.RecordBatch):
            kind = type(batch).__name__
            raise UsageError(f"score_batches takes pyarrow.RecordBatch, not a {kind} (batch {number}); use score_frame")
        first = batch.schema if first is None else first
        if batch.schema.equals(first):
            yield batch
            continue
        if (other := _difference(first, batch.schema)) is not None:
            raise ColumnError(f"batch {number} differs from batch 0: {other}; make the columns of all batches the same")
        yield pa.RecordBatch.from_arrays(batch.columns, schema=first)


def _difference(first: pa.Schema, other: pa.Schema) -> str | None:
    """The first difference between the columns of two schemas; None if there is none."""
    for wanted, found in zip(first, other, strict=False):
        if (wanted.name, wanted.type) != (found.name, found.type):
            return f"its column {found.name!r} ({found.type}) is {wanted.name!r} ({wanted.type}) there"
    return None if len(first) == len(other) else f"it has {counted(len(other), 'column')}, not {len(first)}"

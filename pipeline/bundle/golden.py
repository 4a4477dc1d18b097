"""Golden rows: raw rows with their expected outputs, and their comparison.

golden.parquet has a column `feature:<name>` per feature, `raw:<head>` (fixed-size lists of float32) and
`column:<name>` per decoded column. Independent of how rows are scored.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..arrays import to_arrow, to_numpy
from ..errors import BundleError, GoldenMismatchError, PartitionError, counted, one_line, shape_text
from ..parquet.footer import read_groups
from ..parquet.pages import read_pages
from ..records import Lists

GOLDEN = "golden.parquet"
FEATURE, RAW, COLUMN = "feature:", "raw:", "column:"
MOST_ROWS = 256
#: Tolerances. float32 on another processor changes the last bits, a scaler fitted in float32 a few more; a wrong
#: scaler, model or order of features changes far more. The relative one refers to the largest output that was computed
#: together: sums of a deep network round in the size of their terms, so a small output may be off by more of its own.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
WIDER = {"float64": 1.0, "float32": 10.0}
#: So many roundings of a large logit may change a probability.
MOST_ROUNDINGS = 64


#: A head's raw output: float32 `[rows, width]`, or values `[steps, width]` of lists.
Raw: TypeAlias = NDArray[np.float32] | Lists
#: golden.parquet has no encoding in which one value represents many. It may decompress to this many bytes, or this
#: multiple of its size.
ALWAYS_BYTES, MOST_TIMES = 256 << 20, 20
#: PLAIN, RLE and BIT_PACKED by their numbers in the format.
ENCODINGS = {0, 3, 4}
#: The share of rows whose generated texts may differ where their scores are equal, because two texts may nearly tie.
MOST_TIES = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenRows:
    """`features`: raw rows, as in an input file. `raw`: float32 `[rows, width]` by head, or lists of such values for
    heads with steps. `columns`: decoded columns, all of them or those that the user passed."""

    features: pa.RecordBatch
    raw: Mapping[str, Raw]
    columns: Mapping[str, pa.Array]


def write_golden(golden: GoldenRows) -> bytes:
    """The bytes of golden.parquet."""
    columns: dict[str, pa.Array] = {
        FEATURE + name: golden.features.column(name) for name in golden.features.schema.names
    }
    for name, raw in golden.raw.items():
        values = raw.values if isinstance(raw, Lists) else raw
        flat = to_arrow(np.asarray(values, dtype=np.float32).reshape(-1))
        rows = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        columns[RAW + name] = (
            pa.LargeListArray.from_arrays(to_arrow(raw.offsets), rows) if isinstance(raw, Lists) else rows
        )
    columns |= {COLUMN + name: values for name, values in golden.columns.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, use_dictionary=False, write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_golden(data: bytes, features: Sequence[str], heads: Sequence[str]) -> GoldenRows:
    """Parse golden.parquet. Raises BundleError where it is invalid or lacks a column."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            _refuse_decompression_bomb(file.metadata, data)
            batch = file.read(use_threads=False).combine_chunks().to_batches()[0]
        rows = pa.record_batch([batch.column(FEATURE + name) for name in features], names=list(features))
        raw = {head: _raw(batch.column(RAW + head)) for head in heads}
        columns = {
            name.removeprefix(COLUMN): batch.column(name) for name in batch.schema.names if name.startswith(COLUMN)
        }
        if not columns:
            raise ValueError("it has no expected columns")
    except (OSError, pa.ArrowException, LookupError, ValueError, AttributeError, TypeError, PartitionError) as error:
        raise BundleError(f"golden.parquet is invalid: {one_line(error)}; save the bundle again") from error
    return GoldenRows(features=rows, raw=raw, columns=columns)


def compare(
    golden: GoldenRows,
    raw: Mapping[str, Raw],
    columns: Mapping[str, pa.Array],
    *,
    by_column: Collection[str] = (),
    wider: float = 1.0,
    ties: bool = True,
) -> float:
    """The largest difference between expected and actual outputs.

    Args:
        by_column: the heads and columns whose outputs have units of their own, such as the targets of a regression. The
            size of such an output is its largest golden value; that of others, the largest output of the head in the
            row.
        wider: a factor on the tolerance.
        ties: whether a few generated texts may differ where their scores are equal.

    Raises:
        GoldenMismatchError: a value differs by more than `wider` × (1e-5 + 1e-4 × the size), or a label differs where
            the probabilities do not nearly tie; names the column, the row and both values.
    """
    largest = 0.0
    for head, expected in golden.raw.items():
        got = raw[head]
        if isinstance(expected, Lists) != isinstance(got, Lists):
            raise GoldenMismatchError(f"golden rows: raw output {head!r} has steps in one and rows in the other")
        same = not isinstance(expected, Lists) or not isinstance(got, Lists) or _counts(expected) == _counts(got)
        if not same:
            raise GoldenMismatchError(f"golden rows: raw output {head!r} has another number of steps than expected")
        axis = 0 if head in by_column else 1
        largest = max(largest, _numbers(f"raw output {head!r}", _values(expected), _values(got), wider, axis=axis))
    for name, wanted in golden.columns.items():
        made = columns.get(name)
        if made is None:
            raise GoldenMismatchError(f"golden rows have a column {name!r} that this bundle does not make")
        if not wanted.type.equals(made.type):
            raise GoldenMismatchError(f"golden column {name!r} is {wanted.type}, but the bundle makes {made.type}")
        if pa.types.is_list(wanted.type) and _step_counts(wanted) == _step_counts(made) and _of_steps(golden.raw):
            wanted, made = wanted.flatten(), made.flatten()
        if pa.types.is_floating(wanted.type) or pa.types.is_fixed_size_list(wanted.type):
            axis = 0 if name in by_column else 1
            largest = max(largest, _numbers(f"column {name!r}", _matrix(wanted), _matrix(made), wider, axis=axis))
        elif not wanted.equals(made):
            _labels(name, wanted, made, golden.raw, wider, ties=ties)
    return largest


def differ_by_rounding(expected: Mapping[str, Raw], got: Mapping[str, Raw], *, by_column: Collection[str]) -> bool:
    """Whether raw outputs differ by no more than `MOST_ROUNDINGS` in float32. Terms of the size of an output may have
    cancelled: roundings are those of the median size of the output's column, of itself, and, for other heads than those
    of `by_column`, of the largest output in its row.
    """
    for head, wanted in expected.items():
        one, other = (_values(raw).astype(np.float64) for raw in (wanted, got[head]))
        if one.shape != other.shape:
            return False
        sizes = np.where(np.isfinite(one), np.abs(one), 0.0)
        size = np.maximum(sizes, np.median(sizes, axis=0, keepdims=True)) if len(sizes) else sizes
        if head not in by_column:
            size = np.maximum(size, sizes.max(axis=1, keepdims=True, initial=0.0))
        if not is_within(one, other, MOST_ROUNDINGS * np.finfo(np.float32).eps * size):
            return False
    return True


def is_within(one: NDArray[Any], other: NDArray[Any], tolerance: NDArray[Any]) -> bool:
    """Whether all values are equal, NaN included, or differ by no more than a tolerance."""
    with np.errstate(invalid="ignore"):
        close = np.abs(one - other) <= tolerance
    return bool((close | (one == other) | (np.isnan(one) & np.isnan(other))).all())


def _refuse_decompression_bomb(metadata: pq.FileMetaData, data: bytes) -> None:
    """Raise ValueError for a file that `write_golden` cannot have written and that may decompress to far more, or
    PartitionError for one whose footer or pages are inconsistent."""
    if metadata.num_rows > MOST_ROWS:
        raise ValueError(f"it has {metadata.num_rows} rows, above the limit of {MOST_ROWS}")
    file = BytesIO(data)
    chunks = [chunk for group in read_groups(file, metadata, GOLDEN) for chunk in group.chunks]
    pages = [
        page for at, chunk in enumerate(chunks) for page in read_pages(file, chunk, name=GOLDEN, where=f"chunk {at}")
    ]
    decompressed = sum(page.size for page in pages)
    if decompressed > max(ALWAYS_BYTES, MOST_TIMES * len(data)):
        raise ValueError(f"it decompresses from {len(data):,} to {decompressed:,} bytes")
    if any(page.is_dictionary for page in pages):
        raise ValueError("it has the encoding DICTIONARY")
    unknown = {page.encoding for page in pages} - ENCODINGS
    if unknown:
        raise ValueError(f"it has the encoding {min(unknown)}")


def _raw(column: pa.Array) -> Raw:
    """A column of golden.parquet as an array, or lists of such."""
    if not pa.types.is_large_list(column.type):
        flat = column.flatten().cast(pa.float32())
        return np.asarray(to_numpy(flat), dtype=np.float32).reshape(len(column), -1)
    offsets = np.asarray(to_numpy(column.offsets), dtype=np.int64)
    return Lists(values=_raw(column.flatten()), offsets=offsets - offsets[0])


def _values(raw: Raw) -> NDArray[np.floating]:
    """The values of all rows, or of all steps of lists."""
    return raw.values if isinstance(raw, Lists) else raw


def _counts(lists: Lists) -> list[int]:
    return list(np.diff(lists.offsets).tolist())


def _of_steps(raw: Mapping[str, Raw]) -> bool:
    return any(isinstance(values, Lists) for values in raw.values())


def _step_counts(lists: pa.Array) -> list[int]:
    return [len(row) for row in lists]


def _matrix(values: pa.Array) -> NDArray[np.float64]:
    flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    known = flat.fill_null(float("nan")) if flat.null_count else flat
    return np.asarray(to_numpy(known), dtype=np.float64).reshape(len(values), -1)


def _numbers(what: str, expected: NDArray[np.floating], got: NDArray[np.floating], wider: float, *, axis: int) -> float:
    """The largest difference. `axis`: 1 for a tolerance by the largest value of each row, 0 of each column."""
    if expected.shape != got.shape:
        shapes = f"{shape_text(got.shape)}, but {shape_text(expected.shape)}"
        raise GoldenMismatchError(f"golden rows: {what} has the shape {shapes} was expected")
    equal = (expected == got) | (np.isnan(expected) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        apart = np.where(equal, 0.0, np.abs(expected.astype(np.float64) - got.astype(np.float64)))
        apart = np.nan_to_num(apart, nan=np.inf)
        size = np.where(np.isfinite(expected), np.abs(expected), 0.0).max(axis=axis, keepdims=True, initial=0.0)
        out_of_tolerance = apart > wider * (ABSOLUTE + RELATIVE * size)
    if out_of_tolerance.any():
        row, column = np.unravel_index(int(np.argmax(np.where(out_of_tolerance, apart, -1.0))), apart.shape)
        raise GoldenMismatchError(
            f"{what} differs by {apart[row, column]:.3g} at row {row}: expected {expected[row, column]:.6g},"
            f" got {got[row, column]:.6g}",
            "the model, the scaler or the order of the features is not the one that the expected outputs were computed"
            " with",
        )
    return float(apart.max(initial=0.0))


def _labels(name: str, wanted: pa.Array, got: pa.Array, raw: Mapping[str, Raw], wider: float, *, ties: bool) -> None:
    """Raise GoldenMismatchError for labels that differ, except in rows where the two largest raw outputs nearly tie,
    and in a few generated texts, whose scores are compared separately."""
    wrong = [row for row in range(len(wanted)) if wanted[row].as_py() != got[row].as_py()]
    head_raw = next((values for head, values in raw.items() if name.startswith(f"{head}_")), next(iter(raw.values())))
    outputs = _values(head_raw)
    generated = pa.types.is_list(wanted.type) and not isinstance(head_raw, Lists)
    if generated and ties and len(wrong) <= max(1, int(MOST_TIES * len(wanted))):
        return
    for row in wrong:
        top = np.sort(outputs[row].astype(np.float64))[::-1]
        nearly = len(top) > 1 and top[0] - top[1] <= wider * (ABSOLUTE + RELATIVE * abs(top[0]))
        if not nearly or pa.types.is_list(wanted.type):
            raise GoldenMismatchError(
                f"column {name!r} at row {row}: expected {wanted[row].as_py()!r}, got {got[row].as_py()!r}"
                f" ({len(wrong):,} of {counted(len(wanted), 'row')})",
                "the labels, the model or the scaler are not those that the bundle was saved with",
            )

"""Golden rows: raw rows with the outputs expected for them, and what counts as equal.

golden.parquet has a column `feature:<name>` per feature, `raw:<head>` (fixed-size lists of float32) and
`column:<name>` per decoded column. Knows nothing of how a row is scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..arrays import to_arrow, to_numpy
from ..errors import BundleError, GoldenMismatchError, one_line

FEATURE, RAW, COLUMN = "feature:", "raw:", "column:"
MOST_ROWS = 256
#: float32 on another processor moves the last bits, a scaler fitted in float32 a few more; a wrong scaler, model or
#: order moves far more.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
WIDER = {"float64": 1.0, "float32": 10.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenRows:
    """`features`: raw rows, as they would come from a file. `raw`: float32 `[rows, width]` per head.
    `columns`: decoded columns, all of them or those the user handed over."""

    features: pa.RecordBatch
    raw: Mapping[str, NDArray[np.float32]]
    columns: Mapping[str, pa.Array]


def write_golden(golden: GoldenRows) -> bytes:
    """The bytes of golden.parquet."""
    columns: dict[str, pa.Array] = {
        FEATURE + name: golden.features.column(name) for name in golden.features.schema.names
    }
    for name, values in golden.raw.items():
        flat = to_arrow(np.asarray(values, dtype=np.float32).reshape(-1))
        columns[RAW + name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    columns |= {COLUMN + name: values for name, values in golden.columns.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, use_dictionary=False, write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_golden(data: bytes, features: Sequence[str], heads: Sequence[str]) -> GoldenRows:
    """Parse golden.parquet. Raises BundleError where it is broken or lacks a column."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            batch = file.read().combine_chunks().to_batches()[0]
        rows = pa.record_batch([batch.column(FEATURE + name) for name in features], names=list(features))
        outputs = {head: batch.column(RAW + head).flatten().cast(pa.float32()) for head in heads}
        raw = {
            head: np.asarray(to_numpy(flat), dtype=np.float32).reshape(batch.num_rows, -1)
            for head, flat in outputs.items()
        }
        columns = {
            name.removeprefix(COLUMN): batch.column(name) for name in batch.schema.names if name.startswith(COLUMN)
        }
        if not columns:
            raise ValueError("it has no expected columns")
    except (OSError, pa.ArrowException, LookupError, ValueError, AttributeError, TypeError) as error:
        raise BundleError(f"golden.parquet is broken: {one_line(error)}; make the bundle again") from error
    return GoldenRows(features=rows, raw=raw, columns=columns)


def compare(
    golden: GoldenRows, raw: Mapping[str, NDArray[np.float32]], columns: Mapping[str, pa.Array], *, wider: float = 1.0
) -> float:
    """The largest difference between what was expected and what came out.

    Raises:
        GoldenMismatchError: a value differs by more than `wider` × (1e-5 + 1e-4 × its size), or a label differs where
            the probabilities do not nearly tie; names the column, the row and both values.
    """
    largest = 0.0
    for head, expected in golden.raw.items():
        largest = max(largest, _numbers(f"raw output {head!r}", expected, raw[head], wider))
    for name, wanted in golden.columns.items():
        got = columns.get(name)
        if got is None:
            raise GoldenMismatchError(f"golden rows have a column {name!r} that this bundle does not make")
        if not wanted.type.equals(got.type):
            raise GoldenMismatchError(f"golden column {name!r} is {wanted.type}, and the bundle makes {got.type}")
        if pa.types.is_floating(wanted.type) or pa.types.is_fixed_size_list(wanted.type):
            largest = max(largest, _numbers(f"column {name!r}", _matrix(wanted), _matrix(got), wider))
        elif not wanted.equals(got):
            _labels(name, wanted, got, golden.raw, wider)
    return largest


def _matrix(values: pa.Array) -> NDArray[np.float64]:
    flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    known = flat.fill_null(float("nan")) if flat.null_count else flat
    return np.asarray(to_numpy(known), dtype=np.float64).reshape(len(values), -1)


def _numbers(what: str, expected: NDArray[np.floating], got: NDArray[np.floating], wider: float) -> float:
    if expected.shape != got.shape:
        raise GoldenMismatchError(f"golden rows: {what} is {got.shape}, and {expected.shape} was expected")
    equal = (expected == got) | (np.isnan(expected) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        apart = np.where(equal, 0.0, np.abs(expected.astype(np.float64) - got.astype(np.float64)))
        apart = np.nan_to_num(apart, nan=np.inf)
        size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
        beyond = apart > wider * (ABSOLUTE + RELATIVE * size)
    if beyond.any():
        row, place = np.unravel_index(int(np.argmax(np.where(beyond, apart, -1.0))), apart.shape)
        raise GoldenMismatchError(
            f"golden rows do not come out: {what} differs by {apart[row, place]:.3g} at row {row}:"
            f" expected {expected[row, place]:.6g}, got {got[row, place]:.6g}; the model, the scaler or the"
            " order of the features is not what the bundle was made with"
        )
    return float(apart.max(initial=0.0))


def _labels(name: str, wanted: pa.Array, got: pa.Array, raw: Mapping[str, NDArray[np.float32]], wider: float) -> None:
    """Labels may differ only in rows where the two largest raw outputs nearly tie."""
    wrong = [row for row in range(len(wanted)) if wanted[row].as_py() != got[row].as_py()]
    outputs = next(iter(raw.values()))
    for row in wrong:
        top = np.sort(outputs[row].astype(np.float64))[::-1]
        ties = len(top) > 1 and top[0] - top[1] <= wider * (ABSOLUTE + RELATIVE * abs(top[0]))
        if not ties:
            raise GoldenMismatchError(
                f"golden rows do not come out: column {name!r} at row {row}: expected {wanted[row].as_py()!r},"
                f" got {got[row].as_py()!r} ({len(wrong)} of {len(wanted)} rows); the labels, the model or the"
                " scaler are not what the bundle was made with"
            )

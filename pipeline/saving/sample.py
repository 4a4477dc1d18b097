"""The user's rows: `sample=` → raw feature rows, `expected=` → columns. Independent of models."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead
from ...schemas.inputs import AnyInput, Feature
from ...schemas.steps import AnyStep
from ..arrow_types import is_bytes, is_list
from ..bundle.columns import output_fields
from ..bundle.golden import MOST_ROWS
from ..errors import BundleError, ColumnError, counted, one_line, shape_text
from ..features.kinds import kind_of
from ..features.program import origins
from ..features.tensors import scale_batch
from ..features.text_encoder import TextEncoder
from ..frames import arrow_table, is_arrow, is_pandas, pandas_columns, without_views
from ..inputs.cells.numbers import EXACT
from ..inputs.check import check_batch
from ..inputs.columns import check_columns
from ..nested import in_one_batch, takeable, with_types
from ..options import ColumnOptions
from ..storage.objects import read_objects
from ..storage.ranges import read_whole
from ..tasks.tasks import task_of
from .notes import say

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """`batch`: the feature columns as they would be read from a file. `frame`: the same columns for the user's
    transformers, with numbers as float64. `indices`: the rows' indices among the `num_given` original rows. `raw`: the
    columns that expressions read, and `made` the columns of `batch` that they compute."""

    batch: pa.RecordBatch
    frame: "pd.DataFrame"
    indices: np.ndarray
    num_given: int
    raw: pa.RecordBatch | None = None
    made: tuple[str, ...] = ()

    @property
    def file_batch(self) -> pa.RecordBatch:
        """The rows as they would be read from a file: with the raw columns in place of what expressions compute."""
        if self.raw is None:
            return self.batch
        plain = [name for name in self.batch.schema.names if name not in self.made]
        columns = [*(self.batch.column(name) for name in plain), *self.raw.columns]
        return pa.record_batch(columns, names=[*plain, *self.raw.schema.names])

    def with_raw(self, raw: pa.RecordBatch, made: tuple[str, ...]) -> "Sample":
        """A sample whose columns `made` are computed from those in `raw`, of the same rows."""
        return replace(self, raw=raw, made=made)

    def only(self, kept: np.ndarray) -> "Sample":
        """A sample with only some rows, by their indices in `batch`."""
        if len(kept) == self.batch.num_rows:
            return self
        frame = self.frame.iloc[kept].reset_index(drop=True)
        rows = pa.array(kept)
        raw = None if self.raw is None else self.raw.take(rows)
        return replace(self, batch=self.batch.take(rows), frame=frame, indices=self.indices[kept], raw=raw)

    def with_batch(self, batch: pa.RecordBatch) -> "Sample":
        """A sample with the same rows and another `batch`."""
        return replace(self, batch=batch)


def table_of(given: Any, names: Sequence[str], what: str = "the sample") -> pa.Table:
    """At least the columns of a sample with these names, if it has them.

    Args:
        what: what it is called in a message.

    Raises:
        BundleError: an array with the wrong shape.
        ColumnError: a column cannot be converted to Arrow.
    """
    try:
        return _table(given, names, what)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError, RuntimeError) as error:
        raise ColumnError(f"{what}'s features are neither plain numbers nor text: {one_line(error)}") from error


def read_sample(given: Any, names: Sequence[str], frame: Any = None) -> Sample:
    """The feature columns of a sample, with all rows.

    Args:
        frame: the user's own frame of the same columns, if `given` was made from it.

    Raises:
        BundleError: an array with the wrong shape.
        ColumnError: a feature is missing, appears twice, or is neither numbers nor text.
    """
    table = table_of(given, names)
    duplicated = [name for name in names if table.schema.names.count(name) > 1]
    missing = [name for name in names if name not in table.schema.names]
    if duplicated or missing:
        problem = f"more than one column {duplicated[0]!r}" if duplicated else f"no column {missing[0]!r}"
        raise ColumnError(f"the sample has {problem}, which is among the features")
    table = table.select(list(names)).replace_schema_metadata(None)
    if not table.num_rows:
        raise BundleError("the sample has no rows")
    batch = with_types(in_one_batch(table), takeable)  # Arrow cannot take from views
    check_columns(batch.schema, features_of(batch.schema), text=(), source="the sample")
    source = given if frame is None else frame
    return Sample(batch=batch, frame=_frame(source, batch), indices=np.arange(batch.num_rows), num_given=batch.num_rows)


def features_of(
    schema: pa.Schema, keep: Collection[str] = (), images: Collection[str] = (), integers: Collection[str] = ()
) -> list[Feature]:
    """The features of columns with these types.

    Args:
        keep: columns whose missing values are allowed.
        images: text columns that are image paths.
        integers: columns of numbers that are exact integers.
    """

    def dtype(field: pa.Field) -> Any:
        found = _dtype(field.type)
        if field.name in images and found == "text":
            return "image"
        return ("integers" if found == "numbers" else "integer") if field.name in integers else found

    return [
        Feature(name=field.name, dtype=dtype(field), nulls="keep" if field.name in keep else "reject")
        for field in schema
    ]


def large_integers(batch: pa.RecordBatch) -> set[str]:
    """The columns of integers with a value that float64 cannot hold exactly."""
    names = [name for name in batch.schema.names if _dtype(batch.schema.field(name).type) == "int64"]
    return {name for name in names if _are_large(batch.column(name))}


def _are_large(column: pa.Array) -> bool:
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    least, most = pc.min_max(column).values()
    return any(end.is_valid and abs(end.as_py()) > EXACT for end in (least, most))


def golden_rows(sample: Sample, features: Sequence[Feature]) -> Sample:
    """Up to 256 rows without missing values, evenly spaced over the sample.

    Raises:
        BundleError: there are none.
    """
    checked = check_batch(sample.batch, features)
    good = np.arange(sample.batch.num_rows) if checked.kept is None else checked.kept
    if len(good) < sample.batch.num_rows:
        reject = min(checked.rejects, key=lambda reject: int(reject.positions[0]))
        first = f"row {sample.indices[reject.positions[0]]}: {reject.column!r} {reject.reasons[0]}"
        if not len(good):
            raise BundleError(
                f"no row of the sample has a value in every feature (rows: {sample.num_given:,}); {first}"
            )
        warn_if_few_left(len(good), sample.batch.num_rows, first)
    return sample.only(good[evenly_spaced(len(good), MOST_ROWS)])


def warn_if_few_left(kept: int, rows: int, first: str) -> None:
    """Log a warning if more than half of the rows are left out of the golden rows.

    Args:
        first: the first row that is left out, and why.
    """
    if 2 * kept < rows:
        say(f"{rows - kept:,} of {counted(rows, 'row')} of the sample cannot be scored and are left out; {first}")


def evenly_spaced(rows: int, most: int) -> np.ndarray:
    """At most this many indices, evenly spaced over all rows."""
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).round().astype(int))


def expected_columns(expected: Any, manifest: BundleManifest, sample: Sample) -> dict[str, pa.Array]:
    """`expected=` as decoded columns, for the selected rows of the sample.

    Raises:
        BundleError: it has another number of rows than the sample, or does not match the task.
    """
    fields = {field.name: field.type for field in output_fields(manifest, ColumnOptions())}
    try:
        given = _given_columns(expected, manifest.heads, list(fields))
        lengths = {len(values) for values in given.values()}
        if lengths != {sample.num_given}:
            raise BundleError(f"expected has {counted(min(lengths), 'row')}, but the sample has {sample.num_given:,}")
        return {
            name: pc.take(
                pa.array(values) if isinstance(values, np.ndarray) else values, pa.array(sample.indices)
            ).cast(fields[name])
            for name, values in given.items()
        }
    except (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BundleError(f"expected does not match the task: {one_line(error)}") from error


def _table(given: Any, names: Sequence[str], what: str) -> pa.Table:
    if is_pandas(given):
        return without_views(pa.Table.from_pandas(pandas_columns(given, names), preserve_index=False))
    if is_arrow(given):
        return arrow_table(given)
    if isinstance(given, Mapping):
        return pa.table({name: pa.array(given[name]) for name in names if name in given})
    array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise BundleError(
            f"{what} is an array of shape {shape_text(array.shape)} for {counted(len(names), 'feature')}; pass raw"
            " rows as [rows, features], or a table with the features by name"
        )
    columns = {name: np.ascontiguousarray(array[:, index]) for index, name in enumerate(names)}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _frame(given: Any, batch: pa.RecordBatch) -> "pd.DataFrame":
    """The features as a frame, from the user's own frame if there is one, to keep its missing values unchanged."""
    import pandas as pd  # heavy, and only needed for saving

    names = batch.schema.names
    source = pandas_columns(given, names) if is_pandas(given) else batch.to_pandas()
    large = large_integers(batch)
    columns: dict[str, pd.Series] = {}
    for name in names:
        dtype = _dtype(batch.schema.field(name).type)
        if name in large:
            whole = pd.Series(batch.column(name).to_pylist(), dtype=object)
            own = source[name].to_numpy(dtype=object) if source[name].dtype == object else np.nan
            columns[name] = whole.where(whole.notna(), own)
        elif dtype == "text" or (dtype == "int64" and source[name].dtype == object):
            # as objects: pandas would convert None to NaN, which is another category for an encoder
            columns[name] = pd.Series(source[name].to_numpy(dtype=object), dtype=object)
        elif dtype not in ("image", "numbers", "words"):
            columns[name] = pd.Series(source[name].to_numpy(dtype=np.float64, na_value=np.nan))
    return pd.DataFrame(columns, index=range(batch.num_rows))


def _given_columns(expected: Any, heads: Sequence[AnyHead], names: list[str]) -> dict[str, Any]:
    if is_pandas(expected) or (is_arrow(expected) and hasattr(expected, "columns")):
        table = pa.Table.from_pandas(expected) if is_pandas(expected) else arrow_table(expected)
        given = {name: table.column(name).combine_chunks() for name in names if name in table.schema.names}
        if not given:
            raise BundleError(f"expected has none of the columns {', '.join(names)}")
        return given
    if len(heads) > 1:
        raise BundleError(
            f"for a model with several heads, expected must be a table with some of the columns {', '.join(names)}"
        )
    head = heads[0]
    values = expected.detach().cpu().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return task_of(head).expected_columns(values, names)


def _dtype(
    arrow_type: pa.DataType,
) -> Literal["float64", "float32", "int64", "bool", "text", "image", "numbers", "words"]:
    if is_list(arrow_type):
        return "words" if _dtype(arrow_type.value_type) == "text" else "numbers"
    if is_bytes(arrow_type):
        return "image"
    value = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    if pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value):
        return "text"
    if pa.types.is_boolean(value):
        return "bool"
    if pa.types.is_integer(value):
        return "int64"
    return "float32" if value in (pa.float32(), pa.float16()) else "float64"


def with_bytes(sample: Sample, entries: Sequence[AnyInput]) -> Sample:
    """The sample with the bytes of images instead of their paths, so that its rows can be replayed anywhere.

    Raises:
        BundleError: a file cannot be read.
    """
    batch = sample.batch
    for entry in entries:
        if not kind_of(entry).opens_files or pa.types.is_large_binary(batch.column(entry.columns[0]).type):
            continue
        column = batch.column(entry.columns[0])
        try:
            data = [value if isinstance(value, bytes) else read_whole(value) for value in column.to_pylist()]
        except OSError as error:
            raise BundleError(f"the sample's image {error.filename!r} cannot be read: {error.strerror}") from error
        at = batch.schema.get_field_index(entry.columns[0])
        batch = batch.set_column(at, entry.columns[0], pa.array(data, pa.large_binary()))
    return sample.with_batch(batch)


def scorable_rows(
    sample: Sample,
    features: Sequence[Feature],
    steps: Sequence[AnyStep],
    entries: Sequence[AnyInput],
    encoders: Sequence[TextEncoder] = (),
) -> Sample:
    """The rows of a sample whose images can be decoded, whose text can be encoded, and whose lists are valid.

    Args:
        steps: those that convert words to tokens.
        encoders: those of the inputs of text.

    Raises:
        BundleError: there are none; gives the reason for the first row.
    """
    checked = check_batch(sample.batch, features)
    kept = np.arange(sample.batch.num_rows) if checked.kept is None else checked.kept
    rejected = [(int(reject.positions[0]), reject.column, reject.reasons[0]) for reject in checked.rejects]
    good = np.ones(len(kept), dtype=np.bool_)
    for entry in entries:
        kind = kind_of(entry)
        if kind.opens_files:
            name = entry.columns[0]
            _, broken = kind.open(checked.columns[name], folder="", fetch=read_objects)
            good[list(broken)] = False
            rejected += [(int(kept[row]), name, reason) for row, reason in broken.items()]
    for encoder in encoders:
        unfit = encoder.encode(checked.columns).unfit
        good[list(unfit)] = False
        rejected += [(int(kept[row]), encoder.entry.columns[0], reason) for row, reason in unfit.items()]
    sequences = [entry for entry in entries if entry.kind == "sequence"]
    if sequences:
        scaled = scale_batch(checked, steps=steps, inputs=sequences, limits={}, sources=origins(features, steps))
        fits = kept if scaled.kept is None else scaled.kept
        good &= np.isin(kept, fits)
        rejected += [(int(reject.positions[0]), reject.column, reject.reasons[0]) for reject in scaled.rejects]
    if rejected:
        row, column, reason = min(rejected)
        first = f"row {sample.indices[row]}: {column!r} {reason}"
        if not good.any():
            raise BundleError(f"none of the sample's rows can be scored; {first}")
        warn_if_few_left(int(good.sum()), sample.batch.num_rows, first)
    return sample.only(kept[good])

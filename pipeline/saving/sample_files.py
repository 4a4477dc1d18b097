"""Reads rows of a sample or of expected predictions from Parquet or CSV."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BundleError, PartitionError, one_line
from ..inputs.csv_rows import read_text
from ..parquet.file import ParquetSource
from ..storage.plain_files import require_plain


def read_rows(path: Path, text: Collection[str] = ()) -> pa.Table:
    """Sample or expected rows. Parquet is read unchanged. In a CSV, columns that parse as numbers become numbers,
    except the `text` columns, and only empty cells are missing, as in scoring."""
    try:
        require_plain(path)
        if path.suffix.lower() in (".parquet", ".pq", ".parq"):
            with ParquetSource(path, name=str(path)) as source:
                return source.read()
        table = read_text(str(path))
        columns = [_typed(table.column(name).combine_chunks(), text=name in text) for name in table.schema.names]
        return pa.table(dict(zip(table.schema.names, columns, strict=True)))
    except PartitionError as error:
        raise BundleError(one_line(error)) from error
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from error


def _typed(cells: pa.Array, *, text: bool) -> pa.Array:
    """CSV cells as booleans, integers or floats if all of them parse as such, otherwise as text."""
    cells = pc.if_else(pc.equal(cells, ""), None, cells)
    if text:
        return cells
    known = cells.drop_null()
    if not len(known):
        return pa.nulls(len(cells))
    if pc.all(pc.is_in(pc.utf8_lower(known), pa.array(["true", "false"]))).as_py():
        return cells.cast(pa.bool_())
    for arrow_type in (pa.int64(), pa.float64()):
        try:
            return cells.cast(arrow_type)
        except pa.ArrowInvalid:
            continue
    return cells


def with_paths_from(table: pa.Table, columns: Collection[str], folder: Path) -> pa.Table:
    """The table with image paths relative to `folder`, as in scoring, where they are relative to the file's folder."""
    for name in columns:
        at = table.schema.get_field_index(name)
        if at < 0 or not pa.types.is_string(table.schema.field(at).type):
            continue
        cells = table.column(at).to_pylist()
        paths = [path if path is None or "://" in path else str(folder / path) for path in cells]
        table = table.set_column(at, name, pa.array(paths, pa.string()))
    return table

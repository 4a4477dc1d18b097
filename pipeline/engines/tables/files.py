"""The parts of an output as the files of a table. Independent of table formats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ....schemas.run import Receipt
from ...errors import ColumnError, DataError
from ...inputs.hive import hive_keys
from ...nested import without_dictionaries
from ...outputs.folder_store import FolderStore
from ...outputs.part_records import PartRecord
from ...outputs.receipt import read_receipt

#: Characters of paths that tables have as escapes, which not every reader undoes.
CONTROLS = frozenset(map(chr, (*range(32), 127)))


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFile:
    """A part. `name`: its path below the output; `partition`: the values of the Hive keys in it."""

    name: str
    num_bytes: int
    num_rows: int
    mtime_ms: int
    partition: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFiles:
    """Parts that are to be committed together. `schema`: the columns of each, without dictionaries; `keys`: the Hive
    keys of their folders, which become partition columns of type string."""

    schema: pa.Schema
    keys: tuple[str, ...]
    files: tuple[TableFile, ...]

    @property
    def num_rows(self) -> int:
        """The rows of all files."""
        return sum(file.num_rows for file in self.files)

    def table_schema(self) -> pa.Schema:
        """The columns of the table: those of the files, then the partition columns. All are nullable."""
        fields = [pa.field(field.name, field.type) for field in self.schema]
        return pa.schema([*fields, *(pa.field(key, pa.string()) for key in self.keys)])


def read_files(store: FolderStore, parts: Sequence[PartRecord]) -> TableFiles:
    """Read the footers of some parts.

    Raises:
        ColumnError: the parts differ in their columns or Hive keys, or a key is also a column.
        DataError: a part is missing, or not the one that was recorded.
    """
    first = parts[0]
    schema, files = _schema(store, first), list[TableFile]()
    keys = tuple(key for key, _ in hive_keys(first.target))
    for part in parts:
        _refuse_other_part(store, part)
        found, hive = _schema(store, part), tuple(hive_keys(part.target))
        if (name := _first_difference(schema, found)) is not None:
            raise ColumnError(
                f"column {name!r} is {_type_of(schema, name)} in {first.target} and {_type_of(found, name)} in"
                f" {part.target}, but a table has one type for each column; cast it in the input, or leave it out with"
                " --keys"
            )
        if tuple(key for key, _ in hive) != keys:
            raise ColumnError(
                f"{first.target} and {part.target} are in folders with different keys, but a table has the same"
                " partition columns everywhere; score them to different outputs"
            )
        status = store.path(part.target).stat()
        files.append(
            TableFile(
                name=part.target,
                num_bytes=status.st_size,
                num_rows=part.rows_scored,
                mtime_ms=status.st_mtime_ns // 10**6,
                partition=tuple(value for _, value in hive),
            )
        )
    if taken := [key for key in keys if key in schema.names or keys.count(key) > 1]:
        raise ColumnError(
            f"{first.target}: the folder {taken[0]!r}= is also a column, and a table would have it twice; leave the"
            " column out with --keys"
        )
    return TableFiles(schema=schema, keys=keys, files=tuple(files))


def is_supported(arrow_type: pa.DataType) -> bool:
    """Whether both table formats have a type; Iceberg has one more."""
    if pa.types.is_timestamp(arrow_type):
        return arrow_type.unit == "us" and arrow_type.tz in (None, "UTC")
    return (
        pa.types.is_boolean(arrow_type)
        or pa.types.is_signed_integer(arrow_type)
        or arrow_type in (pa.float32(), pa.float64(), pa.date32())
        or arrow_type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
        or pa.types.is_decimal128(arrow_type)
    )


def refuse_types(files: TableFiles, is_supported: Callable[[pa.DataType], bool], table_format: str) -> None:
    """Raise ColumnError for a column whose type, or a type nested in it, a table format does not have.

    Args:
        is_supported: for types that are not nested.
        table_format: its name.
    """
    for field in files.schema:
        if (unsupported := _unsupported(field.type, is_supported)) is not None:
            within = "" if unsupported.equals(field.type) else f", with {unsupported} in it"
            raise ColumnError(
                f"column {field.name!r} is {field.type}{within}, which {table_format} does not have; cast it in the"
                " input, or leave it out with --keys",
                column=field.name,
            )


def _unsupported(arrow_type: pa.DataType, is_supported: Callable[[pa.DataType], bool]) -> pa.DataType | None:
    is_nested = pa.types.is_list(arrow_type) or pa.types.is_struct(arrow_type) or pa.types.is_map(arrow_type)
    if not is_nested or isinstance(arrow_type, pa.BaseExtensionType):
        return None if is_supported(arrow_type) else arrow_type
    inner = [arrow_type.field(index).type for index in range(arrow_type.num_fields)]
    return next((found for one in inner if (found := _unsupported(one, is_supported)) is not None), None)


def _schema(store: FolderStore, part: PartRecord) -> pa.Schema:
    """The columns of a part, without dictionaries and metadata."""
    try:
        read = pq.read_schema(store.path(part.target))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{part.target} is missing or damaged; run the same scoreline score again") from error
    return pa.schema([pa.field(field.name, without_dictionaries(field.type)) for field in read])


def _refuse_other_part(store: FolderStore, part: PartRecord) -> None:
    """Raise DataError unless a part is the one that the run recorded."""
    receipt = read_receipt(store.path(part.target))
    if not isinstance(receipt, Receipt) or receipt.checksum != part.receipt:
        raise DataError(f"{part.target} is not the part that the run recorded; see scoreline verify")


def _first_difference(one: pa.Schema, other: pa.Schema) -> str | None:
    """The first column that does not have the same type in both; their order may differ."""
    names: list[str] = [*one.names, *other.names]
    return next((name for name in names if _type_of(one, name) != _type_of(other, name)), None)


def _type_of(schema: pa.Schema, name: str) -> str:
    return str(schema.field(name).type) if name in schema.names else "missing"

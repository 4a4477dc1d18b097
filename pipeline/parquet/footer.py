"""What a footer says of row groups and column chunks, held against itself before anything is read by it.

Arrow's `RowGroupMetaData.column` is never asked: where a column is encrypted, or a row group lists more columns than
the schema, it ends the process (pyarrow 26). So the footer is read here as well, by `thrift`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from ..errors import PartitionError
from .thrift import Wanted, read_struct

#: A page counts its values in 31 bits, and no writer makes row groups of more rows.
MOST_GROUP_ROWS = 2**31 - 1
#: A column of a row group that unpacks to more than this, and to so many times its size, is no table but a bomb.
MOST_UNPACKED_BYTES, MOST_TIMES = 256 << 20, 200
TAIL_BYTES = 8

_META = {4: None, 5: None, 6: None, 7: None, 9: None, 11: None}
#: FileMetaData.row_groups → columns (meta_data, crypto_metadata), num_rows.
_FOOTER: Wanted = {4: {1: {3: _META, 8: None}, 3: None}}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column of a row group. `start`: where its first page begins; `packed`, `unpacked`: its bytes."""

    codec: int
    values: int
    packed: int
    unpacked: int
    start: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: its rows, and its column chunks in the order of the schema's leaves."""

    num_rows: int
    chunks: Sequence[Chunk]


def check_counts(metadata: pq.FileMetaData, name: str) -> None:
    """Refuse rows that cannot be: fewer than none, more than a row group holds, or a total that is not the sum.

    Raises:
        PartitionError: names the file, and what it says.
    """
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    for number, rows in enumerate(groups):
        if not 0 <= rows <= MOST_GROUP_ROWS:
            raise lies(name, f"row group {number} says that it has {rows:,} rows")
    if metadata.num_rows != sum(groups):
        raise lies(name, f"it says that it has {metadata.num_rows:,} rows, and its row groups {sum(groups):,}")


def read_groups(file: BinaryIO, metadata: pq.FileMetaData, name: str) -> list[Group]:
    """The row groups, from the bytes of the footer.

    Raises:
        PartitionError: it is not the footer that Arrow has read, or a row group has not the columns of the schema.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - TAIL_BYTES))
    length = int.from_bytes(file.read(4), "little")
    if not 0 < length <= end - TAIL_BYTES:
        raise lies(name, f"it has a length of {length:,} bytes, and the file {end:,}")
    file.seek(end - TAIL_BYTES - length)
    try:
        said = read_struct(file.read(length), 0, _FOOTER)[0].get(4, [])
        groups = [_group(fields) for fields in said]
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise lies(name, f"it cannot be read: {error}") from error
    for number, group in enumerate(groups):
        if len(group.chunks) != metadata.num_columns:
            raise lies(
                name, f"row group {number} has {len(group.chunks)} columns, and the schema {metadata.num_columns}"
            )
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if [group.num_rows for group in groups] != rows:
        raise lies(name, "its row groups can be read in two ways")
    return groups


def _group(fields: dict[int, Any]) -> Group:
    columns = fields.get(1, [])
    assert isinstance(columns, list), "read as a list of structs"
    return Group(fields.get(3, 0), [_chunk(column) for column in columns])


def _chunk(fields: dict[int, Any]) -> Chunk:
    encrypted, meta = bool(fields.get(8)), fields.get(3)
    if not isinstance(meta, dict):
        if not encrypted:
            raise ValueError("a column chunk without metadata")
        meta = {}
    data, dictionary = meta.get(9, 0), meta.get(11, 0)
    start = dictionary if dictionary > 0 and (dictionary < data or data <= 0) else data  # 0: there are no data pages
    return Chunk(meta.get(4, 0), meta.get(5, 0), meta.get(7, 0), meta.get(6, 0), start, encrypted)


def check_chunks(
    groups: Sequence[Group], leaves: Sequence[int], paths: Sequence[str], flat: Collection[int], name: str
) -> None:
    """Refuse what is to be read where it is encrypted, would fill the memory, or holds other rows than its row group.

    Args:
        leaves: the leaves of the schema that are to be read; `paths`: what all of them are called.
        flat: those of the leaves that have one value in each row.

    Raises:
        PartitionError: names the file, the column and the row group.
    """
    counted = [leaf for leaf in leaves if leaf in flat] or sorted(flat)
    for number, group in enumerate(groups):
        for leaf in leaves:
            chunk = group.chunks[leaf]
            if chunk.encrypted:
                raise PartitionError(
                    f"{name}: cannot be read as Parquet: column {paths[leaf]!r} is encrypted; decrypt it where the file"
                    " is written, or leave it out with --keys",
                    partition=name,
                )
            if chunk.unpacked > MOST_UNPACKED_BYTES and chunk.unpacked > MOST_TIMES * max(1, chunk.packed):
                raise PartitionError(
                    f"{name}: column {paths[leaf]!r} of row group {number} says that {chunk.packed:,} bytes unpack to"
                    f" {chunk.unpacked:,}; a file like that would fill the memory, so it is not read",
                    partition=name,
                )
        for leaf in counted:
            values = group.chunks[leaf].values
            if values != group.num_rows and not group.chunks[leaf].encrypted:
                raise lies(
                    name, f"row group {number} says that it has {group.num_rows:,} rows, and its column"
                    f" {paths[leaf]!r} {values:,}"
                )  # fmt: skip


def lies(name: str, how: str) -> PartitionError:
    """A footer that cannot be believed."""
    return PartitionError(
        f"{name}: cannot be read as Parquet: its footer is inconsistent: {how}; write the file again", partition=name
    )

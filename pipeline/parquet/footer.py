"""The row groups and column chunks of a footer, checked for consistency before any data is read.

Arrow's `RowGroupMetaData.column` is never called: if a column is encrypted, or a row group has more columns than the
schema, it aborts the process (pyarrow 26). Therefore the footer is also parsed here, by its bytes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from ..errors import PartitionError, counted
from .shapes import FooterShapes
from .thrift import Wanted

#: The number of values of a page has 31 bits, and no writer makes row groups with more rows.
MOST_GROUP_ROWS = 2**31 - 1
#: A column chunk that unpacks to more than these bytes and more than this many times its size is refused as a
#: decompression bomb.
MOST_UNPACKED_BYTES, MOST_TIMES = 256 << 20, 200
TAIL_BYTES = 8

_META = {4: None, 5: None, 6: None, 7: None, 9: None, 11: None}
#: FileMetaData.row_groups → columns (meta_data, crypto_metadata), num_rows.
_FOOTER: Wanted = {4: {1: {3: _META, 8: None}, 3: None}}
_SHAPES = FooterShapes()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column chunk. `start`: the offset of its first page; `packed`, `unpacked`: its compressed and uncompressed
    bytes."""

    codec: int
    values: int
    packed: int
    unpacked: int
    start: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: its number of rows, and its column chunks in the order of the schema's leaves."""

    num_rows: int
    chunks: Sequence[Chunk]


def check_counts(metadata: pq.FileMetaData, name: str) -> None:
    """Check that the numbers of rows are possible, and that the total is the sum of the row groups.

    Raises:
        PartitionError: names the file and the numbers.
    """
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    for number, rows in enumerate(groups):
        if not 0 <= rows <= MOST_GROUP_ROWS:
            raise inconsistent_footer(name, f"row group {number} declares {counted(rows, 'row')}")
    if metadata.num_rows != sum(groups):
        raise inconsistent_footer(
            name, f"it declares {counted(metadata.num_rows, 'row')}, but its row groups have {sum(groups):,}"
        )


def read_groups(file: BinaryIO, metadata: pq.FileMetaData, name: str) -> list[Group]:
    """The row groups, from the bytes of the footer.

    Raises:
        PartitionError: it differs from the footer that Arrow has read, or a row group lacks columns of the schema.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - TAIL_BYTES))
    length = int.from_bytes(file.read(4), "little")
    if not 0 < length <= end - TAIL_BYTES:
        raise inconsistent_footer(name, f"its length is {length:,} bytes, but the file has {end:,}")
    file.seek(end - TAIL_BYTES - length)
    try:
        found = _SHAPES.read(file.read(length), _FOOTER).get(4, [])
        groups = [_group(fields) for fields in found]
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise inconsistent_footer(name, f"it cannot be read: {error}") from error
    for number, group in enumerate(groups):
        if len(group.chunks) != metadata.num_columns:
            raise inconsistent_footer(
                name, f"row group {number} has {len(group.chunks)} columns, but the schema has {metadata.num_columns}"
            )
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if [group.num_rows for group in groups] != rows:
        raise inconsistent_footer(name, "its row groups are ambiguous")
    return groups


def _group(fields: dict[int, Any]) -> Group:
    columns = fields.get(1, [])
    if not isinstance(columns, list):
        raise TypeError("a row group has no list of columns")
    return Group(fields.get(3, 0), [_chunk(column) for column in columns])


def _chunk(fields: dict[int, Any]) -> Chunk:
    encrypted, meta = bool(fields.get(8)), fields.get(3)
    if not isinstance(meta, dict):
        if not encrypted:
            raise ValueError("a column chunk without metadata")
        meta = {}
    data, dictionary = meta.get(9, 0), meta.get(11, 0)
    start = dictionary if dictionary > 0 and (dictionary < data or data <= 0) else data  # 0: no data pages
    return Chunk(meta.get(4, 0), meta.get(5, 0), meta.get(7, 0), meta.get(6, 0), start, encrypted)


def check_chunks(
    groups: Sequence[Group], leaves: Sequence[int], paths: Sequence[str], flat: Collection[int], name: str
) -> None:
    """Refuse column chunks that are encrypted, would fill the memory, or have another number of rows than their row
    group.

    Args:
        leaves: the leaves of the schema to be read.
        paths: the paths of all leaves.
        flat: the leaves that have one value per row.

    Raises:
        PartitionError: names the file, the column and the row group.
    """
    flat_leaves = [leaf for leaf in leaves if leaf in flat] or sorted(flat)
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
                    f"{name}: column {paths[leaf]!r} of row group {number} declares that {chunk.packed:,} bytes unpack"
                    f" to {chunk.unpacked:,}, which would fill the memory; write the file again",
                    partition=name,
                )
        for leaf in flat_leaves:
            values = group.chunks[leaf].values
            if values != group.num_rows and not group.chunks[leaf].encrypted:
                raise inconsistent_footer(
                    name, f"row group {number} declares {counted(group.num_rows, 'row')}, but its column"
                    f" {paths[leaf]!r} has {values:,}"
                )  # fmt: skip


def inconsistent_footer(name: str, reason: str) -> PartitionError:
    """The error for an inconsistent footer."""
    return PartitionError(
        f"{name}: cannot be read as Parquet: its footer is inconsistent: {reason}; write the file again", partition=name
    )

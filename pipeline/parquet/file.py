"""One Parquet file, open for reading. All commands open Parquet files here.

`pre_buffer=False, buffer_size=256 KiB` reads a large row group through small windows: the defaults would hold all of it
in memory. Memory maps are not used: a truncated file would cause a SIGBUS.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import PartitionError, changed_error, counted, one_line
from ..storage.plain_files import require_plain
from ..storage.uris import ChangedError, is_remote
from .entries import num_entries
from .footer import Group, check_chunks, check_counts, inconsistent_footer, read_groups
from .int96 import NANOSECONDS, aligned, fits, joined
from .leaves import Leaf, LeafTable
from .sizes import RowsAtOnce

if TYPE_CHECKING:
    from .staged import StagedObject

#: What pyarrow raises for broken files.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError)
#: Of each column that is read: 1 MiB is not faster, and takes 46 MB more with two readers of 31 columns (measured).
WINDOW_BYTES = 1 << 18
DEFAULT_BLOCK_ROWS = 1 << 16
#: Row groups that are read together, their number of rows, and the rows per batch.
Run: TypeAlias = tuple[list[int], int, int]


class ParquetSource:
    """A Parquet file as a context manager.

    Args:
        path: the file, or the URI of an object, whose parts are staged in a local file as they are needed.
        name: the name of the file in errors.
        etag: of the object as it was found; ignored for files.
        threads: decode several columns at once.

    Raises:
        PartitionError: from opening and from every method: the file cannot be read, or is inconsistent.
    """

    def __init__(self, path: str | Path, *, name: str, threads: bool = True, etag: str | None = None) -> None:
        self.name = name
        self._etag = etag
        self._staged: StagedObject | None = None
        self._path = str(path)
        self._files: dict[str | None, pq.ParquetFile] = {}
        self._source: pa.NativeFile | None = None
        self._groups: list[Group] | None = None
        self._threads = threads

    def __enter__(self) -> Self:
        try:
            if not is_remote(self._path):
                require_plain(self._path)
            check_counts(self._file().metadata, self.name)
        except BROKEN as error:
            self.close()
            raise self._unreadable(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every handle."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._staged is not None:
            self._staged.close()
            self._staged = None

    @property
    def num_rows(self) -> int:
        """The number of rows, according to the footer."""
        return int(self._file().metadata.num_rows)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._file().schema_arrow.names)

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The key-value metadata of the footer."""
        return dict(self._file().metadata.metadata or {})

    def group_starts(self) -> list[int]:
        """The first row of every row group, according to the footer."""
        footer = self._file().metadata
        rows = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
        return [0, *accumulate(rows)][: max(1, len(rows))]

    def schema(self, columns: Collection[str] | None = None) -> pa.Schema:
        """The columns and their types. Those of INT96 columns among `columns` (None: all) depend on the values."""
        try:
            found = self._file().schema_arrow.remove_metadata()
            coarse = self._beyond_nanoseconds(columns)
            if not coarse:
                return found
            other = self._file("us").schema_arrow
            return pa.schema([other.field(n) if f.name in coarse else f for n, f in enumerate(found)])
        except BROKEN as error:
            raise self._unreadable(error) from error

    def read_batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        schema: pa.Schema | None = None,
        block_rows: int = DEFAULT_BLOCK_ROWS,
        first_row: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of `columns` (None: all) from `first_row` on, in file order; page checksums are verified. Row groups
        before `first_row` are not read; in the one that contains it, earlier rows are read and dropped.

        Args:
            schema: the types of the columns, as returned by `schema`; read from the file if not given.
            block_rows: a batch has a multiple of this many rows, or fewer if rows are large.
        """
        names = self.names if columns is None else list(columns)
        require_columns(self, names)
        if schema is None and self._table.int96:
            schema = self.schema(names)
        try:
            int96 = () if schema is None else self._table.int96
            coarse = _differing(int96, schema, self._file().schema_arrow) if int96 else ()
            for batch in self._checked(names, coarse, block_rows, first_row):
                yield _validated(batch if columns is None else batch.select(names))
        except BROKEN as error:
            raise self._unreadable(error) from error

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of some columns, as one table."""
        names = self.names if columns is None else list(columns)
        found = self.schema(names)
        schema = found if columns is None else pa.schema([found.field(name) for name in names])
        table = pa.Table.from_batches(self.read_batches(columns), schema=schema)
        return table.replace_schema_metadata(self._file().schema_arrow.metadata)

    def _checked(
        self, names: Sequence[str], coarse: Collection[str], block_rows: int, first_row: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows. Raises PartitionError if their number differs from the footer."""
        leaves = self._table.below(names)
        first, passed = _group_of(self._read_groups(leaves), first_row)
        for groups, rows, batch_rows in self._runs(leaves, block_rows, first):
            left, entries = rows, 0
            for batch in _ended_early(self._streams(groups, batch_rows, leaves, coarse), rows):
                left -= batch.num_rows
                entries += num_entries(batch.column(0)) if not self._table.flat and leaves else 0
                if left < 0:
                    break
                passed, before = max(0, passed - batch.num_rows), passed
                if before < batch.num_rows:
                    yield batch.slice(before)
            if left:
                more = "fewer" if left > 0 else "more"
                where = f"row group {groups[0]}" if len(groups) == 1 else f"row groups {groups[0]} to {groups[-1]}"
                raise inconsistent_footer(self.name, f"{where} has {more} than {counted(rows, 'row')}")
            if not self._table.flat and leaves:  # one row group with only lists: compare the values of the first leaf
                assert self._groups is not None, "row groups are read before rows"
                _compare_entries(self._groups[groups[0]], groups[0], leaves[0], entries, self.name)

    def _streams(
        self, groups: list[int], rows: int, leaves: Sequence[Leaf], coarse: Collection[str]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups. INT96 columns in `coarse`, which do not fit nanoseconds, are read as
        microseconds."""
        fine = [leaf.index for leaf in leaves if self._table.column_of(leaf) not in coarse]
        wide = [leaf.index for leaf in leaves if self._table.column_of(leaf) in coarse]
        if not wide:
            yield from self._file().reader.iter_batches(
                rows, row_groups=groups, column_indices=fine, use_threads=self._threads
            )
            return
        streams = [
            self._file(unit).reader.iter_batches(
                rows, row_groups=groups, column_indices=indices, use_threads=self._threads
            )
            for unit, indices in ((None, fine), ("us", wide), (None, wide), ("s", wide))
            if indices
        ]
        order = list(dict.fromkeys(self._table.column_of(leaf) for leaf in leaves))
        yield from joined(streams, order, coarse, self.name)

    def _runs(self, leaves: Sequence[Leaf], block_rows: int, first: int) -> Iterable[Run]:
        """Runs of row groups that are read together, from the row group `first` on."""
        groups = self._read_groups(leaves)
        counted = [leaf for leaf in leaves if not leaf.nested] or [
            leaf for leaf in self._table.below(self.names) if not leaf.nested
        ]
        sizes = RowsAtOnce(self._handle(), leaves, counted, block_rows=block_rows, name=self.name)
        if self._staged is not None:
            return self._staged_runs(self._staged, groups, sizes, first)
        # Without flat leaves, the number of rows is known only after reading; and Arrow cannot concatenate nested
        # dictionaries.
        alone = not self._table.flat or self._table.hold_inner_dictionaries(leaves, self._file())
        runs: list[Run] = []
        for number, group in enumerate(groups[first:], first):
            rows = sizes.of(number, group)
            if runs and runs[-1][2] == rows and not alone:
                runs[-1] = ([*runs[-1][0], number], runs[-1][1] + group.num_rows, rows)
            else:
                runs.append(([number], group.num_rows, rows))
        return runs

    def _staged_runs(
        self, staged: "StagedObject", groups: Sequence[Group], sizes: RowsAtOnce, first: int
    ) -> Iterator[Run]:
        """Single row groups, each of which is staged when it is asked for, and no longer when the next one is."""
        for number, group in enumerate(groups[first:], first):
            wanted = [[each.chunks[leaf.index] for leaf in sizes.leaves_read(each)] for each in groups[number:][:2]]
            staged.stage(wanted[0], *wanted[1:])
            yield [number], group.num_rows, sizes.of(number, group)

    def _read_groups(self, leaves: Sequence[Leaf]) -> list[Group]:
        if self._groups is None:
            self._groups = read_groups(self._handle(), self._file().metadata, self.name)
        paths = [".".join(path) for path in self._table.paths]
        check_chunks(self._groups, [leaf.index for leaf in leaves], paths, self._table.flat, self.name)
        return self._groups

    def _beyond_nanoseconds(self, columns: Collection[str] | None) -> set[str]:
        """The INT96 columns with values that do not fit nanoseconds. Reads these columns only."""
        names = [name for name in self._table.int96 if columns is None or name in columns]
        found: set[str] = set()
        for name in names:
            leaves = [leaf for leaf in self._table.below([name]) if leaf.index in self._table.int96[name]]
            indices = [leaf.index for leaf in leaves]
            for groups, _, rows in self._runs(leaves, DEFAULT_BLOCK_ROWS, 0):
                streams = [
                    self._file(unit).reader.iter_batches(rows, row_groups=groups, column_indices=indices)
                    for unit in ("s", None)
                ]
                if not all(fits(s.column(0), ns.column(0), NANOSECONDS) for s, ns in aligned(streams)):
                    found.add(name)
                    break
        return found

    @cached_property
    def _table(self) -> LeafTable:
        return LeafTable.of(self._file())

    def _file(self, unit: str | None = None) -> pq.ParquetFile:
        """The file as Arrow reads it, with INT96 in a given unit (None: nanoseconds)."""
        if unit not in self._files:
            handle = self._handle()
            self._files[unit] = pq.ParquetFile(
                handle,
                pre_buffer=False,
                buffer_size=0 if isinstance(handle, pa.BufferReader) else WINDOW_BYTES,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit=unit,
            )
        return self._files[unit]

    def _handle(self) -> pa.NativeFile:
        """The file, opened once: Arrow reads at offsets, so footers and page headers can be read at its position."""
        if self._source is None:
            if is_remote(self._path):
                from .staged import StagedObject  # for objects only

                self._staged = StagedObject(self._path, self._etag)
            self._source = _opened(self._path) if self._staged is None else self._staged.file
        return self._source

    def _unreadable(self, error: BaseException) -> PartitionError:
        if isinstance(error, ChangedError):
            return changed_error(self.name)
        return PartitionError(f"{self.name}: cannot be read as Parquet: {one_line(error)}", partition=self.name)


def _opened(path: str) -> pa.NativeFile:
    """A local file. A small one is read at once: reading each of its columns alone takes longer (measured)."""
    file = pa.OSFile(path)
    if file.size() > WINDOW_BYTES:
        return file
    with file:
        return pa.BufferReader(file.read_buffer())


def _differing(names: Collection[str], schema: pa.Schema, other: pa.Schema) -> set[str]:
    """The columns that have another type in another schema."""
    return {one.name for one in schema if one.name in names and one.type != other.field(one.name).type}


def _group_of(groups: Sequence[Group], row: int) -> tuple[int, int]:
    """The row group that contains a row, and how many of its rows precede it."""
    for number, group in enumerate(groups):
        if row < group.num_rows or not row:
            return number, row
        row -= group.num_rows
    return len(groups), 0


def _compare_entries(group: Group, number: int, leaf: Leaf, entries: int, name: str) -> None:
    """Raise PartitionError if a row group declares another number of values than were read."""
    values = group.chunks[leaf.index].values
    if values != entries:
        raise inconsistent_footer(
            name,
            f"column {leaf.path!r} of row group {number} declares {counted(values, 'value')}, but its rows have"
            f" {entries:,}",
        )


def _ended_early(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches of `rows` rows. The end is read before the last of them is yielded, so that Arrow's buffers, one or
    two megabytes for each column, are freed before these rows are scored."""
    for batch in batches:
        rows -= batch.num_rows
        more = next(batches, None) if rows <= 0 else None
        yield batch
        if more is not None:
            yield more


def require_columns(source: ParquetSource, names: Collection[str]) -> None:
    """Raise PartitionError unless a file has columns of these names."""
    there = set(source.names)
    missing = [name for name in names if name not in there]
    if missing:
        raise PartitionError(f"{source.name}: has no column {missing[0]!r}", partition=source.name)


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Raise ArrowInvalid for text that is not UTF-8: Arrow reads it without an error, but other readers fail on it."""
    for column in batch.columns:
        if not pa.types.is_primitive(column.type):
            column.validate(full=True)
    return batch

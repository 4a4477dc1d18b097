"""True labels from another file, joined by key. Does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import filled, to_numpy
from ..errors import DataError, NoInputError, PartitionError, UsageError, one_line, printable
from ..inputs.csv import Csv
from ..inputs.csv_rows import read_text
from ..inputs.parquet import Parquet
from ..joins import Keys, comparable
from ..parquet.file import ParquetSource
from ..plain import plain
from ..python_values import python_value
from ..storage.plain_files import require_plain
from ..storage.uris import is_remote, parse_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFile:
    """A Parquet or CSV file with labels, or the URI of one. `on`: the key column that joins it with the output."""

    path: str
    on: str

    @property
    def is_csv(self) -> bool:
        """Whether its cells are untyped text."""
        return self.path.lower().endswith(Csv.suffixes)


class LabelTable:
    """Keys and labels of a file, in memory. Rows without a key are never found.

    Raises:
        NoInputError: the file does not exist.
        DataError: the file is broken, or a row of it is invalid.
        UsageError: a column is missing or appears twice.
    """

    def __init__(self, file: LabelFile, labels: Sequence[str]) -> None:
        self._file = file
        names = [*dict.fromkeys([file.on, *labels])]
        path = printable(file.path)
        try:
            _require(file.path)
            table = _read_csv(file.path, names) if file.is_csv else _read_parquet(file.path, names)
            columns = {name: plain(table.column(name)) for name in names}
        except PartitionError as error:
            raise DataError(f"label file {one_line(error)}{self._hint()}") from error
        except OSError as error:
            raise NoInputError(f"label file {path} cannot be read: {error.strerror or one_line(error)}") from error
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"label file {path} cannot be read: {one_line(error)}") from error
        self._keys = Keys(
            column=columns[file.on],
            name=file.on,
            where=file.path,
            arrow_type=table.schema.field(file.on).type,
            untyped=file.is_csv,
        )
        self._labels = [columns[name] for name in labels]
        self._unique_as: set[pa.DataType] = set()

    def _hint(self) -> str:
        """What to do about text that was read as Parquet."""
        is_named = self._file.is_csv or self._file.path.lower().endswith(Parquet.suffixes)
        return "" if is_named else f"; if it is CSV, give it a name that ends in {Csv.suffixes[0]}"

    def look_up(self, keys: Keys) -> tuple[list[pa.Array], NDArray[np.int64]]:
        """The labels of each row, null if its key is not in the file, and the number of their row there, or -1.

        Raises:
            DataError: keys of types that cannot be compared exactly, or a key that appears twice.
        """
        wanted, known = comparable(keys, self._keys)
        if known.type not in self._unique_as:
            self._refuse_duplicates(known)
            self._unique_as.add(known.type)
        indices = pc.index_in(wanted, value_set=known, skip_nulls=True)
        of_rows = to_numpy(indices.fill_null(-1)).astype(np.int64)
        return [labels.take(indices) for labels in self._labels], of_rows

    def _refuse_duplicates(self, keys: pa.Array) -> None:
        counts = keys.drop_null().value_counts()
        duplicates = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(duplicates):
            first, second = np.flatnonzero(filled(pc.equal(keys, duplicates.field("values")[0]), False))[:2].tolist()
            value = python_value(self._keys.column[first])
            raise DataError(
                f"{self._file.path}: column {self._file.on!r} contains a key twice ({str(value)!r}, rows {first:,} and"
                f" {second:,}), so its label is ambiguous; remove one of the rows"
            )


def _require(path: str) -> None:
    """Raise OSError if there is no regular file, or no object, with this name."""
    if not is_remote(path):
        require_plain(path)
        return
    from ..storage.remote import bucket_of  # imports obstore

    location = parse_uri(path)
    bucket_of(location).head(location.key)


def _read_csv(path: str, names: Sequence[str]) -> pa.Table:
    """Read every cell as text: 007 is not 7, and the bundle determines the type of labels. An empty cell is null, and
    a quoted `""` is an empty text."""
    table = read_text(path, names, nulls=True)
    _refuse_columns(path, names, table.schema.names)
    return table


def _read_parquet(path: str, names: Sequence[str]) -> pa.Table:
    with ParquetSource(path, name=printable(path)) as source:
        _refuse_columns(path, names, source.names)
        return source.read(names)


def _refuse_columns(path: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    for name in wanted:
        times = list(there).count(name)
        if times != 1:
            found = f"column {name!r} {times} times" if times else f"no column {name!r}"
            raise UsageError(f"{path} has {found}; its columns are {', '.join(there)}{_delimiter_hint(path, there)}")


def _delimiter_hint(path: str, there: Sequence[str]) -> str:
    is_other = len(there) == 1 and any(one in there[0] for one in ";\t|")
    return "; separate them by commas" if is_other and path.lower().endswith(Csv.suffixes) else ""

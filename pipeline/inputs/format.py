"""The interface of input formats. The command line lists formats, so this module does not import Arrow at the top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING, ClassVar

from ..options import CsvDialect
from ..records import Partition, ReadRows

if TYPE_CHECKING:
    import pyarrow as pa


class Format(ABC):
    """A format of input files. All formats are listed in `formats.FORMATS`."""

    #: The name in `--format` and run.json.
    name: ClassVar[str]
    #: The suffixes of file names, in lower case.
    suffixes: ClassVar[tuple[str, ...]]
    #: Whether cells are untyped text: numbers are parsed from them, and keys remain text.
    cells_are_text: ClassVar[bool] = False
    #: Whether `[csv]` of the job file applies and is part of the fingerprint.
    has_dialect: ClassVar[bool] = False

    @abstractmethod
    def read_schema(
        self, partition: Partition, dialect: CsvDialect, columns: Collection[str] | None = None
    ) -> tuple[pa.Schema, int | None]:
        """The columns of a file, and its number of rows; None if that is known only after reading.

        Args:
            columns: the columns that will be read (None: all); the types of others may be approximate.

        Raises:
            PartitionError: the file is broken or has another format.
        """

    @abstractmethod
    def read_rows(
        self,
        partition: Partition,
        schema: pa.Schema,
        *,
        header: Sequence[str],
        dialect: CsvDialect,
        block_rows: int,
        first_row: int = 0,
        threads: bool = False,
    ) -> Generator[ReadRows]:
        """The rows of the columns of `schema`, in file order and bounded memory.

        Args:
            schema: some columns of the file, as returned by `read_schema`.
            header: the names of all columns of the file.
            block_rows: the approximate number of rows to yield at a time.
            first_row: the first row to yield; 0 if `read_schema` does not return the number of rows.
            threads: use several threads, since there are more cores than readers.

        Raises:
            PartitionError: the file cannot be read to the end.
        """

    def starts(self, partition: Partition) -> Sequence[int]:  # noqa: ARG002 - for subclasses
        """The rows at which reading can begin without decoding earlier ones, ascending; the first is 0.

        Raises:
            PartitionError: the file cannot be read.
        """
        return (0,)

    def reader_bytes(self, partition: Partition, num_columns: int) -> int:  # noqa: ARG002 - for subclasses
        """Approximately the memory that an open reader of a file takes, besides the rows that it has returned."""
        return 8 << 20

    def most_rows(self, partition: Partition) -> int | None:  # noqa: ARG002 - for subclasses
        """An upper bound of the number of rows, from the file size alone; None if there is none."""
        return None

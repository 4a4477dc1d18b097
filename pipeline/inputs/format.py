"""What every format of input files offers. The command line names formats, so nothing here imports Arrow at its top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from ..options import CsvDialect
from ..records import Partition, ReadRows

if TYPE_CHECKING:
    import pyarrow as pa


class Format(ABC):
    """A format of input files. `formats.FORMATS` lists them."""

    #: As `--format` and run.json name it.
    name: ClassVar[str]
    #: What file names end with, in lower case.
    suffixes: ClassVar[tuple[str, ...]]
    #: How many cores one reader keeps busy.
    cores_per_reader: ClassVar[int] = 1
    #: Cells are text without a type: numbers are parsed from them, and keys stay the text they are.
    cells_are_text: ClassVar[bool] = False
    #: `[csv]` of the job file says how cells are written, and is part of the fingerprint.
    has_dialect: ClassVar[bool] = False

    @abstractmethod
    def read_schema(
        self, partition: Partition, dialect: CsvDialect, columns: Collection[str] | None = None
    ) -> tuple[pa.Schema, int | None]:
        """The columns of a file, and how many rows it has; None where that is not known until it is read.

        Args:
            columns: those that are going to be read (None: all); the types of others may be approximate.

        Raises:
            PartitionError: the file is broken, or not of this format.
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
    ) -> Iterator[ReadRows]:
        """The rows of the columns of `schema`, in file order and bounded memory.

        Args:
            schema: some columns of the file, as `read_schema` gave them.
            header: the names of all of them.
            block_rows: about how many rows are wanted at a time.
            first_row: where to begin; 0 where `read_schema` does not tell the number of rows.

        Raises:
            PartitionError: the file cannot be read to its end.
        """

    def most_rows(self, partition: Partition) -> int | None:  # noqa: ARG002 - of formats that can tell
        """An upper bound of the rows, by the size of the file alone; None where there is none."""
        return None

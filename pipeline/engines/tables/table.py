"""What a table format must be able to do. Independent of formats."""

from typing import Protocol

from .files import TableFiles


class Table(Protocol):
    """A table to which one output is committed. Its versions are atomic, and each commit of the output has a number,
    which the table stores with the version."""

    #: Identifies the table among those to which an output is committed.
    name: str

    def last_number(self) -> int:
        """The number of the last commit of this output that the table contains; 0 if there is none.

        Raises:
            StorageError: the table cannot be read.
        """

    def check(self, files: TableFiles) -> None:
        """Check that the files can be added, without writing anything.

        Raises:
            ColumnError: the table format does not have the type of a column, or the table has other columns.
        """

    def append(self, files: TableFiles, number: int) -> str:
        """Add files in one version, and create the table if it does not exist.

        Args:
            number: that of this commit. If the table already has it, nothing is added.

        Returns:
            The version that has it.

        Raises:
            StorageError: the table cannot be written, or others wrote to it all the time.
        """

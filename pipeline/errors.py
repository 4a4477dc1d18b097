"""What can go wrong, and the exit code of each (sysexits).

    ScorelineError                 1   a fault of ours, unless a subclass says otherwise
    ├── UsageError                 2   the command's words do not go together
    ├── DataError                 65   the input cannot be scored as it is
    │   ├── ColumnError           65   a column is missing, doubled or of a wrong kind
    │   ├── PartitionError        65   one input file cannot be read; the others can
    │   ├── ModelFailedError      65   the model raises on some rows
    │   └── RowsRejectedError     65   more rows were rejected than the run allows
    ├── NoInputError              66   nothing to score
    ├── DeviceError               69   the device asked for is not there
    ├── OutputError               73   the output cannot be created
    ├── StorageError              74   the disk is full, or it failed
    ├── OutputLockedError         75   another run holds the output; try later
    ├── StoppedError               1   in a thread that nobody waits for any more; never shown
    ├── BundleError               78   a bundle that cannot be trusted, read or built
    │   ├── GoldenMismatchError   78   the golden rows do not come out as expected
    │   └── UntrustedBundleError  78   a bundle that holds code, and was not named as trusted
    └── JobFileError              78   a job file that cannot be read
    InterruptedRunError       130/143   a signal ended the run; it can be resumed (no Exception, see there)

A message is one line: what is wrong, the rule, the value got, where, and what to do next. This file knows
nothing of the rest.
"""


def one_line(error: BaseException) -> str:
    """The text of any exception on one line, control characters escaped: names in it come from files."""
    return printable(" ".join(str(error).split()) or type(error).__name__)


def printable(text: str) -> str:
    """Text with control characters and line ends escaped, for a log or a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ScorelineError(Exception):
    """Base of every error that Scoreline raises on purpose. `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(ScorelineError):
    """Options that do not go together, or a value that no option takes."""

    exit_code = 2


class DataError(ScorelineError):
    """The input cannot be scored as it is."""

    exit_code = 65


class ColumnError(DataError):
    """A column is missing, stands twice, or holds a kind of value that is no number. `column`: its name, where it is of
    another kind than it should be."""

    def __init__(self, message: str, *, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


class PartitionError(DataError):
    """One input file cannot be read. `partition` is its name; the other files are scored without it."""

    def __init__(self, message: str, *, partition: str) -> None:
        super().__init__(message)
        self.partition = partition


class ModelFailedError(DataError):
    """The model raises on rows that have passed every check."""


class RowsRejectedError(DataError):
    """More rows were rejected than allowed."""


class NoInputError(ScorelineError):
    """There is nothing to score."""

    exit_code = 66


class DeviceError(ScorelineError):
    """The device asked for is not available. Never a silent fall to another one."""

    exit_code = 69


class OutputError(ScorelineError):
    """The output cannot be created where it was asked for."""

    exit_code = 73


class StorageError(ScorelineError):
    """Reading or writing failed underneath: a full disk, a broken one."""

    exit_code = 74


class OutputLockedError(ScorelineError):
    """Another run holds the output. It will be free when that has ended, however it ends."""

    exit_code = 75


class StoppedError(ScorelineError):
    """Work in another thread was told to end, since the run has."""


class BundleError(ScorelineError):
    """A bundle, or a model to be made one, that cannot be trusted, read or built."""

    exit_code = 78


class GoldenMismatchError(BundleError):
    """Golden rows that do not come out as expected. `finding`: what differs, without what it is put down to."""

    def __init__(self, finding: str, cause: str = "") -> None:
        super().__init__(f"golden rows do not come out: {finding}; {cause}" if cause else finding)
        self.finding = finding


class UntrustedBundleError(BundleError):
    """The bundle holds code, and nobody has said that it is trusted."""


class JobFileError(ScorelineError):
    """A job file that cannot be read."""

    exit_code = 78


class InterruptedRunError(BaseException):
    """A signal ended the run. Published parts stay; the same command scores what is missing. No `Exception`: it may
    come anywhere, and whoever handles what a model or a file raises must not take it for that."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}; run the same command again to finish")
        self.exit_code = 128 + signal_number

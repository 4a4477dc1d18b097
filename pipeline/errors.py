"""The errors that Scoreline raises, and their exit codes (sysexits).

    ScorelineError                 1   an internal error, unless it is one of the subclasses
    ├── UsageError                 2   invalid or conflicting options
    ├── DataError                 65   the input cannot be scored as it is
    │   ├── ColumnError           65   a column is missing, duplicated or of the wrong type
    │   ├── PartitionError        65   one input file cannot be read; the others can
    │   ├── ModelFailedError      65   the model raises on some rows
    │   │   └── DeviceFailedError 65   the device fails while it scores, or has no memory for a single row
    │   ├── RowsRejectedError     65   more rows were rejected than the run allows
    │   └── DriftError            65   the rows have drifted further than the run allows
    ├── NoInputError              66   nothing to score
    ├── DeviceError               69   the requested device is not available
    ├── ClusterError              69   the workers of a cluster cannot be used
    ├── ResourceError             71   the machine lacks memory, threads or a temporary folder
    ├── OutputError               73   the output cannot be created
    ├── StorageError              74   the disk is full or failing
    ├── OutputLockedError         75   another run is writing to the output; try again later
    ├── StoppedError               1   stops work in another thread; never shown
    ├── BundleError               78   a bundle that cannot be trusted, read or built
    │   ├── GoldenMismatchError   78   the golden rows were not reproduced
    │   └── UntrustedBundleError  78   a bundle that contains code and was not trusted
    └── JobFileError              78   a job file that cannot be read
    InterruptedRunError       130/143   a signal ended the run; it can be resumed (not an `Exception`)

A message is one line: what is wrong, the rule, the value, where, and what to do next. This module imports nothing else
of the pipeline.
"""

import os
import sys
from collections.abc import Collection, Sequence


def one_line(error: BaseException) -> str:
    """The text of any exception on one line, control characters escaped, since names in it may come from files."""
    return printable(" ".join(str(error).split()) or type(error).__name__)


def printable(text: str) -> str:
    """Text with control characters and line ends escaped, for a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[object], most: int = 6) -> str:
    """Some names for a message, those beyond `most` as a number: `'a', 'b' and 3 more`."""
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def shape_text(shape: Sequence[object]) -> str:
    """The shape of a tensor or array, as in the documentation: `[7, 3]`, `[rows, labels]`."""
    return f"[{', '.join(map(str, shape))}]"


def dtype_text(dtype: object) -> str:
    """The name of a dtype of torch or numpy: `float32`."""
    return str(dtype).removeprefix("torch.")


def repeated(times: int) -> str:
    """How often something appears, for a message: `twice`, `3 times`."""
    return "twice" if times == 2 else f"{times} times"


class ScorelineError(Exception):
    """Base of every error that Scoreline raises on purpose. `exit_code` is the exit code of the command."""

    exit_code = 1


class UsageError(ScorelineError):
    """Invalid or conflicting options."""

    exit_code = 2


class DataError(ScorelineError):
    """The input cannot be scored as it is."""

    exit_code = 65


class ColumnError(DataError):
    """A column is missing, appears twice, or has the wrong type. `column`: its name, if its type is wrong."""

    def __init__(self, message: str, *, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


class PartitionError(DataError):
    """One input file cannot be read. `partition` is its name; the other files are still scored."""

    def __init__(self, message: str, *, partition: str) -> None:
        super().__init__(message)
        self.partition = partition


def changed_error(partition: str) -> PartitionError:
    """The error for an input that changed during the run."""
    return PartitionError(
        f"{partition}: changed while it was read, so its rows are not published; run the same command again",
        partition=partition,
    )


class ModelFailedError(DataError):
    """The model raises on rows that have passed every check."""


class DeviceFailedError(ModelFailedError):
    """A device fails while it scores, or has no memory for a single row."""


class RowsRejectedError(DataError):
    """More rows were rejected than allowed."""


def rejects_error(rejected: str, unreadable: Collection[str]) -> RowsRejectedError:
    """For a run with more rejects than allowed.

    Args:
        rejected: how many, and how many are allowed.
        unreadable: why inputs cannot be read: the message is the last one of the run, and must not hide them.
    """
    hidden = f", and {counted(len(unreadable), 'input')} cannot be read: {min(unreadable)}" if unreadable else ""
    return RowsRejectedError(
        f"{rejected}{hidden}; fix the input, or allow more with --max-rejects (with 100%, scoreline rejects lists them"
        " all)"
    )


class DriftError(DataError):
    """The rows have drifted further from the bundle's reference than allowed. Every part is published."""


class NoInputError(ScorelineError):
    """There is nothing to score."""

    exit_code = 66


class DeviceError(ScorelineError):
    """The requested device is not available. Scoreline never falls back to another one silently."""

    exit_code = 69


class ClusterError(ScorelineError):
    """The workers of a cluster cannot be reached or used, or are lost again and again."""

    exit_code = 69


class ResourceError(ScorelineError):
    """The machine lacks memory, threads or a temporary folder."""

    exit_code = 71

    @classmethod
    def of(cls, error: BaseException) -> "ResourceError | None":
        """What an error of Python or a library means, if it is that; its causes tell as well."""
        left: list[BaseException | None] = [error]
        seen = set[int]()
        while left:
            if (one := left.pop()) is None or id(one) in seen:
                continue
            seen.add(id(one))
            if (reason := _lacking(one)) is not None:
                return cls(reason)
            left += [one.__context__, one.__cause__]
        return None


class OutputError(ScorelineError):
    """The output cannot be created at the requested location."""

    exit_code = 73


class StorageError(ScorelineError):
    """Reading or writing failed: the disk is full or broken."""

    exit_code = 74


class OutputLockedError(ScorelineError):
    """Another run is writing to the output. The lock is released when that run ends, even if it is killed."""

    exit_code = 75


class StoppedError(ScorelineError):
    """Work in another thread was stopped because the run has ended."""


class BundleError(ScorelineError):
    """A bundle cannot be trusted, read or built."""

    exit_code = 78


class GoldenMismatchError(BundleError):
    """The golden rows were not reproduced. `finding`: what differs, without the cause."""

    def __init__(self, finding: str, cause: str = "") -> None:
        super().__init__(f"golden rows were not reproduced: {finding}; {cause}" if cause else finding)
        self.finding = finding


class UntrustedBundleError(BundleError):
    """The bundle contains code and is not on the list of trusted bundles."""


class JobFileError(ScorelineError):
    """A job file that cannot be read."""

    exit_code = 78


class InterruptedRunError(BaseException):
    """A signal ended the run. Published parts are kept; running the same command again scores the rest. Not an
    `Exception`: it may be raised anywhere, and handlers of errors from models and files must not catch it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}; run the same command again to finish")
        self.exit_code = 128 + signal_number


def not_utf8(what: str, text: str, step: str) -> UsageError:
    """The error for a name that is not UTF-8, as Python represents it, or that it does not read as UTF-8.

    Args:
        what: what has the name: "the argument".
        step: what to do about the name itself.
    """
    name = os.fsencode(text)
    try:
        shown = name.decode("utf-8")
    except UnicodeDecodeError:
        return UsageError(f"{what} {name!r} is not UTF-8; {step}")
    return UsageError(
        f"{what} {shown!r} is UTF-8, but Python reads names as {sys.getfilesystemencoding()} here; set PYTHONUTF8=1, or"
        " a locale such as C.UTF-8"
    )


#: What Python, the loader of libraries and the kernel say where threads or memory are exhausted.
_NO_PROCESS = ("can't start new thread", "Resource temporarily unavailable")
_NO_MEMORY = ("failed to map segment", "Cannot allocate memory", "cannot allocate memory")


def _lacking(error: BaseException) -> str | None:
    text = str(error)
    memory = isinstance(error, OSError | ImportError) and any(sign in text for sign in _NO_MEMORY)
    if isinstance(error, MemoryError) or memory:
        return f"the process has not enough memory ({one_line(error)}); allow it more, or pass --memory or --batch-size"
    if isinstance(error, RuntimeError | OSError) and any(sign in text for sign in _NO_PROCESS):
        return (
            "no thread or process can be started; raise the limit of this user or control group (ulimit -u, pids.max)"
        )
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in text:
        return "no temporary folder can be written to; set TMPDIR to one that can"
    return None

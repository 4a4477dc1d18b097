"""Files that only unpickling can read. Nothing here unpickles: the child process of `scoreline pack --allow-pickle`
hands in the function that does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BundleError
from ..storage.plain_files import require_plain

PICKLES = (".joblib", ".pkl", ".pickle")
ReadPickle = Callable[[Path], Any]


class NeedsPickleError(BundleError):
    """A file can only be read by unpickling it."""


def unpickled(path: Path, read_pickle: ReadPickle | None) -> Any:
    """The object in a pickle.

    Raises:
        NeedsPickleError: there is no `read_pickle`.
        BundleError: the file cannot be read.
    """
    if read_pickle is None:
        raise NeedsPickleError(
            f"{path} is a pickle, which can execute anything when it is read; if you trust it, add --allow-pickle"
            " (a scaler can be saved with skops instead)"
        )
    try:
        require_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return read_pickle(path)

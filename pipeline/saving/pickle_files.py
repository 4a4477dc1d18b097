"""Pickle files. Unpickles nothing itself: the child process of `scoreline pack --allow-pickle` passes the function that
does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BundleError
from ..storage.plain_files import require_plain

PICKLES = (".joblib", ".pkl", ".pickle")
ReadPickle = Callable[[Path], Any]


class NeedsPickleError(BundleError):
    """A file is a pickle, and unpickling is not allowed."""


def read_pickle_file(path: Path, read_pickle: ReadPickle | None) -> Any:
    """The object in a pickle.

    Raises:
        NeedsPickleError: `read_pickle` is None.
        BundleError: the file cannot be read.
    """
    if read_pickle is None:
        raise NeedsPickleError(
            f"{path} is a pickle, which can execute any code when it is read; if you trust it, pass --allow-pickle"
            " (a scaler can be saved with skops instead)"
        )
    try:
        require_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return read_pickle(path)

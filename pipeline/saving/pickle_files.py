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


def read_pickle_file(path: Path, read_pickle: ReadPickle | None, content: str | None = None) -> Any:
    """The object in a pickle.

    Args:
        content: the class of the object, if it is known: a whole model then.

    Raises:
        NeedsPickleError: `read_pickle` is None.
        BundleError: the file cannot be read.
    """
    if read_pickle is None:
        what = "is a pickle" if content is None else f"is a whole model saved as a pickle ({content})"
        other = "a scaler can be saved with skops instead"
        if content is not None:
            other = "or save model.state_dict() when training, and use weights with layers or factory"
        raise NeedsPickleError(
            f"{path} {what}, which can execute any code when it is read; if you trust it, pass --allow-pickle ({other})"
        )
    try:
        require_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return read_pickle(path)

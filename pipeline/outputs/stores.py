"""Opens the store that a path or a URI names."""

import os

from ..storage.folders import Failed
from ..storage.uris import is_remote
from .folder_store import FolderStore
from .store import Store


def open_store(root: str | os.PathLike[str], *, failed: Failed | None = None) -> Store:
    """The store of an output; nothing is created.

    Args:
        failed: makes the error for what cannot be accessed.

    Raises:
        OutputError: no credentials are set, or the endpoint cannot be reached.
        UsageError: a URI is invalid, or obstore is not installed.
    """
    if not is_remote(root):
        return FolderStore(root, failed=failed)
    from .object_store import ObjectStore  # imports obstore

    return ObjectStore(str(root), failed=failed)

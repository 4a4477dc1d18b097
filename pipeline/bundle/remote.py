"""The files of a bundle in object storage, downloaded into a private folder. Independent of what they contain."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from ..errors import BundleError
from ..storage.remote import bucket_of
from ..storage.uris import parse_uri


class RemoteFolder:
    """The objects directly below a prefix, from one listing. `sizes`: their bytes by name.

    Raises:
        BundleError: from opening and from every method: they cannot be listed or read, or have changed since.
    """

    def __init__(self, uri: str) -> None:
        location = parse_uri(uri)
        self.uri = str(location).removesuffix("/")
        self._prefix = f"{location.key.removesuffix('/')}/".removeprefix("/")
        with self._errors():
            self._bucket = bucket_of(location)
            found = [one for one in self._bucket.list(self._prefix) if "/" not in one.key[len(self._prefix) :]]
        self._etags = {one.key[len(self._prefix) :]: one.etag for one in found}
        self.sizes = {one.key[len(self._prefix) :]: one.size for one in found}

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        with self._errors():
            return self._bucket.read(self._prefix + name, etag=self._etags[name])

    def download(self, names: Iterable[str]) -> Path:
        """Write files, one request each, into a new folder that only this user can read. The caller removes it."""
        with self._errors():
            folder = Path(tempfile.mkdtemp(prefix="scoreline-bundle-"))
            try:
                for name in names:
                    self._bucket.download(self._prefix + name, folder / name, etag=self._etags[name])
            except BaseException:
                rmtree(folder, ignore_errors=True)
                raise
        return folder

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self.uri
            raise BundleError(f"bundle {self.uri!r} cannot be read: {where}: {error.strerror}") from error

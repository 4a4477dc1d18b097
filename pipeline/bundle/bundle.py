"""The bundle on disk: bundle.json and the files whose digests it names. Independent of torch.

The bytes that are checked are the bytes that are used: each file is read once, and returned only after its digest was
compared.
"""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any
from weakref import finalize

from pydantic import ValidationError

from ...schemas.bundle import FORMAT, BundleManifest
from ...schemas.graph import Graph
from ..digests import sha256
from ..errors import BundleError, one_line
from ..storage.plain_files import Kind, kind_of
from ..storage.uris import is_remote

MANIFEST = "bundle.json"
#: The largest bundle.json; real ones are far smaller.
MANIFEST_BYTES = 64 << 20
#: The largest graph.json; one with the most nodes allowed takes a third of this.
GRAPH_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Bundle:
    """A bundle with a valid manifest. `path`: its folder; `digest`: the sha256 of bundle.json, which contains those of
    the other files; `uri`: where the files in the folder were downloaded from, None for a local bundle."""

    path: Path
    manifest: BundleManifest
    digest: str
    uri: str | None = None

    @property
    def name(self) -> str:
        """What the user calls it: its folder, or its URI."""
        return str(self.path) if self.uri is None else self.uri

    def read(self, name: str) -> bytes:
        """The bytes of one of its files. Raises BundleError unless their digest is that in the manifest."""
        data = _read(self.path / name)
        if sha256(data) != self.manifest.files[name]:
            raise BundleError(
                f"{self.name}/{name} is not the file that the bundle was saved with: its sha256 is {sha256(data)},"
                f" but {MANIFEST} has {self.manifest.files[name]}; save the bundle again"
            )
        return data

    def model_bytes(self) -> int:
        """The size of the model's files in bytes. Raises BundleError where one is missing."""
        reference = self.manifest.reference
        others = {self.manifest.golden.file, None if reference is None else reference.file}
        try:
            return sum((self.path / name).stat().st_size for name in self.manifest.files if name not in others)
        except OSError as error:
            raise BundleError(f"{error.filename} cannot be accessed: {error.strerror}") from error


def read_graph(data: bytes, name: str) -> Graph:
    """Parse and validate graph.json. Raises BundleError."""
    if len(data) > GRAPH_BYTES:
        raise BundleError(f"{name} has {len(data):,} bytes, above the limit of {GRAPH_BYTES:,} for a graph")
    try:
        return Graph.model_validate(_json(data, name))
    except RecursionError as error:
        raise BundleError(f"{name}: an argument is nested too deeply") from error
    except ValidationError as error:
        raise BundleError(f"{name}: {first_problem(error)}") from error


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and validate bundle.json. The other files are read, and their digests compared, when they are needed.

    The files of a bundle in object storage are downloaded into a private folder, which is removed when the bundle is
    no longer used, at the latest at the end of the process.

    Args:
        path: the folder of the bundle, or its URI.

    Raises:
        BundleError: not a bundle, another format, an invalid manifest, or a file that is missing or a link; or it
            cannot be downloaded.
        UsageError: an invalid URI, or obstore is not installed.
    """
    if is_remote(path):
        return _open_remote(str(path))
    folder = Path(path)
    if _kind(folder / MANIFEST) == "missing":
        kind = _kind(folder)
        reason = f"it has no {MANIFEST}" if kind == "folder" else "it is not a folder"
        what = "does not exist" if kind == "missing" else f"is not a bundle: {reason}"
        raise BundleError(f"bundle {str(folder)!r} {what}; make one with scoreline.save_bundle")
    manifest, digest = _manifest(_read(folder / MANIFEST), str(folder))
    for name in manifest.files:
        if not _is_plain(folder / name):
            raise BundleError(f"{folder / name} is missing or not a regular file; save the bundle again")
    return Bundle(path=folder, manifest=manifest, digest=digest)


def _open_remote(uri: str) -> Bundle:
    from .remote import RemoteFolder  # imports obstore

    source = RemoteFolder(uri)
    if MANIFEST not in source.sizes:
        what = f"is not a bundle: it has no {MANIFEST}" if source.sizes else "does not exist"
        raise BundleError(f"bundle {source.uri!r} {what}; make one with scoreline.save_bundle")
    if source.sizes[MANIFEST] > MANIFEST_BYTES:
        raise BundleError(f"{source.uri}/{MANIFEST} is too large")
    data = source.read(MANIFEST)
    manifest, digest = _manifest(data, source.uri)
    for name in manifest.files:
        if name not in source.sizes:
            raise BundleError(f"{source.uri}/{name} is missing; save the bundle again")
    folder = source.download(manifest.files)
    (folder / MANIFEST).write_bytes(data)
    bundle = Bundle(path=folder, manifest=manifest, digest=digest, uri=source.uri)
    finalize(bundle, rmtree, folder, ignore_errors=True)
    return bundle


def _manifest(data: bytes, folder: str) -> tuple[BundleManifest, str]:
    """The manifest in the bytes of bundle.json, and its digest."""
    where = f"{folder}/{MANIFEST}"
    fields = _json(data, where)
    found = fields.get("format") if isinstance(fields, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise BundleError(f"{where}: format {found!r} is not supported; this version reads format {FORMAT}")
    try:
        return BundleManifest.model_validate(fields), sha256(data)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_problem(error)}") from error


def _kind(path: Path) -> Kind:
    try:
        return kind_of(path)
    except OSError as error:
        raise BundleError(f"bundle {str(path)!r} cannot be accessed: {error.strerror}") from error


def first_problem(error: ValidationError) -> str:
    """The first problem of a file, as `field: rule`, on one line."""
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "value_error" and not problem["loc"]:  # of the whole file: the message names the fields
        return one_line(problem["ctx"]["error"])
    where = ".".join(str(part) for part in problem["loc"]) or "file"
    value = repr(problem["input"])
    return one_line(ValueError(f"{where}: {problem['msg']} (got {value[:80]})"))


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        if not _is_plain(path) or (path.name == MANIFEST and path.stat().st_size > MANIFEST_BYTES):
            raise BundleError(f"{path} is not a regular file, or too large")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _json(data: bytes, path: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {one_line(error)}") from error

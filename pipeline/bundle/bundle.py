"""The bundle on disk: bundle.json and the files whose digests it names. Knows nothing of torch or tensors.

The bytes that were checked are the bytes that are used: each file is read once, its digest compared, and only
then handed on. A bundle is written beside its place and moved there whole.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...schemas.bundle import FORMAT, BundleManifest
from ...schemas.graph import Graph
from ..errors import BundleError, OutputError, one_line
from ..storage.folders import Walker
from ..storage.plain_files import Kind, kind_of
from ..storage.temporaries import temporary_name

MANIFEST = "bundle.json"
#: A manifest is small; what is larger is not one.
MANIFEST_BYTES = 64 << 20
#: A graph of as many nodes as one may have takes a third of this.
GRAPH_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle whose manifest is valid. `digest`: sha256 of bundle.json, which names the other files'."""

    path: Path
    manifest: BundleManifest
    digest: str

    def read(self, name: str) -> bytes:
        """The bytes of one of its files. Raises BundleError unless their digest is the manifest's."""
        data = _read(self.path / name)
        if sha256(data) != self.manifest.files[name]:
            raise BundleError(
                f"{self.path / name} is not the file the bundle was made with: its sha256 is {sha256(data)},"
                f" {MANIFEST} says {self.manifest.files[name]}; make the bundle again"
            )
        return data

    def model_bytes(self) -> int:
        """The size of the model's files. Raises BundleError where one is gone."""
        try:
            return sum(
                (self.path / name).stat().st_size for name in self.manifest.files if name != self.manifest.golden.file
            )
        except OSError as error:
            raise BundleError(f"{error.filename} cannot be looked at: {error.strerror}") from error


def read_graph(data: bytes, name: str) -> Graph:
    """graph.json, validated. Raises BundleError."""
    if len(data) > GRAPH_BYTES:
        raise BundleError(f"{name} has {len(data):,} bytes, above the limit of {GRAPH_BYTES:,} for a graph")
    try:
        return Graph.model_validate(_json(data, Path(name)))
    except RecursionError as error:
        raise BundleError(f"{name}: an argument is nested too deep") from error
    except ValidationError as error:
        raise BundleError(f"{name}: {first_problem(error)}") from error


def sha256(data: bytes) -> str:
    """A digest as it stands in manifests: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and validate bundle.json. Its other files are read, and their digests compared, when needed.

    Raises:
        BundleError: not a bundle, another format, a broken manifest, a file that is missing or a link.
    """
    folder = Path(path)
    if _kind(folder / MANIFEST) == "missing":
        kind = _kind(folder)
        what = "does not exist" if kind == "missing" else f"holds no {MANIFEST}" if kind == "folder" else "is no folder"
        raise BundleError(f"{str(folder)!r} is no bundle: it {what}; make one with scoreline.save_bundle")
    data = _read(folder / MANIFEST)
    fields = _json(data, folder / MANIFEST)
    found = fields.get("format") if isinstance(fields, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise BundleError(f"{folder / MANIFEST}: format {found!r}, and this version reads format {FORMAT}")
    try:
        manifest = BundleManifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(f"{folder / MANIFEST}: {first_problem(error)}") from error
    for name in manifest.files:
        if not _is_plain(folder / name):
            raise BundleError(f"{folder / name} is missing, or no plain file; make the bundle again")
    return Bundle(path=folder, manifest=manifest, digest=sha256(data))


def write_bundle(path: str | os.PathLike[str], manifest: BundleManifest, files: Mapping[str, bytes]) -> str:
    """Write a bundle beside its place, then move it there; an older bundle is replaced whole.

    Returns:
        Its digest.

    Raises:
        OutputError: the place is taken by something that is no bundle, or cannot be written.
    """
    place = find_place(path)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    fresh, old = (place.parent / temporary_name(place.name + end) for end in ("", "/old"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, data in {**files, MANIFEST: text.encode()}.items():
            _write_synced(fresh / name, data)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        fresh.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"bundle {str(place)!r} cannot be written: {error.strerror}") from error
    return sha256(text.encode())


def find_place(path: str | os.PathLike[str]) -> Path:
    """Where a bundle would be written, behind links, so that a link stays. Writes nothing.

    Raises:
        OutputError: something that is no bundle is there, or no folder can be.
    """

    def failed(where: str, error: OSError) -> OutputError:
        return OutputError(f"{where!r} cannot be looked at: {error.strerror}; choose another place")

    try:
        place = Path(os.path.realpath(path))
        nearest = next(folder for folder in (place, *place.parents) if kind_of(folder) != "missing")
        if kind_of(nearest) != "folder":
            what = "exists and is no bundle" if nearest == place else f"lies below {str(nearest)!r}, which is no folder"
            raise OutputError(f"{str(place)!r} {what}; choose another place")
        if nearest != place or kind_of(place / MANIFEST) != "missing":
            return place
    except OSError as error:
        raise failed(str(path), error) from error
    except ValueError as error:
        raise OutputError(f"{path!r} is no path: {error}") from error
    walker = Walker(failed=failed, skip=lambda _: False)
    if walker.entries(walker.start(str(place))):
        raise OutputError(f"{str(place)!r} exists and is no bundle; choose another place")
    return place


def _kind(path: Path) -> Kind:
    try:
        return kind_of(path)
    except OSError as error:
        raise BundleError(f"bundle {str(path)!r} cannot be looked at: {error.strerror}") from error


def first_problem(error: ValidationError) -> str:
    """The first thing wrong with a file, as `field: rule`, on one line."""
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "value_error" and not problem["loc"]:  # of the whole: the words say what
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
            raise BundleError(f"{path} is no plain file, or too large for what it should be")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {one_line(error)}") from error


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

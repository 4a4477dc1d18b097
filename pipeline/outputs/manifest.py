"""Encodes and reads `_scoreline/run.json`, with a checksum of its content. Does not import torch.

The checksum is the last field, and covers every byte before its own line: it is the `sha256sum` of the file without its
last two lines. So it detects any change, including whitespace and the last digit of a float.
"""

import hashlib

from pydantic import ValidationError

from ...schemas.run import RunManifest
from ..errors import DataError, NoInputError, one_line
from .store import MANIFEST, Store

_MARK = b' "checksum": '


def encode_manifest(manifest: RunManifest) -> bytes:
    """The bytes of the file, with its checksum."""
    text = manifest.model_copy(update={"checksum": None}).model_dump_json(indent=1).encode()
    covered, mark, _ = text.rpartition(_MARK)
    assert mark, "the checksum is the last field"
    return covered + _checksum_lines(covered)


def read_manifest(store: Store) -> RunManifest:
    """The last run's manifest.

    Raises:
        NoInputError: the folder is not an output of a run, or the file cannot be read.
        DataError: an earlier run was killed before it wrote a manifest, or the manifest was changed.
    """
    path = store.path(MANIFEST)
    again = "run the same scoreline score again"
    try:
        if store.kind(MANIFEST) in ("folder", "other"):
            raise DataError(f"{path} is not a regular file; move it, then {again}")
        data = store.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        if store.has_earlier_run():
            raise DataError(f"{str(store.root)!r} is an unfinished run: it has no {MANIFEST}; {again}") from error
        raise NoInputError(f"{str(store.root)!r} is not an output of scoreline score: it has no {MANIFEST}") from error
    except OSError as error:
        raise NoInputError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    covered, mark, _ = data.rpartition(_MARK)
    try:
        if not mark or data[len(covered) :] != _checksum_lines(covered):
            raise DataError(f"{path} is damaged: its checksum does not match its content; {again}, which rewrites it")
        return RunManifest.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"{path} cannot be read by this version: {one_line(error)}; {again}") from error


def _checksum_lines(covered: bytes) -> bytes:
    return _MARK + b'"sha256:' + hashlib.sha256(covered).hexdigest().encode() + b'"\n}\n'

"""`_scoreline/run.json` as bytes and back, with a checksum over what it says. Does not import torch.

The checksum is the last field, and covers every byte before its own line: `sha256sum` of the file without its last two
lines gives it. So any change is found, whitespace and the last digit of a float included.
"""

import hashlib

from pydantic import ValidationError

from ...schemas.run import RunManifest
from ..errors import DataError, NoInputError, one_line
from .store import MANIFEST, Store

_MARK = b' "checksum": '


def encode_manifest(manifest: RunManifest) -> bytes:
    """The file's bytes, its checksum filled in."""
    text = manifest.model_copy(update={"checksum": None}).model_dump_json(indent=1).encode()
    covered, mark, _ = text.rpartition(_MARK)
    assert mark, "the checksum is the last field"
    return covered + _sealed(covered)


def read_manifest(store: Store) -> RunManifest:
    """The last run's manifest, as it was written.

    Raises:
        NoInputError: there is none, and no run has been here; or it cannot be read.
        DataError: a run has been here that was killed before it wrote one; or what is there was not written by it.
    """
    place = store.path(MANIFEST)
    again = "run the same scoreline score again"
    try:
        if store.kind(MANIFEST) in ("folder", "other"):
            raise DataError(f"{place} is not a regular file; move it away, then {again}")
        data = store.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        if store.is_ours():
            raise DataError(f"{str(store.root)!r} is an unfinished run: it has no {MANIFEST}; {again}") from error
        raise NoInputError(f"{str(store.root)!r} is not an output of scoreline score: it has no {MANIFEST}") from error
    except OSError as error:
        raise NoInputError(f"{place} cannot be read: {error.strerror or one_line(error)}") from error
    covered, mark, _ = data.rpartition(_MARK)
    try:
        if not mark or data[len(covered) :] != _sealed(covered):
            raise DataError(f"{place} is damaged: its checksum does not match its content; {again}, which rewrites it")
        return RunManifest.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"{place} cannot be read by this version: {one_line(error)}; {again}") from error


def _sealed(covered: bytes) -> bytes:
    return _MARK + b'"sha256:' + hashlib.sha256(covered).hexdigest().encode() + b'"\n}\n'

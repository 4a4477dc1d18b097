"""Writes and reads `_scoreline/run.json`, with a checksum of its content, and `parts.pq`, whose digest it has. Does not
import torch.

The checksum is the last field, and covers every byte before its own line: it is the `sha256sum` of the file without its
last two lines. So it detects any change, including whitespace and the last digit of a float.
"""

from pydantic import ValidationError

from ...schemas.run import RunManifest
from ..digests import sha256
from ..errors import DataError, NoInputError, one_line
from .part_records import OutputRecord, decode_record, encode_record
from .store import MANIFEST, PLAN, RUN_FILES, RecordFiles, Store

_MARK = b' "checksum": '


def write_manifest(
    store: Store, manifest: RunManifest, record: OutputRecord, files: RecordFiles = RUN_FILES
) -> RunManifest:
    """Publish both files; until both are, neither is valid. Returns the manifest with the digest of the parts file.

    Raises:
        StorageError: the disk is full or failed.
    """
    data = encode_record(record)
    manifest = manifest.model_copy(update={"parts_digest": sha256(data)})
    store.write(files.parts, data)
    store.write(files.manifest, _encoded(manifest))
    return manifest


def read_record(store: Store, manifest: RunManifest, files: RecordFiles = RUN_FILES) -> OutputRecord:
    """The inputs and parts that a manifest describes.

    Raises:
        DataError: the file is missing or was changed, or the run was killed before it wrote both.
    """
    path, again = store.path(files.parts), "run the same scoreline score again, which rewrites it"
    try:
        data = store.read(files.parts)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or one_line(error)}; {again}") from error
    if sha256(data) != manifest.parts_digest:
        raise DataError(f"{path} is damaged, or of another run: its digest is not the one in {files.manifest}; {again}")
    try:
        return decode_record(data)
    except DataError as error:
        raise DataError(f"{path} cannot be read by this version: {one_line(error)}; {again}") from error


def _encoded(manifest: RunManifest) -> bytes:
    """The bytes of run.json, with its checksum."""
    text = manifest.model_copy(update={"checksum": None}).model_dump_json(indent=1).encode()
    covered, mark, _ = text.rpartition(_MARK)
    assert mark, "the checksum is the last field"
    return covered + _checksum_lines(covered)


def read_manifest(store: Store, files: RecordFiles = RUN_FILES) -> RunManifest:
    """The manifest of the last run, or of a shard.

    Raises:
        NoInputError: the folder is not an output of a run, or the file cannot be read.
        DataError: an earlier run was killed before it wrote a manifest, or the manifest was changed.
    """
    path = store.path(files.manifest)
    again = "run the same scoreline score again"
    try:
        if store.kind(files.manifest) in ("folder", "other"):
            raise DataError(f"{path} is not a regular file; move it, then {again}")
        data = store.read(files.manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        if files is RUN_FILES and store.kind(PLAN) == "file":
            raise DataError(
                f"{str(store.root)!r} has shards, and no run of all of them is complete: run scoreline finish, which"
                " says what is missing"
            ) from error
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
    return _MARK + b'"' + sha256(covered).encode() + b'"\n}\n'

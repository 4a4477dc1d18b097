"""The receipt in the footer of a part file, and checks that it is valid. Independent of how parts are made.

Page checksums do not cover a Parquet footer, so the receipt carries a checksum over itself.
"""

import hashlib
import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ...schemas.run import Fingerprint, ProfileLocation, Receipt
from ..digests import sha256
from ..errors import PartitionError
from ..parquet.file import ParquetSource
from ..storage.folders import listing_error
from ..storage.plain_files import require_plain
from ..storage.ranges import read_range
from ..storage.uris import is_remote
from .naming import part_name
from .part_records import PartVersion

KEY = b"scoreline.receipt"
CHUNK_BYTES = 1 << 20


def with_checksum(receipt: Receipt) -> Receipt:
    """The receipt with a checksum of all other fields."""
    return receipt.model_copy(update={"checksum": _checksum(receipt)})


def footer_metadata(receipt: Receipt) -> dict[str, str]:
    """The key-value metadata that contains a receipt."""
    return {KEY.decode(): receipt.model_dump_json()}


def read_receipt(path: Path | str) -> Receipt | Literal["missing", "foreign", "torn"]:
    """The receipt of a `.parquet` file, or of an object; `foreign` where it has none, `torn` where the footer cannot be
    read or the receipt is invalid.

    Raises:
        StorageError, NoInputError: the service does not return an object.
    """
    try:
        with ExitStack() as opened:
            footer = pq.ParquetFile(_opened(path, opened)).metadata
            metadata, num_rows = footer.metadata or {}, footer.num_rows
    except FileNotFoundError:
        return "missing"
    except (OSError, pa.ArrowException):
        return "torn"
    if KEY not in metadata:
        return "foreign"
    try:
        receipt = Receipt.model_validate_json(metadata[KEY])
    except ValidationError:
        return "torn"
    return receipt if (receipt.checksum, receipt.rows_scored) == (_checksum(receipt), num_rows) else "torn"


def _opened(path: Path | str, opened: ExitStack) -> pa.NativeFile:
    """A file to read the footer from, until `opened` is closed."""
    if not is_remote(path):
        require_plain(path)
        return opened.enter_context(pa.OSFile(str(path)))  # a third faster than by name, with ten thousand files
    from ..parquet.staged import StagedObject  # imports obstore

    try:
        return opened.enter_context(closing(StagedObject(str(path)))).file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise listing_error(str(path), error) from error


def read_profile(path: Path | str, location: ProfileLocation) -> bytes | None:
    """The profile in a part file; None where it cannot be read or is not the one that the receipt names."""
    try:
        data = read_range(path, location.offset, location.length)
    except OSError:
        return None
    return data if sha256(data) == location.sha256 else None


def differences(found: Fingerprint, wanted: Fingerprint) -> list[str]:
    """The reasons why a fingerprint differs from the wanted one."""
    reasons = []
    if input_content(found) != input_content(wanted):
        reasons.append("input changed")
    if found.bundle != wanted.bundle:
        reasons.append("model changed")
    names = sorted(found.options.keys() | wanted.options.keys())
    reasons += [f"option {n} changed" for n in names if found.options.get(n) != wanted.options.get(n)]
    return reasons


def identity(fingerprint: Fingerprint, root: str) -> str:
    """The digest of what a part must be: its fingerprint, and the root of its input."""
    return sha256(json.dumps([root, fingerprint.model_dump(mode="json")], sort_keys=True).encode())


def part_version(receipt: Receipt, etag: str | None, rejects_etag: str | None) -> PartVersion | None:
    """What the next run must know of a part to keep it unread; None if one of its files has no ETag."""
    if etag is None or (receipt.rejects is not None and rejects_etag is None):
        return None
    return PartVersion(
        etag=etag,
        rejects_etag=rejects_etag,
        identity=identity(receipt.fingerprint, receipt.root),
        made_with=json.dumps(receipt.made_with, sort_keys=True),
    )


def input_content(mark: Fingerprint) -> tuple[str, int, int, str | None]:
    """What identifies the content of the input."""
    return mark.source, mark.size, mark.mtime_ns, mark.etag


def file_digest(path: Path) -> str:
    """The sha256 of a file, read in chunks. Raises OSError, also for what is not a regular file."""
    require_plain(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Whether every page of a Parquet file matches its checksum."""
    try:
        with ParquetSource(path, name=path.name) as source:
            for _ in source.read_batches():
                pass
    except PartitionError:
        return False
    return True


def _checksum(receipt: Receipt) -> str:
    content = receipt.model_copy(update={"checksum": None}).model_dump_json()
    return sha256(content.encode())


def expected_name(receipt: Receipt) -> str:
    """The name that the part with this receipt must have."""
    several = not (receipt.split == 0 and receipt.last)
    return part_name(receipt.fingerprint.source, receipt.split, several=several)

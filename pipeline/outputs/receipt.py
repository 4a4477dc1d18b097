"""The receipt in a part file's footer: what the part says of itself, and whether that can be believed. Knows nothing of
how it was made.

Page checksums do not cover a Parquet footer, so the receipt carries a checksum over itself.
"""

import hashlib
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ...schemas.run import Fingerprint, Receipt
from ..errors import PartitionError
from ..parquet.file import ParquetSource
from ..storage.plain_files import require_plain
from .naming import part_name

KEY = b"scoreline.receipt"
CHUNK_BYTES = 1 << 20


def sealed(receipt: Receipt) -> Receipt:
    """The receipt with its checksum over everything else it says."""
    return receipt.model_copy(update={"checksum": _checksum(receipt)})


def footer_metadata(receipt: Receipt) -> dict[str, str]:
    """The key-value metadata that carries a receipt."""
    return {KEY.decode(): receipt.model_dump_json()}


def read_receipt(path: Path) -> Receipt | Literal["missing", "foreign", "torn"]:
    """What a `.parquet` of the output says of itself: `foreign` without a receipt of ours, `torn` where it has no
    readable footer, or a receipt that is not what was written."""
    try:
        require_plain(path)
        with pa.OSFile(str(path)) as file:  # a third faster than by its name, where there are ten thousand
            footer = pq.ParquetFile(file).metadata
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


def differences(found: Fingerprint, wanted: Fingerprint) -> list[str]:
    """Why a part is not the one that is wanted, in words."""
    reasons = []
    if (found.source, found.size, found.mtime_ns) != (wanted.source, wanted.size, wanted.mtime_ns):
        reasons.append("input changed")
    if found.bundle != wanted.bundle:
        reasons.append("model changed")
    names = sorted(found.options.keys() | wanted.options.keys())
    reasons += [f"option {n} changed" for n in names if found.options.get(n) != wanted.options.get(n)]
    return reasons


def file_digest(path: Path) -> str:
    """sha256 of a file, read through a small window. Raises OSError, also for what is no regular file."""
    require_plain(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Whether every page of a Parquet file has the checksum it was written with."""
    try:
        with ParquetSource(path, name=path.name) as source:
            for _ in source.read_batches():
                pass
    except PartitionError:
        return False
    return True


def _checksum(receipt: Receipt) -> str:
    said = receipt.model_copy(update={"checksum": None}).model_dump_json()
    return "sha256:" + hashlib.sha256(said.encode()).hexdigest()


def home_of(receipt: Receipt) -> str:
    """The name of the part that a receipt is of."""
    several = not (receipt.split == 0 and receipt.last)
    return part_name(receipt.fingerprint.source, receipt.split, several=several)

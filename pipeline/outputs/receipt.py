"""The receipt in a part file's footer: what the part says of itself. Knows nothing of how it was made."""

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ...schemas.run import Receipt

KEY = b"scoreline.receipt"


def footer_metadata(receipt: Receipt) -> dict[str, str]:
    """The key-value metadata that carries a receipt."""
    return {KEY.decode(): receipt.model_dump_json()}


def read_receipt(path: Path) -> Receipt | Literal["foreign", "torn"]:
    """What a `.parquet` of the output says of itself: `foreign` without a receipt of ours, `torn` where it
    has no readable footer."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return "torn"
    try:
        return Receipt.model_validate_json(metadata[KEY])
    except (KeyError, ValidationError):
        return "foreign"

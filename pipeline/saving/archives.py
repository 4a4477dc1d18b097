"""Zip archives from users (`.npz`, `.pt`, `.skops`): decompression bombs are refused before they are unpacked. Imports
nothing from this package except its errors.
"""

import io
import zipfile

from ..errors import BundleError, one_line

#: An archive may unpack to this many bytes, or this many times its own size, whichever is more. torch and numpy
#: store without compression; compressed weights and scalers measured 1 to 15 times.
MIN_LIMIT_BYTES, MAX_RATIO = 64 << 20, 20


def refuse_bomb(data: bytes, name: str) -> None:
    """Raise BundleError for an archive whose entries together unpack to more than the limit; other data passes. Entries
    that share compressed bytes are counted separately, and readers stop at the size that an entry claims."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # wrong sizes, offsets and names in the directory have no common base class
        raise BundleError(f"{name} is a broken zip archive: {one_line(error)}") from error
    limit = max(MIN_LIMIT_BYTES, MAX_RATIO * len(data))
    if claimed > limit:
        raise BundleError(
            f"{name} has {len(data):,} bytes and unpacks to {claimed:,}, above the limit of {limit:,} ({MAX_RATIO}"
            " times its size); save it again without compression"
        )

"""Zip archives that were handed in (`.npz`, `.pt`, `.skops`): refused before they are unpacked where they claim far
more than they hold. Imports nothing of this package but its errors.
"""

import io
import zipfile

from ..errors import BundleError, one_line

#: An archive may unpack to this many bytes, or to this many times its own size, whichever is more. torch and numpy
#: store without compression; compressed weights and scalers measured 1 to 15 times.
ALWAYS_BYTES, MOST_TIMES = 64 << 20, 20


def refuse_bomb(data: bytes, name: str) -> None:
    """Raise BundleError for an archive whose entries together unpack to more than the limit; what is not an archive
    passes. Entries that share compressed bytes count each, and a reader stops at the size that an entry claims."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # a directory that lies: bad sizes, offsets and names have no common base
        raise BundleError(f"{name} is a broken zip archive: {one_line(error)}") from error
    most = max(ALWAYS_BYTES, MOST_TIMES * len(data))
    if claimed > most:
        raise BundleError(
            f"{name} of {len(data):,} bytes unpacks to {claimed:,}, above the limit of {most:,} ({MOST_TIMES} times its"
            " size); save it again without compression"
        )

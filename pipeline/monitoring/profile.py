"""The profile of rows: integer counts in the bins of a reference, which add up in any order to the same numbers, and
their bytes in a part file.

The bytes are a header (a mark, the version, the bytes of a count, the distance between counted rows, the numbers of
counted and of all rows, the digest of the reference), then for each column its smallest and largest number as float64,
then the counts as unsigned integers, all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Counts, Layout

MARK, VERSION = b"SLPF", 1
_HEADER = struct.Struct("<4sHHIQQ32s")
#: The most bytes of a profile, and what is left of them for the columns.
MAX_BYTES = 1 << 16
COLUMNS_BYTES = MAX_BYTES - 1024
#: The bytes of a column besides its bins: the smallest and largest number, nulls, rejected rows; and of each bin.
COLUMN_BYTES, BIN_BYTES = 24, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What was counted of some rows of one file. `counts`: int64, in the order of a `Layout`; `low`, `high`: float64
    `[columns]`, of the counted numbers, infinite where there are none; `sampled`: the number of counted rows; `rows`:
    of all rows; `stride`: the distance between counted rows."""

    counts: Counts
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sampled: int = 0
    rows: int = 0
    stride: int = 1

    @classmethod
    def empty(cls, layout: Layout, stride: int = 1) -> Profile:
        """The profile of no rows."""
        columns = len(layout.columns)
        return cls(
            counts=np.zeros(layout.num_counts, dtype=np.int64),
            low=np.full(columns, np.inf),
            high=np.full(columns, -np.inf),
            stride=stride,
        )

    def __add__(self, other: Profile) -> Profile:
        """The profile of both, which are rows of the same file, counted at the same distance."""
        assert self.stride == other.stride, "others are left out"
        return Profile(
            counts=self.counts + other.counts,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            sampled=self.sampled + other.sampled,
            rows=self.rows + other.rows,
            stride=self.stride,
        )


def encode_profile(profile: Profile, layout: Layout) -> bytes:
    """The bytes of a profile, at most `MAX_BYTES` for a reference made by `monitoring/reference.py`."""
    width = 2 if profile.counts.max(initial=0) < 1 << 16 else 4
    header = _HEADER.pack(
        MARK, VERSION, width, profile.stride, profile.sampled, profile.rows, _raw_digest(layout)
    )  # fmt: skip
    numbers = np.stack([profile.low, profile.high]).astype("<f8").tobytes()
    return header + numbers + profile.counts.astype(f"<u{width}").tobytes()


def decode_profile(data: bytes, layout: Layout) -> Profile:
    """Read the bytes of a profile.

    Raises:
        ValueError: they are not a profile in this layout.
    """
    if len(data) < _HEADER.size:
        raise ValueError("it is too short")
    mark, version, width, stride, sampled, rows, digest = _HEADER.unpack_from(data)
    if (mark, version) != (MARK, VERSION) or width not in (2, 4):
        raise ValueError("it is not a profile of this version")
    if digest != _raw_digest(layout):
        raise ValueError("it was made with another reference")
    columns = len(layout.columns)
    if len(data) != _HEADER.size + 16 * columns + width * layout.num_counts:
        raise ValueError("it has another length than its reference")
    low, high = np.frombuffer(data, "<f8", 2 * columns, _HEADER.size).reshape(2, columns)
    counts = np.frombuffer(data, f"<u{width}", layout.num_counts, _HEADER.size + 16 * columns)
    return Profile(
        counts=counts.astype(np.int64), low=low, high=high, sampled=sampled, rows=rows, stride=max(1, stride)
    )


def _raw_digest(layout: Layout) -> bytes:
    return bytes.fromhex(layout.digest.removeprefix("sha256:"))

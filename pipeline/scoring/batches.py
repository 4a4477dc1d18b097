"""The records that stages pass on after the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from torch import Tensor

from ..records import FeatureBatch, Reject, RowCounts, Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class RawBatch:
    """Raw model outputs of the rows that passed: `heads[name]`, `[rows, members × width]` (for sequences: of each
    step), on the CPU.

    `failed`: the other rows, error message by position among the rows that were run. `retried`: error messages of rows
    that failed as a batch but passed in smaller pieces. `device_s`: seconds by stage, where the device has its own
    clock or padding takes a part of the time."""

    heads: Mapping[str, Tensor | Sequences]
    failed: Mapping[int, str] = field(default_factory=dict)
    retried: tuple[str, ...] = ()
    device_s: Mapping[str, float] = field(default_factory=dict)

    def kept(self, features: FeatureBatch) -> np.ndarray | None:
        """Positions of the rows of `heads` in the batch as read; None if they are all of its rows."""
        return np.delete(kept_positions(features), list(self.failed)) if self.failed else features.kept

    def rejects(self, features: FeatureBatch) -> tuple[Reject, ...]:
        """The rows that the model failed on."""
        if not self.failed:
            return ()
        indices = np.array(sorted(self.failed), dtype=np.int64)
        reasons = tuple(self.failed[index] for index in indices.tolist())
        return (Reject(positions=kept_positions(features)[indices], stage="forward", column="", reasons=reasons),)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedBatch:
    """Columns of the scored rows, the positions of those rows in `batch` (None: all), and every reject so far.
    `out_of_bounds`, `above_threshold`: bool, of the rows before rejects of decoding."""

    batch: pa.RecordBatch
    columns: tuple[pa.Array, ...]
    kept: np.ndarray | None
    rejects: tuple[Reject, ...]
    out_of_bounds: np.ndarray
    above_threshold: np.ndarray
    counts: RowCounts = field(default_factory=RowCounts)

    @property
    def num_rows(self) -> int:
        """The number of scored rows."""
        return self.batch.num_rows if self.kept is None else len(self.kept)


def kept_positions(features: FeatureBatch) -> np.ndarray:
    """Positions, in the batch as read, of the rows to score."""
    return positions_or_all(features.kept, features.num_kept)


def positions_or_all(positions: np.ndarray | None, rows: int) -> np.ndarray:
    """The positions, or those of all rows if None."""
    return np.arange(rows, dtype=np.int64) if positions is None else positions

"""What stages hand on after the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from torch import Tensor

from ..records import FeatureBatch, Reject, Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class RawBatch:
    """What the model gives: `heads[name]`, `[rows, members × width]`, or so of each step, on the CPU, of the rows that
    went through.
    `failed`: the places of the others among the rows it was given, with what it said. `retried`: what it said of rows
    that failed together, and not alone. `device_s`: the seconds of each stage, where the device has a clock of its own,
    or padding a share in them."""

    heads: Mapping[str, Tensor | Sequences]
    failed: Mapping[int, str] = field(default_factory=dict)
    retried: tuple[str, ...] = ()
    device_s: Mapping[str, float] = field(default_factory=dict)

    def kept(self, features: FeatureBatch) -> np.ndarray | None:
        """Where the rows of `heads` stand in the batch as read; None where all of them are there."""
        return np.delete(kept_positions(features), list(self.failed)) if self.failed else features.kept

    def rejects(self, features: FeatureBatch) -> tuple[Reject, ...]:
        """The rows that did not go through."""
        if not self.failed:
            return ()
        places = np.array(sorted(self.failed), dtype=np.int64)
        reasons = tuple(self.failed[place] for place in places.tolist())
        return (Reject(positions=kept_positions(features)[places], stage="forward", column="", reasons=reasons),)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedBatch:
    """Columns of the rows that were scored, the places of those rows in `batch`, and every reject so far."""

    batch: pa.RecordBatch
    columns: tuple[pa.Array, ...]
    kept: np.ndarray | None
    rejects: tuple[Reject, ...]
    out_of_bounds: int = 0

    @property
    def num_rows(self) -> int:
        """How many rows were scored."""
        return self.batch.num_rows if self.kept is None else len(self.kept)


def kept_positions(features: FeatureBatch) -> np.ndarray:
    """Where the rows that are to be scored stand in the batch as read."""
    return positions_or_all(features.kept, features.num_kept)


def positions_or_all(places: np.ndarray | None, rows: int) -> np.ndarray:
    return np.arange(rows, dtype=np.int64) if places is None else places

"""dedupe: feature rows of a split that are bitwise equal are scored once.

The reader finds repeated rows, block by block and in order, so which rows are scored, and in which batch, depends on
the rows alone. Lanes fill in the model's outputs, each waiting for the blocks before it. Rows are looked up by a hash
(multilinear, as in Lemire and Kaser 2014) and then compared, so collisions do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Condition
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoppedError
from ...events import Event, Level
from ...records import dense
from .forward import Forward
from .stage import Stage

if TYPE_CHECKING:
    from ...timing import StageTimes
    from ..block import Block

#: Bytes of features that are remembered for a split; once full, new rows are only compared within their own block.
MAX_BYTES = 64 << 20
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeats:
    """`fresh`: indices in the block of the rows to score, `[new]`; `entries`: the entry in the split's table of every
    row of the block, `[rows]`; `start`: the entry of the first fresh row."""

    table: SplitTable
    fresh: Ints
    entries: Ints
    start: int


class RowsDeduplicated(Event):
    """Repeated rows were scored once."""

    name: ClassVar[str] = "rows_deduplicated"
    #: Fraction of rows that repeated an earlier row and were not scored.
    hit_rate: float
    #: Seconds spent finding repeats, and an estimate of the seconds that scoring them would have taken.
    spent_s: float
    saved_s: float


class DedupeTooSlow(Event):
    """Finding repeated rows took longer than scoring them would have."""

    name: ClassVar[str] = "dedupe_too_slow"
    level: ClassVar[Level] = "warning"
    spent_s: float
    saved_s: float
    reason: str = "finding repeated rows took longer than scoring them would have: leave --dedupe out"


class FindRepeats(Stage):
    """`features` → `repeats`, in the thread that reads, split by split."""

    name = "dedupe"

    def __init__(self) -> None:
        self._split = -1
        self._table = SplitTable()

    def __call__(self, block: Block) -> Block:
        features = block.need_features()
        if block.split != self._split:
            self._split, self._table = block.split, SplitTable()
        if not features.num_kept:
            return replace(block, num_rows=0, num_bytes=0)
        repeats = self._table.find(dense(features.inputs))
        return replace(block, repeats=repeats, num_rows=features.num_kept, num_bytes=0)

    def summary(self, times: StageTimes) -> Iterator[Event]:
        """The share of rows that were not scored again, with a warning if finding them cost more than it saved."""
        if not times[self.name].rows:
            return
        rows, scored, spent = times[self.name].rows, times["forward"].rows, times[self.name].busy_s
        saved = times["forward"].busy_s / max(1, scored) * (rows - scored)
        yield RowsDeduplicated(hit_rate=round(1 - scored / rows, 4), spent_s=round(spent, 3), saved_s=round(saved, 3))
        if saved <= spent:
            yield DedupeTooSlow(spent_s=round(spent, 3), saved_s=round(saved, 3))


class ForwardFresh(Stage):
    """Runs the forward pass on the fresh rows of a block, and fills in the outputs of all its rows.

    The wait for earlier blocks is not counted as time of the forward pass.
    """

    name = Forward.name

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def __call__(self, block: Block) -> Block:
        repeats, start = block.repeats, perf_counter()
        if repeats is None:
            return self._forward(block)
        block = self._forward.run(block, repeats.fresh)
        device_s = dict(block.device_s) or {self.name: perf_counter() - start}
        raw = block.need_raw()
        heads, failed = repeats.table.fill(repeats, dense(raw.heads), raw.failed)
        filled = replace(raw, heads=dict(heads) or raw.heads, failed=failed)
        return replace(block, raw=filled, device_s=device_s)


class SplitTable:
    """The rows of one split seen so far, and the model's outputs for them. `find` is called only by the thread that
    reads the split; `fill` may be called by any thread."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._multipliers: NDArray[np.uint64] | None = None
        self._hashes = np.empty(0, dtype=np.uint64)  # sorted
        self._entries, self._slots = np.empty((2, 0), dtype=np.int64)  # of the same rows
        self._features: list[NDArray[np.generic]] = []  # by input, [columns, remembered]
        self._remembered = 0
        self._next = 0
        self._changed = Condition()
        self._outputs: dict[str, list[Tensor]] = {}
        self._failed: dict[int, str] = {}
        self._filled = self._missing = 0
        self._broken = False

    def find(self, inputs: Mapping[str, Tensor]) -> Repeats:
        """Find which rows of the next block, `[rows, columns]` each, repeat earlier ones, and which to score."""
        columns = [np.ascontiguousarray(tensor.T.numpy()) for tensor in inputs.values()]
        rows = columns[0].shape[1]
        hashes = self._hashed(columns)
        unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        leader = first[inverse]  # the first row of the block with the same hash
        entries = np.full(rows, -1, dtype=np.int64)
        at = np.searchsorted(self._hashes, unique)
        known = at < len(self._hashes)
        known[known] = self._hashes[at[known]] == unique[known]
        candidates = np.full(len(unique), -1, dtype=np.int64)
        candidates[known] = at[known]
        kept = candidates[inverse]
        seen = np.flatnonzero(kept >= 0)
        same = self._equals_remembered(columns, seen, kept[seen])
        entries[seen[same]] = self._entries[kept[seen[same]]]
        new = entries < 0
        follows = new & (leader != np.arange(rows)) & new[leader]
        equal = np.zeros(rows, dtype=np.bool_)
        indices = np.flatnonzero(follows)
        equal[indices] = np.logical_and.reduce(
            [(bits[:, indices] == bits[:, leader[indices]]).all(axis=0) for bits in _bits(columns)]
        )
        fresh = np.flatnonzero(new & ~equal)
        start = self._next
        entries[fresh] = np.arange(start, start + len(fresh))
        repeated = np.flatnonzero(equal)
        entries[repeated] = entries[leader[repeated]]
        self._next += len(fresh)
        self._remember(columns, hashes, fresh, entries)
        return Repeats(table=self, fresh=fresh, entries=entries, start=start)

    def fill(
        self, repeats: Repeats, heads: Mapping[str, Tensor], failed: Mapping[int, str]
    ) -> tuple[dict[str, Tensor], dict[int, str]]:
        """Store the model's outputs for the fresh rows of a block, and look up the outputs of all its rows.

        Args:
            heads: `[new without failed, width]` each.
            failed: error messages, by position among the fresh rows.

        Returns:
            The same for the block: outputs of the rows that passed, and error messages by position in the block.

        Raises:
            StoppedError: an earlier block has failed.
        """
        fresh = len(repeats.fresh)
        with self._changed:
            while self._filled < repeats.start and not self._broken:
                self._changed.wait()
            if self._broken:
                raise StoppedError("an earlier block has failed")
            if fresh > len(failed):
                self._append(heads, failed, fresh)
            else:
                self._missing += fresh
            self._failed |= {repeats.start + index: reason for index, reason in failed.items()}
            self._filled = max(self._filled, repeats.start + fresh)  # blocks without fresh rows may come late
            self._changed.notify_all()
            reasons = {
                index: self._failed[entry]
                for index, entry in enumerate(repeats.entries.tolist() if self._failed else ())
                if entry in self._failed
            }
            for name, pieces in self._outputs.items():
                if len(pieces) > 1:
                    self._outputs[name] = [torch.cat(pieces)]
            whole = {name: pieces[0] for name, pieces in self._outputs.items()}
        wanted = repeats.entries
        if reasons:
            wanted = wanted[[index not in reasons for index in range(len(wanted))]]
        taken = torch.from_numpy(wanted)
        return {name: values[taken] for name, values in whole.items()}, reasons

    def _append(self, heads: Mapping[str, Tensor], failed: Mapping[int, str], fresh: int) -> None:
        """Append outputs, with zeros for entries without one, which are never looked up."""
        for name, values in heads.items():
            padded = values
            if failed or self._missing:
                padded = torch.zeros((self._missing + fresh, values.shape[1]), dtype=values.dtype)
                good = np.setdiff1d(np.arange(fresh), np.fromiter(failed, dtype=np.int64))
                padded[self._missing + torch.from_numpy(good)] = values
            self._outputs.setdefault(name, []).append(padded)
        self._missing = 0

    def give_up(self) -> None:
        """Wake all waiting blocks: a block has failed and will not be filled in."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def _hashed(self, columns: list[NDArray[np.generic]]) -> NDArray[np.uint64]:
        """The upper halves of two sums of column × odd number."""
        number = sum(len(column) for column in columns)
        if self._multipliers is None:
            self._multipliers = np.random.default_rng(0).integers(1, 1 << 63, (2, number), dtype=np.uint64) * 2 + 1
        sums = np.zeros((2, columns[0].shape[1]), dtype=np.uint64)
        index = 0
        for bits in _bits(columns):
            for column in bits:
                wide = column.astype(np.uint64)
                for half in (0, 1):
                    sums[half] += wide * self._multipliers[half, index]
                index += 1
        return np.asarray((sums[0] >> np.uint64(32) << np.uint64(32)) | (sums[1] >> np.uint64(32)))

    def _equals_remembered(self, columns: list[NDArray[np.generic]], rows: Ints, kept: Ints) -> NDArray[np.bool_]:
        if not len(rows):
            return np.zeros(0, dtype=np.bool_)
        slots = self._slots[kept]
        return np.asarray(
            np.logical_and.reduce(
                [
                    (bits[:, rows] == stored[:, slots]).all(axis=0)
                    for bits, stored in zip(_bits(columns), self._features, strict=True)
                ]
            )
        )

    def _remember(
        self, columns: list[NDArray[np.generic]], hashes: NDArray[np.uint64], fresh: Ints, entries: Ints
    ) -> None:
        """Keep fresh rows for later blocks, one for each hash, as many as there is room for."""
        size = sum(column.shape[0] * column.itemsize for column in columns)
        if not self._features:
            room = max(1, self._max_bytes // size)
            self._features = [np.empty((len(bits), room), dtype=bits.dtype) for bits in _bits(columns)]
        room = self._features[0].shape[1] - self._remembered
        if not room:
            return
        unique, first = np.unique(hashes[fresh], return_index=True)
        at = np.searchsorted(self._hashes, unique)
        known = at < len(self._hashes)
        known[known] = self._hashes[at[known]] == unique[known]
        chosen = np.flatnonzero(~known)
        chosen = chosen[np.sort(np.argsort(first[chosen], kind="stable")[:room])]  # the first rows, by their hashes
        taken, at = fresh[first[chosen]], at[chosen]
        if not len(taken):
            return
        slots = np.arange(self._remembered, self._remembered + len(taken))
        for bits, stored in zip(_bits(columns), self._features, strict=True):
            stored[:, self._remembered : self._remembered + len(taken)] = bits[:, taken]
        self._remembered += len(taken)
        self._hashes = np.insert(self._hashes, at, hashes[taken])
        self._entries = np.insert(self._entries, at, entries[taken])
        self._slots = np.insert(self._slots, at, slots)


def _bits(columns: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """The columns as unsigned integers, so that equality is bitwise, NaN included."""
    return [column.view(np.uint32 if column.itemsize == 4 else np.uint64) for column in columns]

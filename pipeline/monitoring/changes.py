"""How predictions changed, added up over blocks of rows: labels that flipped, changes of numbers as a histogram, the
largest movers, and each input. Independent of files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import frexp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import to_arrow, to_numpy
from ..plain import plain
from ..python_values import python_value
from .aligned_rows import AlignedRows
from .compared_columns import ComparedColumns, LabelColumn

#: Bins of a histogram of changes, symmetric around zero.
NUM_BINS = 64


@dataclass(kw_only=True, slots=True)
class ChangeHistogram:
    """Counts of changes other than zero in `NUM_BINS` equal bins over [-reach, reach). `reach` is the smallest power of
    two above the largest change, so that the counts do not depend on the order of the rows."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_BINS, dtype=np.int64))
    reach: float = 0.0

    def add(self, changes: NDArray[np.float64]) -> None:
        """Add finite changes, `[rows]`, none of which is zero."""
        if not len(changes):
            return
        needed = 2.0 ** min(max(frexp(float(np.abs(changes).max()))[1], -1000), 1023)
        self.reach = self.reach or needed
        while self.reach < needed:
            self._widen()
        bins = np.floor(changes * (NUM_BINS // 2 / self.reach)).astype(np.int64) + NUM_BINS // 2
        self.counts += np.bincount(np.clip(bins, 0, NUM_BINS - 1), minlength=NUM_BINS)

    def _widen(self) -> None:
        """Double the reach: pairs of bins become one."""
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.concatenate(
            [np.zeros(NUM_BINS // 4, dtype=np.int64), pairs, np.zeros(NUM_BINS // 4, np.int64)]
        )
        self.reach *= 2


@dataclass(kw_only=True, slots=True)
class NumberChange:
    """The changes of one column, second minus first, in `rows` where both outputs have a number. `unchanged`: rows with
    equal numbers."""

    name: str
    rows: int = 0
    unchanged: int = 0
    total: float = 0.0
    total_absolute: float = 0.0
    largest: float = 0.0
    histogram: ChangeHistogram = field(default_factory=ChangeHistogram)

    @property
    def mean(self) -> float:
        """The mean change."""
        return self.total / max(1, self.rows)

    @property
    def mean_absolute(self) -> float:
        """The mean of the absolute changes."""
        return self.total_absolute / max(1, self.rows)

    def add(self, changes: NDArray[np.float64], absolute: NDArray[np.float64]) -> None:
        """Add changes, `[rows]`, and their absolute values."""
        self.rows += len(changes)
        self.total += float(changes.sum())
        self.total_absolute += float(absolute.sum())
        largest = int(absolute.argmax()) if len(changes) else 0
        if len(changes) and absolute[largest] > abs(self.largest):
            self.largest = float(changes[largest])
        moved = changes[changes != 0]
        self.unchanged += len(changes) - len(moved)
        self.histogram.add(moved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mover:
    """A row whose numbers changed most. `where`: its row number or key. `change`: that of `column`, whose change is the
    largest of the row; `before`, `after`: the labels, if there are any."""

    source: str
    where: Any
    column: str
    first: float
    second: float
    before: str | None
    after: str | None

    @property
    def change(self) -> float:
        """Second minus first."""
        return self.second - self.first


@dataclass(kw_only=True, slots=True)
class SourceChange:
    """The changes in the rows of one input. `total`: the sum over its rows of their largest absolute changes."""

    rows: int = 0
    flipped: int = 0
    total: float = 0.0


@dataclass(kw_only=True, slots=True)
class Changes:
    """All changes between two outputs. `flipped`: rows with another label. `pairs`: how many rows have each pair of
    labels, first and second, by column of labels; only columns with one label a row have pairs."""

    columns: ComparedColumns
    num_movers: int
    rows: int = 0
    flipped: int = 0
    pairs: dict[str, Counter[tuple[Any, Any]]] = field(default_factory=dict)
    numbers: list[NumberChange] = field(default_factory=list)
    movers: list[Mover] = field(default_factory=list)
    by_source: dict[str, SourceChange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pairs = {column.name: Counter() for column in self.columns.labels if column.labels is not None}
        self.numbers = [NumberChange(name=column.name) for column in self.columns.numbers]

    def add(self, block: AlignedRows) -> None:
        """Add a block of rows."""
        rows = block.first.num_rows
        flipped = np.zeros(rows, dtype=np.bool_)
        for column in self.columns.labels:
            flipped |= self._add_labels(column, block)
        moved = self._add_numbers(block)
        source = self.by_source.setdefault(block.source, SourceChange())
        source.rows += rows
        source.flipped += int(flipped.sum())
        source.total += float(moved.sum())
        self.rows += rows
        self.flipped += int(flipped.sum())

    def _add_labels(self, column: LabelColumn, block: AlignedRows) -> NDArray[np.bool_]:
        """Which rows have another label."""
        one, other = block.first.column(column.first), block.second.column(column.second)
        if column.labels is None:
            return _other_lists(one, other)
        ours, theirs = _indices(one, column.labels), _indices(other, column.labels)
        number = len(column.labels)
        codes, counts = _counted(ours * number + theirs, number * number)
        names = column.labels.to_pylist()
        self.pairs[column.name].update(
            {(names[code // number], names[code % number]): count for code, count in zip(codes, counts, strict=True)}
        )
        return np.asarray(ours != theirs)

    def _add_numbers(self, block: AlignedRows) -> NDArray[np.float64]:
        """The largest absolute change of each row."""
        moved = np.zeros(block.first.num_rows)
        for number, column in zip(self.numbers, self.columns.numbers, strict=True):
            changes = _values(block.second, column.second, column.in_second)
            changes -= _values(block.first, column.first, column.in_first)
            absolute = np.abs(changes)
            finite = np.isfinite(absolute)
            if finite.all():
                number.add(changes, absolute)
                np.maximum(moved, absolute, out=moved)
            else:  # null in one of the outputs
                number.add(changes[finite], absolute[finite])
                moved[finite] = np.maximum(moved[finite], absolute[finite])
        self._add_movers(block, moved)
        return moved

    def _add_movers(self, block: AlignedRows, moved: NDArray[np.float64]) -> None:
        """Keep the rows that moved most, earlier ones first among equals."""
        if not self.num_movers or not len(moved):
            return
        least = abs(self.movers[-1].change) if len(self.movers) == self.num_movers else 0.0
        where = np.flatnonzero(moved > least)
        if len(where) > self.num_movers:  # sort only those that may stay
            bound = np.partition(moved[where], -self.num_movers)[-self.num_movers]
            where = where[moved[where] >= bound]
        best = where[np.argsort(-moved[where], kind="stable")][: self.num_movers]
        self.movers += [self._mover(block, int(row)) for row in best]
        self.movers.sort(key=lambda mover: -abs(mover.change))
        del self.movers[self.num_movers :]

    def _mover(self, block: AlignedRows, row: int) -> Mover:
        one, other = block.first.slice(row, 1), block.second.slice(row, 1)
        pairs = [
            (float(_values(one, c.first, c.in_first)[0]), float(_values(other, c.second, c.in_second)[0]))
            for c in self.columns.numbers
        ]
        at = int(np.nanargmax([abs(second - first) for first, second in pairs]))
        labels = [c for c in self.columns.labels if c.labels is not None]
        place = block.where[row]
        return Mover(
            source=block.source,
            where=python_value(place) if isinstance(place, pa.Scalar) else int(place),
            column=self.columns.numbers[at].name,
            first=pairs[at][0],
            second=pairs[at][1],
            before=_label(one, [column.first for column in labels]),
            after=_label(other, [column.second for column in labels]),
        )


def _label(row: pa.RecordBatch, columns: Sequence[int]) -> str | None:
    """The labels of one row."""
    return ", ".join(str(row.column(column)[0].as_py()) for column in columns) or None


def _indices(column: pa.Array, labels: pa.Array) -> NDArray[np.int64]:
    """The index of each label."""
    if pa.types.is_dictionary(column.type):
        return np.asarray(_indices(column.dictionary, labels)[to_numpy(column.indices)])
    return np.asarray(to_numpy(pc.index_in(column, value_set=labels))).astype(np.int64)


def _counted(codes: NDArray[np.int64], bound: int) -> tuple[list[int], list[int]]:
    """The codes below `bound` that appear, and how often."""
    if bound <= 1 << 16:
        counts = np.bincount(codes, minlength=bound)
        found = np.flatnonzero(counts)
        return found.tolist(), counts[found].tolist()
    found, counts = np.unique(codes, return_counts=True)
    return found.tolist(), counts.tolist()


def _other_lists(first: pa.Array, second: pa.Array) -> NDArray[np.bool_]:
    """Which rows have another list of labels."""
    one, other = plain(first), plain(second)
    lengths = to_numpy(pc.list_value_length(one).cast(pa.int64()))
    flipped = np.asarray(lengths != to_numpy(pc.list_value_length(other).cast(pa.int64())))
    same = np.flatnonzero(~flipped)
    differs = to_numpy(pc.not_equal(one.take(to_arrow(same)).flatten(), other.take(to_arrow(same)).flatten()))
    flipped[np.repeat(same, lengths[same])[differs]] = True
    return flipped


def _values(rows: pa.RecordBatch, column: int, index: int | None) -> NDArray[np.float64]:
    """The numbers of a column, or those at an index of its lists, as a new float64 array `[rows]`; null is NaN."""
    array = rows.column(column)
    if index is not None:  # all lists have one number for each label
        numbers = to_numpy(array.flatten()).reshape(rows.num_rows, -1)[:, index]
    elif array.null_count:
        numbers = np.full(rows.num_rows, np.nan)
        numbers[to_numpy(array.is_valid())] = to_numpy(array.drop_null())
    else:
        numbers = to_numpy(array)
    return np.array(numbers, dtype=np.float64)

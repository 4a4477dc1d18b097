"""Pieces of a plan: what a worker scores at a time, for about a second. Does not import torch.

A piece is a range of splits of a large file, from the start of a row group where possible, or several small files.
What is scored and published as one is still a split, so the bytes of the parts do not depend on the pieces.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import ClusterError, counted, repeated
from ..planning.plan import PlannedPartition
from ..planning.shard_plan import divide_splits
from ..running.work import split_starts

#: Every worker gets at least this many pieces, so that all end at about the same time.
PIECES_PER_WORKER = 4
#: The cost of a row that is decoded in vain, in rows that are scored by a small model: measured, a quarter.
DECODED_COST = 0.25
#: A row group is divided further only if that shortens the run to less than this share.
GAIN = 0.95
#: The most files of a piece: opening and publishing one takes some ten milliseconds.
MAX_FILES = 64
#: Bytes of a row of a file that does not say how many rows it has.
ROW_BYTES = 100
#: How often a piece may be lost together with its worker.
MAX_LOSSES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some planned inputs, or some of the splits of one. `num_rows`: about how many rows they have to score;
    `rows_before`: of the same row group, which are decoded in vain; `losses`: how often its worker was lost."""

    planned: tuple[PlannedPartition, ...]
    num_rows: int
    rows_before: int = 0
    losses: int = 0

    @property
    def cost(self) -> float:
        """In rows that are scored."""
        return self.num_rows + DECODED_COST * self.rows_before

    def __str__(self) -> str:
        first, others = self.planned[0], len(self.planned) - 1
        if others:
            return f"{first.partition.name!r} and {counted(others, 'other input')}"
        own = first.own
        splits = "" if own is None else f" (splits {own.start} to {own.stop - 1})"
        return f"{first.partition.name!r}{splits}"


def cut_pieces(planned: Iterable[PlannedPartition], *, most_rows: int, num_workers: int) -> list[Piece]:
    """The pieces of a plan, the largest first, so that no worker is left with one at the end.

    A reader that begins in the middle of a row group decodes the rows before in vain. So a row group is divided only
    where the run gets shorter by that, as where it is the only one.

    Args:
        most_rows: of a piece, unless a single row group or a file that cannot be divided has more.
    """
    partitions = [replace(one, partition=replace(one.partition, inode=0)) for one in planned]  # differs between hosts
    total = sum(map(_num_rows, partitions))
    cut = _Cut(min(most_rows, max(1, total // (PIECES_PER_WORKER * num_workers))))
    pieces, in_a_row_group = cut.pieces(partitions, 1), 2
    longest = _longest(pieces, num_workers)
    while in_a_row_group < 2 * num_workers and total / num_workers < GAIN * longest:  # else it cannot get shorter
        more = cut.pieces(partitions, in_a_row_group)
        if len(more) == len(pieces):
            break
        if (shorter := _longest(more, num_workers)) < GAIN * longest:
            pieces, longest = more, shorter
        in_a_row_group *= 2
    return pieces


def _longest(pieces: Sequence[Piece], num_workers: int) -> float:
    """The cost of the worker that ends last, if each takes the next piece as soon as it can."""
    costs = [0.0] * num_workers
    for piece in pieces:
        heapq.heapreplace(costs, costs[0] + piece.cost)
    return max(costs)


class _Cut:
    """Divides plans into pieces of at most so many rows, where possible."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._starts = dict[str, Sequence[int]]()

    def pieces(self, partitions: Iterable[PlannedPartition], in_a_row_group: int) -> list[Piece]:
        """The pieces, the largest first, up to so many for each row group."""
        return sorted(self._pieces(partitions, in_a_row_group), key=lambda piece: -piece.cost)

    def _pieces(self, partitions: Iterable[PlannedPartition], in_a_row_group: int) -> Iterator[Piece]:
        batch, rows = list[PlannedPartition](), 0
        for planned in partitions:
            own_rows = _num_rows(planned)
            if own_rows > self._most_rows and planned.num_splits not in (None, 1):
                yield from self._divided(planned, -(-own_rows // self._most_rows), in_a_row_group)
                continue
            if batch and (rows + own_rows > self._most_rows or len(batch) == MAX_FILES):
                yield Piece(planned=tuple(batch), num_rows=rows)
                batch, rows = [], 0
            batch.append(planned)
            rows += own_rows
        if batch:
            yield Piece(planned=tuple(batch), num_rows=rows)

    def _divided(self, planned: PlannedPartition, wanted: int, in_a_row_group: int) -> Iterator[Piece]:
        """About as many pieces of a file as wanted."""
        assert planned.num_splits is not None, "it is the number of rows that is divided"
        name = planned.partition.name
        if name not in self._starts:
            self._starts[name] = split_starts(planned) or (0,)
        starts = self._starts[name]
        for own in divide_splits(planned.num_splits, starts, min(wanted, len(starts) * in_a_row_group)):
            if any(split not in planned.kept for split in own):
                before = own.start - max(start for start in starts if start <= own.start)
                part = replace(planned, own=own, nothing_scored=planned.nothing_scored and own.start == 0)
                yield Piece(planned=(part,), num_rows=_num_rows(part), rows_before=before * planned.split_rows)


def _num_rows(planned: PlannedPartition) -> int:
    """About how many rows there are to score, at least one."""
    if planned.num_rows is None:
        return 1 + planned.partition.size // ROW_BYTES
    own = range(planned.num_splits or 1) if planned.own is None else planned.own
    kept = sum(split in own for split in planned.kept)
    return max(1, min(planned.num_rows, (len(own) - kept) * planned.split_rows))


class PieceQueue:
    """The pieces that no worker scores at present."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = deque(pieces)
        self._failed = set[str]()

    def take(self) -> Piece | None:
        """The next piece; None if there is none."""
        while self._pieces:
            piece = self._pieces.popleft()
            planned = tuple(one for one in piece.planned if one.partition.name not in self._failed)
            if planned:
                return replace(piece, planned=planned)
        return None

    def leave_out(self, source: str) -> None:
        """An input cannot be read: its other splits are not begun."""
        self._failed.add(source)

    def put_back(self, piece: Piece, reason: str) -> None:
        """A worker was lost while it scored a piece: another will score it again.

        Raises:
            ClusterError: that has happened too often, so the piece itself may be to blame.
        """
        piece = replace(piece, losses=piece.losses + 1)
        if piece.losses == MAX_LOSSES:
            raise ClusterError(
                f"{piece}: workers were lost {repeated(MAX_LOSSES)} while they scored this, at last because {reason};"
                " check the memory of the workers, then run the same command again"
            )
        self._pieces.appendleft(piece)

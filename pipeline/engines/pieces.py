"""Pieces of a plan: what a worker scores at a time, for about a second. Does not import torch.

A piece is a range of splits of a large file, from the start of a row group where possible, or several small files.
What is scored and published as one is still a split, so the bytes of the parts do not depend on the pieces.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import ClusterError, counted, repeated
from ..planning.plan import PlannedPartition
from ..planning.shard_plan import divide_splits
from ..running.work import split_starts

#: Every worker gets at least this many pieces, so that all end at about the same time.
PIECES_PER_WORKER = 4
#: The most files of a piece: opening and publishing one takes some ten milliseconds.
MAX_FILES = 64
#: Bytes of a row of a file that does not say how many rows it has.
ROW_BYTES = 100
#: How often a piece may be lost together with its worker.
MAX_LOSSES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some planned inputs, or some of the splits of one. `num_rows`: about how many rows they have to score;
    `losses`: how often its worker was lost."""

    planned: tuple[PlannedPartition, ...]
    num_rows: int
    losses: int = 0

    def __str__(self) -> str:
        first, others = self.planned[0], len(self.planned) - 1
        if others:
            return f"{first.partition.name!r} and {counted(others, 'other input')}"
        own = first.own
        splits = "" if own is None else f" (splits {own.start} to {own.stop - 1})"
        return f"{first.partition.name!r}{splits}"


def cut_pieces(planned: Iterable[PlannedPartition], *, most_rows: int, num_workers: int) -> list[Piece]:
    """The pieces of a plan, the largest first, so that no worker is left with one at the end.

    Args:
        most_rows: of a piece, unless a single file that cannot be divided has more.
    """
    partitions = [replace(one, partition=replace(one.partition, inode=0)) for one in planned]  # differs between hosts
    total = sum(map(_num_rows, partitions))
    fair = max(1, total // (PIECES_PER_WORKER * num_workers))
    pieces = list(_pieces(partitions, min(most_rows, fair), fair, num_workers))
    return sorted(pieces, key=lambda piece: -piece.num_rows)


def _pieces(partitions: Iterable[PlannedPartition], most_rows: int, fair: int, num_workers: int) -> Iterator[Piece]:
    batch, rows = list[PlannedPartition](), 0
    for planned in partitions:
        own_rows = _num_rows(planned)
        if own_rows > most_rows and planned.num_splits not in (None, 1):
            in_a_row_group = min(num_workers, -(-own_rows // fair))
            for part in _divided(planned, -(-own_rows // most_rows), in_a_row_group):
                yield Piece(planned=(part,), num_rows=_num_rows(part))
            continue
        if batch and (rows + own_rows > most_rows or len(batch) == MAX_FILES):
            yield Piece(planned=tuple(batch), num_rows=rows)
            batch, rows = [], 0
        batch.append(planned)
        rows += own_rows
    if batch:
        yield Piece(planned=tuple(batch), num_rows=rows)


def _divided(planned: PlannedPartition, wanted: int, in_a_row_group: int) -> Iterator[PlannedPartition]:
    """About as many pieces of a file as wanted. Within a row group, a reader decodes the rows before, so there are only
    as many pieces as the workers need to end at about the same time."""
    assert planned.num_splits is not None, "it is the number of rows that is divided"
    starts = split_starts(planned)
    wanted = min(wanted, max(len(starts), in_a_row_group))
    for own in divide_splits(planned.num_splits, starts, wanted):
        if any(split not in planned.kept for split in own):
            yield replace(planned, own=own, nothing_scored=planned.nothing_scored and own.start == 0)


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

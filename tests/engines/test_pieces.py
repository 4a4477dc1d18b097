"""The pieces of a plan: every split in one of them, large files at row groups, many small files together."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.engines.pieces import MAX_FILES, MAX_LOSSES, PieceQueue, cut_pieces
from scoreline.pipeline.errors import ClusterError
from scoreline.pipeline.planning.plan import PlannedPartition
from scoreline.pipeline.records import Partition

COLUMNS: Any = None  # they are not used


def planned(name: str, num_rows: int | None, *, split_rows: int = 10, kept: frozenset[int] = frozenset()) -> Any:
    """A file that does not exist, so that no row groups are known."""
    return PlannedPartition(
        partition=Partition(path=f"/in/{name}", name=name, format="parquet", size=5000, mtime_ns=1, inode=7),
        columns=COLUMNS,
        split_rows=split_rows,
        num_rows=num_rows,
        num_splits=None if num_rows is None else max(1, -(-num_rows // split_rows)),
        kept=kept,
        nothing_scored=not kept,
    )


@st.composite
def plans(draw: st.DrawFn) -> list[PlannedPartition]:
    """Files of some sizes, some of whose splits are kept."""
    plan = []
    for number, rows in enumerate(draw(st.lists(st.none() | st.integers(0, 300), min_size=1, max_size=12))):
        splits = 1 if rows is None else max(1, -(-rows // 10))
        kept = draw(st.frozensets(st.integers(0, splits - 1), max_size=splits - 1))
        plan.append(planned(f"{number}.parquet", rows, kept=kept))
    return plan


@given(plans(), st.integers(1, 200), st.integers(1, 6))
def test_every_split_is_in_one_piece(plan: list[PlannedPartition], most_rows: int, num_workers: int) -> None:
    """Those that are kept may be within a range, but no piece has only these; the first rows of a file are those of its
    first piece."""
    found: dict[str, list[int]] = {}
    pieces = cut_pieces(plan, most_rows=most_rows, num_workers=num_workers)
    for piece in pieces:
        for one in piece.planned:
            assert one.partition.inode == 0
            own = range(one.num_splits or 1) if one.own is None else one.own
            to_score = [split for split in own if split not in one.kept]
            assert to_score
            assert one.nothing_scored == (not one.kept and own.start == 0)
            found.setdefault(one.partition.name, []).extend(to_score)
    assert {name: sorted(splits) for name, splits in found.items()} == {
        one.partition.name: [split for split in range(one.num_splits or 1) if split not in one.kept] for one in plan
    }
    assert [piece.cost for piece in pieces] == sorted((piece.cost for piece in pieces), reverse=True)


def test_a_large_file_is_cut_at_row_groups(tmp_path: Path) -> None:
    """If it has enough of them; otherwise also within one."""
    whole = {}
    for name, group_rows in (("many.parquet", 50), ("one.parquet", 1000)):
        pq.write_table(pa.table({"x": range(1000)}), tmp_path / name, row_group_size=group_rows)
        file = Partition(path=str(tmp_path / name), name=name, format="parquet", size=9000, mtime_ns=1)
        one = PlannedPartition(
            partition=file, columns=COLUMNS, split_rows=10, num_rows=1000, num_splits=100, kept=frozenset(),
            nothing_scored=True,
        )  # fmt: skip
        pieces = cut_pieces([one], most_rows=100, num_workers=2)
        whole[name] = sorted((own.start, own.stop) for piece in pieces if (own := piece.planned[0].own) is not None)
    assert whole == {"many.parquet": [(at, at + 10) for at in range(0, 100, 10)], "one.parquet": [(0, 50), (50, 100)]}


@pytest.mark.parametrize(
    ("num_files", "num_workers", "num_pieces"), [(8, 2, 8), (8, 8, 8), (16, 16, 16), (6, 4, 12), (1, 4, 4), (3, 8, 6)]
)
def test_a_row_group_is_divided_where_the_run_gets_shorter(
    tmp_path: Path, num_files: int, num_workers: int, num_pieces: int
) -> None:
    """Not where all workers have as much to do anyway: the rows before would be decoded in vain."""
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "a.parquet", row_group_size=1000)
    files = [
        PlannedPartition(
            partition=Partition(path=str(tmp_path / "a.parquet"), name=f"{n}", format="parquet", size=9000, mtime_ns=1),
            columns=COLUMNS, split_rows=10, num_rows=1000, num_splits=100, kept=frozenset(), nothing_scored=True,
        )
        for n in range(num_files)
    ]  # fmt: skip
    assert len(cut_pieces(files, most_rows=100, num_workers=num_workers)) == num_pieces


def test_small_files_are_scored_together() -> None:
    """As many as have the rows of a piece, but not more than a fixed number."""
    files = [planned(f"{number:04d}.parquet", 10) for number in range(400)]
    assert {len(piece.planned) for piece in cut_pieces(files, most_rows=200, num_workers=2)} == {20}
    assert max(len(piece.planned) for piece in cut_pieces(files, most_rows=10**6, num_workers=1)) == MAX_FILES
    assert len(cut_pieces(files, most_rows=10**6, num_workers=50)) == 200


def test_a_failed_input_is_left_out() -> None:
    """Of pieces that have not been begun."""
    queue = PieceQueue(cut_pieces([planned("a", 10), planned("b", 10), planned("c", 10)], most_rows=30, num_workers=1))
    queue.leave_out("b")
    names = []
    while (piece := queue.take()) is not None:
        names += [one.partition.name for one in piece.planned]
    assert names == ["a", "c"]


def test_a_piece_that_is_lost_again_and_again() -> None:
    """Ends the run, with its splits and the reason."""
    (piece,) = cut_pieces([planned("a.parquet", 10)], most_rows=30, num_workers=1)
    queue = PieceQueue([piece])
    for _ in range(MAX_LOSSES - 1):
        taken = queue.take()
        assert taken is not None
        queue.put_back(taken, "it was killed")
    taken = queue.take()
    assert taken is not None
    with pytest.raises(ClusterError, match=r"^'a.parquet': workers were lost 3 times .* because it was killed; check"):
        queue.put_back(taken, "it was killed")

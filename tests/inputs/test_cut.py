"""Blocks never cross a split, for any batches, and a split is cut the same way on its own."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.inputs.cut import SplitRange, cut
from scoreline.pipeline.records import ReadBlock, ReadRows, Split


def batches(sizes: list[int], unreadable: set[int], first_row: int = 0) -> list[ReadRows]:
    """Rows that contain their own number, from `first_row` on."""
    found, start = [], 0
    for size in sizes:
        batch = pa.record_batch([pa.array(range(start, start + size), pa.int64())], names=["row"])
        here = {row - start: f"bad {row}" for row in sorted(unreadable) if start <= row < start + size}
        found.append(ReadRows(batch=batch, unreadable=here))
        start += size
    whole = pa.Table.from_batches([one.batch for one in found]) if found else None
    if not first_row or whole is None:
        return found
    rest = whole.slice(first_row).combine_chunks().to_batches()
    bad = {row - first_row: f"bad {row}" for row in sorted(unreadable) if row >= first_row}
    return [ReadRows(batch=batch, unreadable=bad) for batch in rest]


numbers = st.lists(st.integers(0, 25), max_size=10)


@given(
    numbers,
    st.integers(1, 12),
    st.integers(1, 30),
    st.sets(st.integers(0, 249)),
    st.sets(st.integers(0, 9)),
    st.booleans(),
)
def test_every_row_is_in_its_split_once(
    sizes: list[int], block_rows: int, split_rows: int, bad: set[int], kept: set[int], known: bool
) -> None:
    """Checks order, sizes, positions of unreadable rows, and skipped splits."""
    total = sum(sizes)
    bad = {row for row in bad if row < total}
    num_splits = max(1, -(-total // split_rows))
    kept = {split for split in kept if split < num_splits}
    pieces = list(
        cut(
            batches(sizes, bad),
            SplitRange(stop=num_splits if known else None, kept=kept),
            block_rows=block_rows,
            split_rows=split_rows,
            num_splits=num_splits if known else None,
        )
    )
    splits = [piece for piece in pieces if isinstance(piece, Split)]
    assert [split.index for split in splits] == [n for n in range(num_splits) if n not in kept]
    assert all(split.last == (split.index == num_splits - 1) for split in splits)
    for split in splits:
        mine = [piece for piece in pieces if isinstance(piece, ReadBlock) and piece.split == split.index]
        rows = [row for block in mine for row in block.batch["row"].to_pylist()]
        assert rows == list(range(total))[split.index * split_rows : (split.index + 1) * split_rows]
        assert (split.first_row, split.num_rows) == (split.index * split_rows, len(rows))
        assert all(block.batch.num_rows == block_rows for block in mine[:-1])
        assert [block.first_row for block in mine] == [block.batch["row"][0].as_py() for block in mine]
        reasons = {
            block.first_row + position: reason for block in mine for position, reason in block.unreadable.items()
        }
        assert reasons == {row: f"bad {row}" for row in rows if row in bad}
        assert pieces.index(split) > max((pieces.index(block) for block in mine), default=-1)


@given(numbers, st.integers(1, 12), st.integers(1, 30), st.sets(st.integers(0, 249)), st.integers(0, 9))
def test_a_split_is_cut_the_same_way_on_its_own(
    sizes: list[int], block_rows: int, split_rows: int, bad: set[int], begin: int
) -> None:
    """As in a resumed run, which begins at the first row of a split."""
    total = sum(sizes)
    num_splits = max(1, -(-total // split_rows))
    begin = min(begin, num_splits - 1)
    whole = list(cut(batches(sizes, bad), block_rows=block_rows, split_rows=split_rows))
    first_row = begin * split_rows
    alone = list(
        cut(
            batches(sizes, bad, first_row),
            SplitRange(begin, begin + 1),
            block_rows=block_rows,
            split_rows=split_rows,
            num_splits=num_splits,
        )
    )
    assert alone == [piece for piece in whole if (piece.index if isinstance(piece, Split) else piece.split) == begin]


@given(
    numbers,
    st.integers(1, 12),
    st.integers(1, 30),
    st.sets(st.integers(0, 9)),
    st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 20))), max_size=6),
)
def test_splits_that_others_take_over(
    sizes: list[int], block_rows: int, split_rows: int, kept: set[int], taken: list[tuple[int, set[int]]]
) -> None:
    """While a range is read, its later half is split off again and again: every split is read once, in some range, and
    each range ends where the next one begins."""
    total = sum(sizes)
    num_splits = max(1, -(-total // split_rows))
    whole = list(cut(batches(sizes, set()), SplitRange(0, num_splits, kept), block_rows=block_rows,
                     split_rows=split_rows, num_splits=num_splits))  # fmt: skip
    ranges, pieces = [SplitRange(0, num_splits, kept)], []
    for one in ranges:
        rows = batches(sizes, set(), one.start * split_rows)
        read = cut(rows, one, block_rows=block_rows, split_rows=split_rows, num_splits=num_splits)
        for number, piece in enumerate(read):
            pieces.append(piece)
            for at, starts in taken:
                if at == number and (later := one.split_off(sorted(starts))) is not None:
                    assert later.start in starts - kept
                    ranges.append(later)
    assert sorted(pieces, key=lambda p: p.index if isinstance(p, Split) else p.split) == whole


def test_a_range_that_ends_early() -> None:
    """Splits from one on are left out: the current one is still read, later ones are not."""
    one = SplitRange(0, 5)
    assert one.take(0)
    one.end_before(2)
    assert (one.current, one.num_left(), one.take(1), one.take(2), one.ends_at(2)) == (0, 1, True, False, True)

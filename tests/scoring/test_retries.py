"""Blocks that pass only in pieces: one report for each kind of message, and the totals."""

import pytest
from scoreline.pipeline.scoring.retries import Retried, Retries, retry_reason, warn_retried


def test_the_first_block_of_each_kind_is_reported() -> None:
    """Messages that differ only in numbers are of one kind."""
    reported: list[Retried] = []
    retries = Retries(reported.append)
    retries.add(["size 64 is not 32"], source="a.parquet", first_row=0, rows=64)
    retries.add(["size 100 is not 32"], source="a.parquet", first_row=64, rows=100)
    retries.add(["out of range"], source="b.parquet", first_row=0, rows=10)
    assert [(one.source, one.first_row, one.last_row, one.reason) for one in reported] == [
        ("a.parquet", 0, 63, "size 64 is not 32"), ("b.parquet", 0, 9, "out of range"),
    ]  # fmt: skip
    assert [(kind, one.blocks, one.rows) for kind, one in retries.kinds.items()] == [
        ("size # is not #", 2, 164), ("out of range", 1, 10),
    ]  # fmt: skip


def test_a_block_counts_once_for_each_kind() -> None:
    """However many of its pieces failed in this way."""
    retries = Retries([].append)
    retries.add(["size 8", "size 4", "other"], source="a", first_row=0, rows=8)
    assert {kind: one.blocks for kind, one in retries.kinds.items()} == {"size #": 1, "other": 1}


def test_blocks_that_pass_are_not_counted() -> None:
    """They have no reasons."""
    retries = Retries([].append)
    retries.add((), source="a", first_row=0, rows=8)
    assert not retries.kinds


def test_the_warning() -> None:
    """Names the source, the rows and the reason, in one line."""
    one = Retried(source="a.parquet", first_row=128, last_row=255, reason="size 128")
    with pytest.warns(RuntimeWarning) as caught:
        warn_retried(one)
    assert str(caught[0].message) == f"a.parquet: rows 128 to 255: {retry_reason(one)}"
    assert retry_reason(one) == "the model fails on these rows together and passes in pieces, which is slow: size 128"


def test_what_was_counted_elsewhere() -> None:
    """A kind that is known is only counted; others are reported."""
    reported: list[Retried] = []
    retries = Retries(reported.append)
    retries.add(["size 64"], source="a", first_row=0, rows=64)
    other = Retries([].append)
    other.add(["size 32", "out of range"], source="b", first_row=0, rows=32)
    retries.add_kinds(other.kinds)
    assert [(kind, one.blocks, one.rows) for kind, one in retries.kinds.items()] == [
        ("size #", 2, 96), ("out of range", 1, 32),
    ]  # fmt: skip
    assert [one.reason for one in reported] == ["size 64", "out of range"]

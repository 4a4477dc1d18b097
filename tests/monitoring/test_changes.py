"""Histograms of changes do not depend on the order of rows; lists of labels are compared as a whole."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.aligned_rows import AlignedRows
from scoreline.pipeline.monitoring.changes import ChangeHistogram, Changes
from scoreline.pipeline.monitoring.compared_columns import ComparedColumns, LabelColumn, NumberColumn

CHANGES = st.floats(-1e100, 1e100).filter(lambda change: abs(change) > 1e-100)


@settings(max_examples=25)
@given(st.lists(st.lists(CHANGES, max_size=8), min_size=1, max_size=8))
def test_a_histogram_of_blocks(blocks: list[list[float]]) -> None:
    """The same as of all changes at once; the reach is the smallest power of two above the largest."""
    whole, added = ChangeHistogram(), ChangeHistogram()
    flat = [change for block in blocks for change in block]
    whole.add(np.array(flat))
    for block in blocks:
        added.add(np.array(block))
    assert added.reach == whole.reach
    assert added.counts.tolist() == whole.counts.tolist()
    assert added.counts.sum() == len(flat)
    largest = max(map(abs, flat), default=0.0)
    assert largest < added.reach or not flat
    assert added.reach / 2 <= largest


def block(first: dict[str, pa.Array], second: dict[str, pa.Array]) -> AlignedRows:
    """Rows of one input."""
    rows = np.arange(len(next(iter(first.values()))))
    return AlignedRows(source="x", where=rows, first=pa.record_batch(first), second=pa.record_batch(second))


def test_lists_of_labels() -> None:
    """A row has flipped if any label of it, or their number, is another one."""
    columns = ComparedColumns(
        labels=(LabelColumn(name="prediction", first=0, second=0, labels=None),), numbers=(),
        read_first=("prediction",), read_second=("prediction",),
    )  # fmt: skip
    changes = Changes(columns=columns, num_movers=3)
    one = pa.array([["a", "b"], ["a"], [], ["ab"], ["a"]])
    other = pa.array([["a", "b"], ["b"], ["a"], ["a", "b"], ["a"]])
    changes.add(block({"prediction": one}, {"prediction": other}))
    assert (changes.rows, changes.flipped, changes.pairs, changes.movers) == (5, 3, {}, [])


def test_numbers_that_are_missing() -> None:
    """Rows without a number in one output are not counted as changes."""
    columns = ComparedColumns(
        labels=(), numbers=(NumberColumn(name="p", first=0, second=0), NumberColumn(name="q", first=1, second=1)),
        read_first=("p", "q"), read_second=("p", "q"),
    )  # fmt: skip
    changes = Changes(columns=columns, num_movers=9)
    changes.add(
        block(
            {"p": pa.array([1.0, None, 3.0]), "q": pa.array([0.0, 0.0, 0.0])},
            {"p": pa.array([2.0, 5.0, None]), "q": pa.array([0.5, 0.25, 0.0])},
        )
    )
    assert [(one.rows, one.mean, one.largest, one.unchanged) for one in changes.numbers] == [
        (1, 1.0, 1.0, 0), (3, 0.25, 0.5, 1),
    ]  # fmt: skip
    assert [(one.where, one.column, one.change) for one in changes.movers] == [(0, "p", 1.0), (1, "q", 0.25)]

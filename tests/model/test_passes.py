"""Passes hold every row once; the width that a list is padded to depends on its own length alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import StoppedError
from scoreline.pipeline.features.sequences import steps_kept
from scoreline.pipeline.model.passes import Passes, in_row_order, num_rows, pad, padded_widths, real_steps, size
from scoreline.pipeline.records import Sequences
from scoreline.schemas.inputs import ImageInput, SequenceInput, TableInput

TABLE = TableInput(name="x", columns=["a", "b"])
TOKENS = SequenceInput(name="t", columns=["t"], longest=40, mask="real", pad=9)
BARE = SequenceInput(name="t", columns=["t"], longest=40)


def sequences(lists: list[list[Any]], dtype: torch.dtype = torch.int64) -> Sequences:
    """Lists as sequences."""
    offsets = torch.tensor([0, *(len(row) for row in lists)]).cumsum(0)
    return Sequences(values=torch.tensor([value for row in lists for value in row], dtype=dtype), offsets=offsets)


def lists_of(given: Sequences) -> list[list[Any]]:
    return [part.tolist() for part in given.values.tensor_split(given.offsets[1:-1])] if len(given.offsets) > 1 else []


def width_of(length: int) -> int:
    """The next of 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32, 40 …, by the definition."""
    widths = [*range(1, 9), *(start * quarters // 4 for start in (8, 16, 32, 64) for quarters in (5, 6, 7, 8))]
    return next(width for width in widths if width >= length)


def test_widths() -> None:
    """Less than a quarter is padding; lengths of any size."""
    lengths = torch.arange(1, 129)
    assert padded_widths(lengths).tolist() == [width_of(length) for length in lengths.tolist()]
    large = torch.tensor([2**20, 2**20 + 1, 2**20 - 1])
    assert padded_widths(large).tolist() == [2**20, 2**20 + 2**18, 2**20]
    assert padded_widths(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_padding() -> None:
    """At the end, with the value; of tokens and of rows of several numbers."""
    starts, lengths = torch.tensor([0, 2, 2]), torch.tensor([2, 0, 1])
    padded = pad(torch.tensor([1, 2, 3]), starts, steps_kept(lengths, 3), 7)
    assert padded.tolist() == [[1, 2, 7], [7, 7, 7], [3, 7, 7]]
    wide = pad(torch.arange(6.0).reshape(3, 2), starts, steps_kept(lengths, 2), 0)
    assert wide.tolist() == [[[0, 1], [2, 3]], [[0, 0], [0, 0]], [[4, 5], [0, 0]]]


def test_padding_of_lists_without_steps() -> None:
    """If all are empty, there is no value to select."""
    none = torch.zeros(3, dtype=torch.int64)
    assert pad(torch.zeros(0, dtype=torch.int64), none, steps_kept(none, 2), 7).tolist() == [[7, 7]] * 3


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 60))
def test_padding_is_removed_again(lengths: list[int], pass_rows: int) -> None:
    """From what a model returns for each step: only the real ones are left, row by row."""
    lists = [[100 * row + step for step in range(length)] for row, length in enumerate(lengths)]
    for one in Passes([TOKENS], pass_rows=pass_rows).cut({"t": sequences(lists)}):
        returned = torch.stack([one.arguments["t"], -one.arguments["t"]], dim=2)
        found = real_steps(returned, one)
        assert isinstance(one.positions, torch.Tensor)
        assert lists_of(found) == [[[value, -value] for value in lists[row]] for row in one.positions.tolist()]
        assert found.on_host is None


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(1, 12))
def test_tables_in_order(rows: int, pass_rows: int) -> None:
    """Consecutive rows, of which only the last pass has fewer; nothing is copied."""
    table = torch.arange(rows * 2.0).reshape(2, rows).T
    cut = list(Passes([TABLE], pass_rows=pass_rows).cut({"x": table}))
    assert [one.num_rows for one in cut] == [min(pass_rows, rows - start) for start in range(0, rows, pass_rows)]
    if cut:
        assert torch.equal(torch.cat([one.arguments["x"] for one in cut]), table)
        assert cut[0].arguments["x"].data_ptr() == table.data_ptr()


def test_row_major_tables_where_the_model_needs_them() -> None:
    table = torch.arange(8.0).reshape(2, 4).T
    (plain,) = Passes([TABLE], pass_rows=9).cut({"x": table})
    (laid_out,) = Passes([TABLE.model_copy(update={"contiguous": True})], pass_rows=9).cut({"x": table})
    assert (plain.arguments["x"].is_contiguous(), laid_out.arguments["x"].is_contiguous()) == (False, True)
    assert torch.equal(laid_out.arguments["x"], table)


def test_the_number_of_rows_of_one_call() -> None:
    """It replaces the default, so that a pass that did not fit can be halved."""
    passes = Passes([TABLE], pass_rows=4)
    assert [one.num_rows for one in passes.cut({"x": torch.zeros(5, 2)}, 2)] == [2, 2, 1]
    assert [one.num_rows for one in passes.cut({"x": torch.zeros(5, 2)})] == [4, 1]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=25), st.integers(1, 60), st.booleans())
def test_lists_of_about_the_same_length_share_a_pass(lengths: list[int], pass_rows: int, masked: bool) -> None:
    """Every row is in one pass, padded as its own length demands; a pass is no larger than allowed."""
    lists = [[100 * row + step for step in range(length)] for row, length in enumerate(lengths)]
    table = torch.arange(len(lists) * 2.0).reshape(-1, 2)
    inputs = {"t": sequences(lists), "x": table}
    seen = []
    for one in Passes([TOKENS if masked else BARE, TABLE], pass_rows=pass_rows).cut(inputs):
        assert isinstance(one.positions, torch.Tensor)
        assert one.num_rows * one.width <= max(pass_rows, one.width)
        assert list(one.arguments) == (["t", "t_mask", "x"] if masked else ["t", "x"])
        assert one.lengths is not None
        for index, row in enumerate(one.positions.tolist()):
            length = lengths[row]
            assert one.width == (min(width_of(length), 40) if masked else length)
            assert one.arguments["t"][index].tolist() == lists[row] + [9] * (one.width - length)
            assert int(one.lengths[index]) == length
            assert torch.equal(one.arguments["x"][index], table[row])
            if masked:
                assert one.arguments["t_mask"][index].tolist() == [step < length for step in range(one.width)]
            seen.append(row)
    assert sorted(seen) == list(range(len(lists)))


def test_padding_by_more_steps_or_none() -> None:
    """More steps show whether a model ignores its mask, up to the longest list; a caller can turn padding off."""
    inputs = {"t": sequences([[1] * 9, [2] * 39])}
    passes = Passes([TOKENS], pass_rows=100)
    passes.extra = 3
    assert sorted(one.width for one in passes.cut(inputs)) == [13, 40]
    assert sorted(one.width for one in Passes([TOKENS], pass_rows=100, padded=False).cut(inputs)) == [9, 39]


def test_two_sequences_are_padded_each_to_its_own_width() -> None:
    """Rows share a pass only if both widths are the same."""
    other = SequenceInput(name="u", columns=["u"], longest=40, mask="lengths")
    inputs = {"t": sequences([[1], [2], [3]]), "u": sequences([[1] * 9, [2] * 10, [3] * 11])}
    cut = {one.arguments["u"].shape: one for one in Passes([TOKENS, other], pass_rows=100).cut(inputs)}
    assert set(cut) == {(2, 10), (1, 12)}
    assert cut[2, 10].arguments["u_mask"].tolist() == [9, 10]
    assert cut[2, 10].width == 1


def test_rows_of_two_sequences_are_sorted_by_both_widths() -> None:
    """By the first, then by the second, then in their order, so that there is one pass for each pair of widths."""
    other = SequenceInput(name="u", columns=["u"], longest=40, mask="lengths")
    widths = [(2, 1), (2, 3), (2, 1), (1, 3), (1, 1), (2, 3)]
    inputs = {"t": sequences([[1] * t for t, _ in widths]), "u": sequences([[1] * u for _, u in widths])}
    cut = list(Passes([TOKENS, other], pass_rows=100).cut(inputs))
    assert [one.positions.tolist() for one in cut if isinstance(one.positions, torch.Tensor)] == [
        [4], [3], [0, 2], [1, 5],
    ]  # fmt: skip


def test_a_run_that_ends_stops_at_the_next_pass() -> None:
    """Also for iterators that have begun; a pass is not interrupted."""
    passes = Passes([TABLE], pass_rows=1)
    cut = passes.cut({"x": torch.zeros(3, 2)})
    next(cut)
    passes.check_stopped()
    passes.stop()
    with pytest.raises(StoppedError):
        next(cut)
    with pytest.raises(StoppedError):
        passes.check_stopped()
    of_lists = Passes([TOKENS], pass_rows=1)
    of_lists.stop()
    with pytest.raises(StoppedError):
        next(of_lists.cut({"t": sequences([[1]])}))


def test_sizes() -> None:
    """Rows, and steps where there are more."""
    inputs = {"x": torch.zeros(3, 2), "t": sequences([[1, 2], [3, 4], [5]])}
    assert (num_rows(inputs), size(inputs)) == (3, 5)
    assert size({"x": torch.zeros(3, 2), "t": sequences([[1], [], []])}) == 3
    image = ImageInput(name="i", columns=["i"], size=(2, 2))
    (one,) = Passes([image], pass_rows=9).cut({"i": torch.zeros(4, 3, 2, 2)})
    assert one.num_rows == 4


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_results_are_put_back_in_order(lengths: list[int], at_once: int, random: Any) -> None:
    """Of tensors and of sequences, whichever rows were together."""
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    groups = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    positions = [torch.tensor(group) for group in groups]
    tensor = in_row_order([torch.tensor(group)[:, None] * 10 for group in groups], positions)
    assert isinstance(tensor, torch.Tensor)
    assert tensor[:, 0].tolist() == [10 * row for row in range(len(rows))]
    lists = [[row] * length for row, length in enumerate(lengths)]
    joined = in_row_order([sequences([lists[row] for row in group]) for group in groups], positions)
    assert isinstance(joined, Sequences)
    assert lists_of(joined) == lists


def test_results_that_are_in_order_already() -> None:
    """Those of slices."""
    found = in_row_order([torch.tensor([1, 2]), torch.tensor([3])], [slice(0, 2), slice(2, 4)])
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [1, 2, 3]


def test_padded_widths_are_computed_in_integers() -> None:
    """Multiples of a quarter of the power of two below, for every length; exact also for very large ones."""
    lengths = [*range(1, 5000), (1 << 53) + 1]

    def width(length: int) -> int:
        step = 1 if length <= 8 else max(1, (1 << (length - 1).bit_length() - 1) // 4)
        return -(-length // step) * step

    assert padded_widths(torch.tensor(lengths)).tolist() == [width(length) for length in lengths]

"""Operators with checks of what they read: the same results, and errors in place of other memory or a dead process."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.graph.checked import checked
from torch.nn import functional

EMBEDDING_BAG = checked()["aten.embedding_bag.padding_idx"]
TABLE = torch.arange(12.0).reshape(4, 3)
MODES = ("sum", "mean", "max")


def called(indices: Any, offsets: Any, mode: int = 0, *, table: torch.Tensor = TABLE, last: bool = False) -> Any:
    lists = torch.as_tensor(indices, dtype=torch.int64), torch.as_tensor(offsets, dtype=torch.int64)
    return EMBEDDING_BAG(table, *lists, False, mode, False, None, last, -1)


def test_both_overloads_are_checked() -> None:
    assert set(checked()) == {"aten.embedding_bag.default", "aten.embedding_bag.padding_idx"}


@pytest.mark.parametrize("mode", range(3))
@given(lists=st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=6))
def test_equal_to_torch(mode: int, lists: list[list[int]]) -> None:
    """For lists that are valid, also empty ones."""
    offsets = [sum(map(len, lists[:at])) for at in range(len(lists))]
    indices = torch.tensor([index for one in lists for index in one], dtype=torch.int64)
    wanted = functional.embedding_bag(indices, TABLE, torch.tensor(offsets), mode=MODES[mode], padding_idx=3)
    assert torch.equal(called(indices, offsets, mode)[0], wanted)
    given_last = called(indices, [*offsets, len(indices)], mode, last=True)[0]
    assert torch.equal(given_last, wanted)


@pytest.mark.parametrize(
    ("indices", "offsets", "last", "message"),
    [
        ([[0, 1]], [0], False, "one row of indices"),
        ([0, 1], [[0]], False, "one row of offsets"),
        ([0, 1], [], False, "the offsets are empty"),
        ([0, 1], [0], True, "the offsets are empty"),
        ([0, 4], [0], False, "an index is not from 0 to 3"),
        ([0, -1], [0], False, "an index is not from 0 to 3"),
        ([0, 1], [0, 2, 1], False, "do not ascend from 0 to at most 2"),
        ([0, 1], [0, 3], False, "do not ascend from 0 to at most 2"),
        ([0, 1], [1, 2], False, "do not ascend from 0"),
        ([], [0, -4], False, "do not ascend from 0"),
    ],
)
@pytest.mark.parametrize("mode", range(3))
def test_lists_that_torch_does_not_check(indices: Any, offsets: Any, last: bool, message: str, mode: int) -> None:
    """Some of them end the process, others read memory of others."""
    with pytest.raises(ValueError, match=message):
        called(indices, offsets, mode, last=last)


def test_a_table_of_another_shape() -> None:
    with pytest.raises(ValueError, match="takes a table"):
        called([0], [0], table=torch.zeros(2, 2, 2))

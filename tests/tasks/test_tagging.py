"""A label per step: lists of labels and probabilities by row, also for rows without steps."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.records import Sequences
from scoreline.pipeline.tasks.tagging import TaggingTask, lists_of, rows_of_steps
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import Bounds, TaggingHead

from task_models import softmax

Z = np.random.default_rng(3).normal(size=(6, 3)) * 2
OFFSETS = [0, 2, 2, 5, 6]


def task(**more: Any) -> TaggingTask:
    return TaggingTask(TaggingHead(**{"outputs": "logits", "labels": ["B", "I", "O"], **more}))


def sequences(values: np.ndarray, offsets: list[int] = OFFSETS) -> Sequences:
    return Sequences(values=torch.from_numpy(values.astype(np.float32)), offsets=torch.tensor(offsets))


def by_row(values: list[Any]) -> list[list[Any]]:
    return [values[start:stop] for start, stop in pairwise(OFFSETS)]


def test_labels_and_their_probabilities() -> None:
    """The largest logit of each step; a row without steps has empty lists."""
    labels, probabilities = task().decode(sequences(Z), ColumnOptions()).columns
    assert labels.to_pylist() == by_row([["B", "I", "O"][at] for at in Z.argmax(axis=1)])
    np.testing.assert_allclose(probabilities.flatten(), softmax(Z).max(axis=1), rtol=1e-5)
    assert [len(row) for row in probabilities.to_pylist()] == [2, 0, 3, 1]


def test_probabilities_of_all_labels() -> None:
    """A list of lists per row; or none at all."""
    _, probabilities = task().decode(sequences(Z), ColumnOptions(probabilities="list")).columns
    assert probabilities.type == pa.list_(pa.list_(pa.float32(), 3))
    np.testing.assert_allclose(np.array(probabilities.flatten().to_pylist()), softmax(Z), rtol=1e-5)
    assert len(task().decode(sequences(Z), ColumnOptions(probabilities="none")).columns) == 1


def test_an_ensemble() -> None:
    """The mean probability of each step."""
    both = np.stack([softmax(Z), softmax(Z[::-1])]).mean(axis=0)
    raw = sequences(np.concatenate([Z, Z[::-1]], axis=1))
    labels, probabilities = task().decode(raw, ColumnOptions(), Ensemble(combine="probability"), 2).columns
    np.testing.assert_allclose(probabilities.flatten(), both.max(axis=1), rtol=1e-5)
    assert labels.to_pylist() == by_row([["B", "I", "O"][at] for at in both.argmax(axis=1)])


def test_one_step_is_enough_for_a_row_to_fail() -> None:
    """NaN, or probabilities out of bounds; other rows are not affected."""
    values = np.tile([0.2, 0.3, 0.5], (6, 1))
    values[4, 1] = np.nan
    values[5] = 0.9
    found = task(outputs="probabilities", bounds=Bounds()).decode(sequences(values), ColumnOptions())
    assert found.finite is not None
    assert found.out_of_bounds is not None
    assert found.finite.tolist() == [True, True, False, True]
    assert found.out_of_bounds.tolist() == [False, False, False, True]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), max_size=6))
def test_rows_and_lists_of_steps(lengths: list[int]) -> None:
    """Every step belongs to its row; lists have the lengths of the rows."""
    offsets = [0, *np.cumsum(lengths).tolist()] if lengths else [0]
    raw = sequences(np.zeros((offsets[-1], 1)), offsets)
    rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    assert rows_of_steps(raw).tolist() == rows
    lists = lists_of(pa.array(rows, pa.int64()), raw)
    assert lists.to_pylist() == [[row] * length for row, length in enumerate(lengths)]


@pytest.mark.parametrize(("probabilities", "second"), [("columns", "probability"), ("list", "probabilities")])
def test_the_names_of_columns(probabilities: Any, second: str) -> None:
    """One column of probabilities, whatever the number of labels."""
    options = ColumnOptions(probabilities=probabilities)
    assert [field.name for field in task().fields(options, std=False)] == ["prediction", second]

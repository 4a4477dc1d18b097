"""Generated texts: words without the end token, log-probabilities, and the score with its length penalty."""

from typing import Any

import numpy as np
import pytest
import torch
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.records import Sequences
from scoreline.pipeline.tasks.generation import GenerationTask
from scoreline.schemas.heads import GenerationHead

WORDS = ["<end>", "a", "b", "c"]


def task(**more: Any) -> GenerationTask:
    return GenerationTask(GenerationHead(**{"outputs": "logits", "labels": WORDS, "end": 0, "steps": 4, **more}))


def texts(*rows: list[tuple[int, float]]) -> Sequences:
    """The tokens of each row, with their log-probabilities."""
    values = [pair for row in rows for pair in row]
    return Sequences(
        values=torch.tensor(values, dtype=torch.float32).reshape(-1, 2),
        offsets=torch.tensor(np.cumsum([0, *map(len, rows)])),
    )


ROWS = texts([(1, -0.5), (2, -0.25), (0, -0.25)], [(0, -2.0)], [(3, -0.125), (3, -0.5), (1, -1.0), (2, -0.5)])


def test_texts_and_their_numbers() -> None:
    """The end token is not a word, but its probability counts; a text that reaches the limit has not ended."""
    words, log_probability, score, ended = task().decode(ROWS, ColumnOptions()).columns
    assert words.to_pylist() == [["a", "b"], [], ["c", "c", "a", "b"]]
    assert log_probability.to_pylist() == score.to_pylist() == [-1.0, -2.0, -2.125]
    assert ended.to_pylist() == [True, True, False]


@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.0])
def test_the_length_penalty(penalty: float) -> None:
    """Divides by a power of the number of tokens, the end token included."""
    one = task(length_penalty=penalty)
    _, log_probability, score, _ = one.decode(ROWS, ColumnOptions()).columns
    wanted = np.array([-1.0, -2.0, -2.125]) / np.array([3, 1, 4]) ** penalty
    np.testing.assert_allclose(score, wanted, rtol=1e-12)
    assert log_probability.to_pylist() == [-1.0, -2.0, -2.125]
    stored = one.raw_array(ROWS)
    assert isinstance(stored, np.ndarray)
    assert (stored.shape, stored.dtype) == ((3, 1), np.float32)
    np.testing.assert_allclose(stored[:, 0], wanted, rtol=1e-6)


def test_sums_are_float64() -> None:
    """A small log-probability is not lost beside a large one."""
    _, log_probability, *_ = task().decode(texts([(1, -(2.0**24)), (0, -1.0)]), ColumnOptions()).columns
    assert log_probability.to_pylist() == [-(2.0**24) - 1]


def test_an_impossible_text_is_not_finite() -> None:
    """Its log-probability is minus infinity; other rows are not affected."""
    found = task().decode(texts([(1, -np.inf), (0, -1.0)], [(0, -1.0)]), ColumnOptions())
    assert found.finite is not None
    assert found.finite.tolist() == [False, True]


@pytest.mark.parametrize(("beams", "text"), [(1, "up to 4 tokens, 1 beam"), (3, "up to 4 tokens, 3 beams")])
def test_its_description(beams: int, text: str) -> None:
    """The limit and the number of beams."""
    assert list(task(beams=beams).describe()) == [text]

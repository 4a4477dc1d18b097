"""Columns by name, of which some are terms."""

import numpy as np
import pytest
from scoreline.pipeline.features.columns import Columns
from scoreline.pipeline.features.terms import Terms

WORDS, CHARACTERS = ["w0", "w1", "w2"], ["c0", "c1"]


def columns() -> Columns:
    """Two rows: an age, three words and two characters."""
    made = Columns({"age": np.array([40.0, 50.0])})
    made.add(["age#1"], [np.array([0.4, 0.5])])
    two = np.array([1, 2])
    made.add_terms(WORDS, Terms(rows=np.array([0, 1]), terms=two, values=np.array([7.0, 8.0]), num_rows=2, width=3))
    made.add_terms(CHARACTERS, Terms(rows=np.array([1]), terms=np.array([0]), values=np.ones(1), num_rows=2, width=2))
    return made


VALUES = {"age": [40, 50], "age#1": [0.4, 0.5], "w0": [0, 0], "w1": [7, 0], "w2": [0, 8], "c0": [0, 1], "c1": [0, 0]}


def test_a_mapping() -> None:
    found = columns()
    assert {name: column.tolist() for name, column in found.items()} == VALUES
    assert len(found) == len(VALUES)
    with pytest.raises(KeyError, match="other"):
        found["other"]


@pytest.mark.parametrize("names", [["w2", "age", "c0", "w1"], ["age#1", "age"], ["c1"], list(VALUES)[::-1]])
def test_some_columns(names: list[str]) -> None:
    """In any order, from any source."""
    expected = [VALUES[name] for name in names]
    assert [column.tolist() for column in columns().dense(names)] == expected
    into = np.full((len(names), 2), np.nan)
    columns().fill(names, into)
    assert into.tolist() == expected


@pytest.mark.parametrize("names", [WORDS, ["w0", "w2"], ["w1"], CHARACTERS])
def test_terms_that_stay_sparse(names: list[str]) -> None:
    terms = columns().terms(names)
    assert terms is not None
    assert [terms.column(index).tolist() for index in range(terms.width)] == [VALUES[name] for name in names]


@pytest.mark.parametrize("names", [["w1", "w0"], ["w0", "c0"], ["w0", "age"], ["age", "w0"], ["age"]])
def test_columns_that_are_not_terms_of_one_text_in_order(names: list[str]) -> None:
    assert columns().terms(names) is None

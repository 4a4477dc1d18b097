"""Linear steps: the products, their independence of the number of rows, and missing values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scoreline.pipeline.features.linear import linear, linear_of_terms
from scoreline.pipeline.features.program import kept_when_missing, origins, run_steps
from scoreline.pipeline.features.terms import Terms
from scoreline.schemas.inputs import Feature
from scoreline.schemas.steps import LinearStep


def step_of(width: int, outputs: int, seed: int = 0) -> LinearStep:
    """A random step of every part."""
    random = np.random.default_rng(seed)
    return LinearStep(
        features=[f"c{n}" for n in range(width)],
        outputs=[f"c{n}#1" for n in range(outputs)],
        matrix=random.normal(size=(outputs, width)).tolist(),
        mean=random.normal(size=width).tolist(),
        scale=random.uniform(0.5, 2, size=outputs).tolist(),
    )


@pytest.mark.parametrize(("width", "outputs"), [(1, 1), (3, 2), (40, 7), (3, 200), (700, 30)])
def test_equal_to_the_matrix_product(width: int, outputs: int) -> None:
    """For narrow and wide frames, and more rows than a chunk."""
    step = step_of(width, outputs)
    X = np.random.default_rng(1).normal(size=(900, width))
    expected = (X - np.array(step.mean)) @ np.array(step.matrix).T / np.array(step.scale)
    got = np.column_stack(linear(step, list(X.T)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("width", "outputs"), [(5, 3), (130, 60)])
def test_a_row_does_not_depend_on_its_block(width: int, outputs: int) -> None:
    """Bit for bit, for blocks of 1 to all rows and rows at other positions."""
    step = step_of(width, outputs)
    X = np.random.default_rng(2).normal(scale=1e3, size=(1_000, width))
    whole = np.column_stack(linear(step, list(np.ascontiguousarray(X.T))))
    for start, stop in ((0, 1), (999, 1_000), (3, 10), (1, 258), (500, 1_000), (17, 999)):
        part = np.column_stack(linear(step, list(X[start:stop].T)))
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("scaled", [False, True])
@given(
    numbers=arrays(
        np.float64, st.tuples(st.integers(0, 12), st.integers(1, 9)), elements=st.sampled_from([0, 0, 0.1, -3, 7e8])
    ),
    outputs=st.integers(1, 4),
)
def test_terms_are_projected_as_dense_columns(scaled: bool, numbers: np.ndarray, outputs: int) -> None:
    """Bit for bit: rows without terms, with all of them, and no rows."""
    given_scale = step_of(numbers.shape[1], outputs).scale if scaled else None
    step = step_of(numbers.shape[1], outputs).model_copy(update={"mean": None, "scale": given_scale})
    rows, places = np.nonzero(numbers)
    terms = Terms(rows=rows, terms=places, values=numbers[rows, places], num_rows=len(numbers), width=numbers.shape[1])
    made, dense = np.array(linear_of_terms(step, terms)), np.array(linear(step, list(numbers.T)))
    assert made.tobytes() == dense.tobytes()


def test_no_rows() -> None:
    assert [len(column) for column in linear(step_of(3, 2), [np.empty(0)] * 3)] == [0, 0]


def test_a_missing_value_is_missing_in_every_output() -> None:
    """So its feature's nulls are rejected."""
    step = step_of(3, 2)
    columns = {name: np.array([1.0, np.nan]) if name == "c1" else np.ones(2) for name in step.features}
    made = run_steps([step], columns).columns
    assert [np.isnan(made[name]).tolist() for name in step.outputs] == [[False, True]] * 2
    assert kept_when_missing([*step.features, "other"], [step], step.outputs) == {"other"}


def test_messages_name_the_first_feature() -> None:
    step = step_of(3, 2)
    found = origins([Feature(name=name) for name in step.features], [step])
    assert {found[name] for name in step.outputs} == {"c0"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": [[1.0, 2.0]]}, "matrix must be 1 rows of 3"),
        ({"matrix": []}, "matrix must be 1 rows of 3"),
        ({"mean": [0.0]}, "mean has 1 values instead of 3"),
        ({"scale": [1.0, 1.0]}, "scale has 2 values instead of 1"),
        ({"scale": [0.0]}, "greater than 0"),
        ({"matrix": [[1.0, float("nan"), 2.0]]}, "finite number"),
    ],
)
def test_inconsistent_numbers_are_refused(changes: dict[str, list[float]], message: str) -> None:
    valid = {"features": ["a", "b", "c"], "outputs": ["d"], "matrix": [[1.0, 2.0, 3.0]]}
    with pytest.raises(ValidationError, match=message):
        LinearStep.model_validate(valid | changes)

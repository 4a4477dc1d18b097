"""Saved scalers against scikit-learn's own `transform` on float64, to the last bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.scalers import apply_steps, bind_scalers, saved_step
from scoreline.schemas.bundle import BundleManifest, StandardStep
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-3, 5), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10, 90)),
    RobustScaler(with_scaling=False),
]
values = st.one_of(
    st.floats(-1e12, 1e12, allow_subnormal=False), st.just(0.0), st.floats(1e9, 1e9 + 1e-2), st.floats(-1e-9, 1e-9)
)
tables = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=values)


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@given(fitted_on=tables, data=st.data())
def test_equal_to_scikit_learn(scaler: Any, fitted_on: np.ndarray, data: st.DataObject) -> None:
    """Constant columns, huge and tiny scales, values far outside those fitted on."""
    width = fitted_on.shape[1]
    X = data.draw(hnp.arrays(np.float64, (7, width), elements=values))
    names = [f"c{n}" for n in range(width)]
    scaler.fit(fitted_on)
    steps = [saved_step(fitted) for fitted in bind_scalers(scaler, names)]
    # through JSON, as it is kept on disk
    steps = [type(step).model_validate_json(step.model_dump_json()) for step in steps]
    got = apply_steps(steps, {name: X[:, n] for n, name in enumerate(names)})
    np.testing.assert_array_equal(np.column_stack([got[name] for name in names]), scaler.transform(X))


def test_numbers_are_bound_by_name() -> None:
    """A scaler fitted on permuted columns, or on some of them, scales each by its own numbers."""
    frame = pd.DataFrame({"a": [1.0, 2, 9], "b": [10.0, 20, 60], "c": [7.0, 7, 8]})
    scaler = StandardScaler().fit(frame[["c", "a"]])
    (fitted,) = bind_scalers(scaler, ["a", "b", "c"])
    got = apply_steps([saved_step(fitted)], {name: frame[name].to_numpy() for name in frame})
    expected = scaler.transform(frame[["c", "a"]])
    np.testing.assert_array_equal(got["c"], expected[:, 0])
    np.testing.assert_array_equal(got["a"], expected[:, 1])
    np.testing.assert_array_equal(got["b"], frame["b"])


def test_several_scalers_each_over_some_features() -> None:
    """As in a ColumnTransformer."""
    X = np.array([[1.0, 10, 5], [3.0, 30, 6], [8.0, 70, 7]])
    first, second = StandardScaler().fit(X[:, :1]), MinMaxScaler().fit(X[:, 1:2])
    fitted = bind_scalers([(first, ["a"]), (second, ["b"])], ["a", "b", "c"])
    got = apply_steps([saved_step(one) for one in fitted], {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]})
    np.testing.assert_array_equal(got["a"], first.transform(X[:, :1])[:, 0])
    np.testing.assert_array_equal(got["b"], second.transform(X[:, 1:2])[:, 0])


@pytest.mark.parametrize(
    ("scaler", "says"),
    [
        (StandardScaler(), "not fitted"),
        (Normalizer().fit([[1.0, 2.0]]), "Normalizer cannot be saved; supported are StandardScaler"),
        (StandardScaler().fit([[1.0], [2.0]]), "fitted on 1 columns, and 2 features are named"),
        (StandardScaler().fit(pd.DataFrame({"a": [1.0], "z": [2.0]})), "column 'z', which is not"),
        ([StandardScaler()], "list of"),
        ("standard", "cannot be saved"),
    ],
)
def test_what_cannot_be_bound_is_refused(scaler: Any, says: str) -> None:
    """Says what is there, and what to do."""
    with pytest.raises(BundleError, match=says):
        bind_scalers(scaler, ["a", "b"])


@pytest.mark.parametrize(
    "numbers",
    [
        {"mean": [0.0, 0.0], "scale": [1.0, 0.0]},
        {"mean": [0.0], "scale": [1.0, 1.0]},
        {"mean": [float("nan"), 0.0], "scale": [1.0, 1.0]},
        {"mean": [0.0, 0.0], "scale": [1.0, float("inf")]},
    ],
)
def test_numbers_that_cannot_scale_are_refused(numbers: dict[str, list[float]]) -> None:
    """A scale of 0, a wrong length, NaN."""
    with pytest.raises(ValueError, match=r"scale|mean"):
        StandardStep(features=["a", "b"], **numbers)


def test_steps_stand_in_the_schema() -> None:
    """The manifest knows every kind that is read from scikit-learn."""
    kinds = {entry["$ref"].rpartition("/")[2] for entry in _step_schema()["oneOf"]}
    assert kinds == {"StandardStep", "RobustStep", "MinMaxStep", "MaxAbsStep"}


def _step_schema() -> dict[str, Any]:
    return BundleManifest.model_json_schema()["properties"]["steps"]["items"]

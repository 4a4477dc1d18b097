"""TargetEncoder as steps, compared with its own `transform`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.scaler_files import word_columns
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from saving_steps import compiled
from scoreline import Regression, Scorer, save_bundle

TARGETS = {
    "binary": lambda random, rows: random.permutation([0, 1] * rows)[:rows],
    "binary words": lambda random, rows: np.array(["no", "yes"])[random.permutation([0, 1] * rows)[:rows]],
    "continuous": lambda random, rows: random.normal(100, 30, size=rows),
    "multiclass": lambda _random, rows: np.array(["x", "y", "z"])[np.arange(rows) % 3],
}
WORDS = np.array(["a", "b", "größe", "", "rare"], dtype=object)


def frame_of(values: np.ndarray, kind: str) -> pd.DataFrame:
    """Columns u, v of words or numbers."""
    frame = pd.DataFrame(values, columns=["u", "v"], dtype=object)
    return frame if kind == "text" else frame.astype(np.float64)


def columns_of(frame: pd.DataFrame, kind: str) -> dict[str, Any]:
    """The columns as a run has them, null where a value is missing."""
    if kind == "text":
        return {
            name: pa.array([None if x is None or x != x else x for x in frame[name]], pa.large_string())
            for name in frame
        }
    return {name: frame[name].to_numpy() for name in frame}


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about classes of few rows
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["text", "numbers"])
@settings(max_examples=10)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(6, 40),
    smooth=st.sampled_from(["auto", 0.0, 3.5]),
    nulls_in_training=st.booleans(),
    new_rows=st.integers(1, 12),
)
def test_equal_to_scikit_learn(
    target: str, kind: str, seed: int, rows: int, smooth: Any, nulls_in_training: bool, new_rows: int
) -> None:
    """Known and unknown categories, nulls that were seen in training and others, constant columns, one row."""
    random = np.random.default_rng(seed)
    known = WORDS[:4] if kind == "text" else np.array([-2.0, 0.0, 1.5, 7.0])
    others = np.array(["new", None], dtype=object) if kind == "text" else np.array([99.0, np.nan])
    fitted_on = random.choice(known, size=(rows, 2))
    fitted_on[:, 1] = fitted_on[:, 1] if seed % 3 else known[0]
    if nulls_in_training:
        fitted_on[random.random(rows) < 0.3, 0] = others[1]
    y = TARGETS[target](random, rows)
    encoder = TargetEncoder(smooth=smooth).fit(frame_of(fitted_on, kind), y)
    X = frame_of(random.choice(np.concatenate([known, others]), size=(new_rows, 2)), kind)
    expected = encoder.transform(X)
    steps, outputs = compiled(encoder, ["u", "v"], ("u", "v") if kind == "text" else ())
    prepared = run_steps(steps, columns_of(X, kind))
    assert not prepared.unfit
    np.testing.assert_array_equal(np.column_stack([prepared.columns[name] for name in outputs]), expected)
    assert kept_when_missing(["u", "v"], steps, outputs) == {"u", "v"}


def test_wide_frames() -> None:
    """The columns of many features and classes are in scikit-learn's order."""
    random = np.random.default_rng(0)
    names = [f"c{n}" for n in range(25)]
    frame = pd.DataFrame(random.integers(0, 5, size=(90, 25)).astype(float), columns=names)
    encoder = TargetEncoder().fit(frame, np.arange(90) % 4)
    steps, outputs = compiled(encoder, names)
    made = run_steps(steps, {name: frame[name].to_numpy() for name in names}).columns
    np.testing.assert_array_equal(np.column_stack([made[name] for name in outputs]), encoder.transform(frame))


def test_a_bundle(tmp_path: Path) -> None:
    """In a ColumnTransformer; unknown categories and nulls are scored by the mean of the target."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"city": random.choice(["Rome", "Oslo", "Bonn"], 60), "age": random.normal(40, 9, 60)})
    columns = ColumnTransformer([("city", TargetEncoder(), ["city"]), ("age", StandardScaler(), ["age"])])
    scaler = make_pipeline(columns, StandardScaler()).fit(frame, random.normal(10, 2, 60))
    assert word_columns(scaler, list(frame)) == {"city"}
    model = torch.nn.Linear(2, 1).eval()
    save_bundle(tmp_path / "b", model, features=["city", "age"], task=Regression(), scaler=scaler, sample=frame)
    new = pd.DataFrame({"city": ["Rome", "Paris", None], "age": [30.0, 40.0, 50.0]})
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(new)["prediction"].to_numpy()
    with torch.no_grad():
        expected = model(torch.tensor(scaler.transform(new), dtype=torch.float32))[:, 0].numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)

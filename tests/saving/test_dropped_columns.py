"""A ColumnTransformer that drops columns it was fitted on: they need not be features."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from torch import nn

from scoreline import BundleError, Regression, Scorer, save_bundle

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "id": np.arange(50.0), "a": RNG.normal(size=50), "b": RNG.normal(5, 3, 50),
        "c": RNG.choice(list("xyz"), 50), "note": RNG.choice(list("pq"), 50),
    }
)  # fmt: skip
USED = ["a", "b", "c"]
MIXED = ColumnTransformer([("n", StandardScaler(), ["b", "a"]), ("c", OneHotEncoder(sparse_output=False), ["c"])]).fit(
    FRAME
)
TRANSFORMERS: dict[str, tuple[Any, list[str]]] = {
    "by remainder": (MIXED, USED),
    "before a scaler": (make_pipeline(MIXED, MinMaxScaler()).fit(FRAME), USED),
    "by name": (
        ColumnTransformer([("d", "drop", ["id", "note", "c"])], remainder="passthrough").fit(FRAME),
        ["a", "b"],
    ),
    "by position": (ColumnTransformer([("n", StandardScaler(), [2, 1])]).fit(FRAME), ["a", "b"]),
    "by slice": (ColumnTransformer([("n", StandardScaler(), slice("a", "b"))]).fit(FRAME), ["a", "b"]),
    "by mask": (ColumnTransformer([("n", StandardScaler(), [False, True, True, False, False])]).fit(FRAME), ["b", "a"]),
    "in a frame": (
        ColumnTransformer([("n", StandardScaler(), ["a"])]).set_output(transform="pandas").fit(FRAME),
        ["a"],
    ),
}


def scored(folder: Path, scaler: Any, features: list[str], frame: pd.DataFrame, width: int) -> tuple[Any, nn.Module]:
    torch.manual_seed(0)
    model = nn.Linear(width, 1).eval()
    save_bundle(folder / "b", model, features=features, task=Regression(), scaler=scaler, sample=frame)
    return Scorer.load(folder / "b", device="cpu").score_frame(frame)["prediction"].to_numpy(), model


@pytest.mark.parametrize("also", [[], ["id"], ["id", "note"]], ids=["used alone", "one more", "all"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_dropped_columns_need_not_be_features(name: str, also: list[str], tmp_path: Path) -> None:
    """Equal to scikit-learn's transform of the whole frame, whether dropped columns are features or not."""
    transformer, used = TRANSFORMERS[name]
    matrix = torch.tensor(np.asarray(transformer.transform(FRAME), dtype=np.float32))
    got, model = scored(tmp_path, transformer, used + also, FRAME[used + also], matrix.shape[1])
    with torch.no_grad():
        np.testing.assert_allclose(got, model(matrix)[:, 0], atol=1e-5)


def test_a_list_of_transformers(tmp_path: Path) -> None:
    """One that drops columns, beside another with its own features."""
    other = StandardScaler().fit(FRAME[["id"]])
    dropping = ColumnTransformer([("n", MinMaxScaler(), ["a"])]).fit(FRAME[["note", "a"]])
    got, model = scored(tmp_path, [(dropping, ["a"]), (other, ["id"])], ["id", "a"], FRAME[["id", "a"]], 2)
    matrix = np.column_stack([other.transform(FRAME[["id"]]), dropping.transform(FRAME)]).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(got, model(torch.tensor(matrix))[:, 0], atol=1e-5)


def test_a_null_in_a_dropped_feature_is_not_a_reject(tmp_path: Path) -> None:
    """The model's inputs do not depend on it."""
    frame = FRAME.copy()
    frame.loc[3, "id"], frame.loc[4, "note"] = np.nan, None
    got, _ = scored(tmp_path, MIXED, list(frame), frame, 5)
    assert np.isfinite(got).all()


def test_a_column_that_is_needed_must_be_a_feature(tmp_path: Path) -> None:
    """The error names the column."""
    with pytest.raises(BundleError, match="was fitted on column 'c', which is not among the features"):
        scored(tmp_path, MIXED, ["a", "b"], FRAME, 5)
    nothing = ColumnTransformer([("d", "drop", list(FRAME))]).fit(FRAME)
    with pytest.raises(BundleError):
        scored(tmp_path, nothing, ["a", "b"], FRAME, 2)

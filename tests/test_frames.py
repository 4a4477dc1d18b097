"""Data frames of all libraries are accepted as samples, expected predictions and rows to score: pandas with any column
names, and everything with Arrow's C stream interface."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import ColumnError, RowsRejectedError, UsageError
from torch import nn

from scoreline import BundleError, Regression, Scorer, Table, save_bundle

X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))


class StreamFrame:
    """A frame like those of polars: has only the C stream interface, text as views, categories as dictionaries of
    views."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.columns = table.column_names

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def as_polars(frame: pd.DataFrame) -> StreamFrame:
    """Convert text columns to views."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for index, column in enumerate(table.schema):
        if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
            table = table.set_column(index, column.name, table.column(index).cast(pa.string_view()))
        elif pa.types.is_dictionary(column.type):
            encoded = table.column(index).combine_chunks()
            views = encoded.dictionary.cast(pa.string_view())
            table = table.set_column(
                index, column.name, pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.uint32()), views)
            )
    return StreamFrame(table)


MAKERS: list[Callable[[pd.DataFrame], Any]] = [
    as_polars,
    lambda frame: nw.from_native(pa.Table.from_pandas(frame, preserve_index=False)),
    lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_batches()[0],
    lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(),
]
NAMES = ["polars", "narwhals", "table", "batch", "reader"]


def linear(frame: pd.DataFrame) -> tuple[nn.Module, np.ndarray]:
    """A model of three columns, and its outputs."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1).eval()
    with torch.no_grad():
        given = model(torch.from_numpy(frame.to_numpy(np.float32).copy())).double().numpy()[:, 0]
    return model, given


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_frames_with_a_c_stream(tmp_path: Path, make: Callable[[pd.DataFrame], Any]) -> None:
    """As a sample, as expected predictions, and as rows, whose other columns are returned in an Arrow table."""
    model, given = linear(X)
    expected = pd.DataFrame({"prediction": given})
    names = list("abc")
    if make is not MAKERS[-1]:
        wrong = make(expected + 1)
        with pytest.raises(BundleError, match=r"expected|reproduced"):
            save_bundle(tmp_path / "b", model, features=names, task=Regression(), sample=make(X), expected=wrong)
    given_predictions = None if make is MAKERS[-1] else make(expected)
    save_bundle(tmp_path / "b", model, features=names, task=Regression(), sample=make(X), expected=given_predictions)
    rows = X.assign(id=np.arange(50) + 2**53, word=["x", None] * 25, kind=pd.Categorical(["p", "q"] * 25))
    rows = rows[["id", "c", "word", "a", "kind", "b"]]
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    got = scorer.score_frame(make(rows))
    assert isinstance(got, pa.Table)
    assert got.column_names == ["id", "word", "kind", "prediction"]
    assert got["id"].to_pylist() == rows["id"].tolist()
    assert got["word"].to_pylist() == ["x", None] * 25
    assert got["kind"].to_pylist() == ["p", "q"] * 25
    np.testing.assert_allclose(got["prediction"], given, rtol=1e-5, atol=1e-7)
    with pytest.raises(RowsRejectedError, match=r"row 3: column 'a' is null .*get the rejects with score_table"):
        scorer.score_frame(make(rows.assign(a=[None if n == 3 else 1.0 for n in range(50)])))
    with pytest.raises(ColumnError, match="also the name of an output; rename it first"):
        scorer.score_frame(make(rows.assign(prediction=1.0)))


def test_text_features_of_views(tmp_path: Path) -> None:
    """Text and categories in the layout of polars."""
    frame = pd.DataFrame({"city": ["p", "q"] * 10, "kind": pd.Categorical(["u", "v", "v", "u"] * 5)})
    model = nn.Sequential(nn.Embedding(2, 3), nn.Flatten(), nn.Linear(6, 1))
    words = {"city": ["p", "q"], "kind": ["u", "v"]}
    for name, sample in (("a", frame), ("b", as_polars(frame))):
        save_bundle(
            tmp_path / name, model, inputs=Table(["city", "kind"], vocabularies=words), task=Regression(), sample=sample
        )
    wanted = Scorer.load(tmp_path / "a", device="cpu").score_frame(frame)["prediction"].to_numpy()
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(as_polars(frame))["prediction"]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("features", [["0", "1", "2"], [0, 1, 2]])
def test_columns_whose_names_are_numbers(tmp_path: Path, features: list[Any]) -> None:
    """`pd.DataFrame(array)` is a sample and is scored; other columns keep their names."""
    frame = pd.DataFrame(X.to_numpy(), index=[f"row {n}" for n in range(50)])
    model, given = linear(frame)
    save_bundle(tmp_path / "b", model, features=features, task=Regression(), sample=frame)
    frame[7], frame["word"] = range(50), "x"
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(frame[[7, 2, "word", 1, 0]])
    assert got.columns.tolist() == [7, "word", "prediction"]
    assert got.index.tolist() == frame.index.tolist()
    np.testing.assert_allclose(got["prediction"], given, rtol=1e-5, atol=1e-7)
    both = frame.assign(**{"1": 0.0})
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    with pytest.raises(ColumnError, match="more than one column '1'"):
        scorer.score_frame(both)
    with pytest.raises(ColumnError, match="more than one column '1'"):
        save_bundle(tmp_path / "c", model, features=features, task=Regression(), sample=both)


def test_objects_that_are_not_frames(tmp_path: Path) -> None:
    """Arrays and columns are refused in one line; messages name the argument that returns the rejects."""
    model, _ = linear(X)
    save_bundle(tmp_path / "b", model, features=list("abc"), task=Regression(), sample=X)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    for given in (X.to_numpy(), [1, 2], None, object()):
        with pytest.raises(UsageError, match="takes a pandas DataFrame or an object with __arrow_c_stream__"):
            scorer.score_frame(given)
    with pytest.raises(ColumnError, match="cannot be read as a table"):
        scorer.score_frame(pa.chunked_array([[1, 2]]))
    with pytest.raises(RowsRejectedError) as told:
        scorer.score_frame(X.assign(b=np.nan))
    assert "fix them, or get the rejects with score_table(…, with_rejects=True)" in str(told.value)
    with pytest.raises(RowsRejectedError, match="or pass with_rejects=True to get the rejects"):
        scorer.score_table(pa.Table.from_pandas(X.assign(b=np.nan)))

"""The reference that save_bundle and pack keep, against pandas and the scorer."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import Bundle, open_bundle
from scoreline.pipeline.errors import BundleError, ColumnError
from scoreline.pipeline.monitoring.layout import open_layout
from scoreline.pipeline.planning.plan import default_split_rows
from scoreline.schemas.profile import CategoryBins, NumberBins, Reference, ReferenceColumn
from torch import nn

from scoreline import Binary, Scorer, Table, save_bundle

CITIES = ["Graz", "Oslo", "Rome"]


class Net(nn.Module):
    """A logit from three columns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def training(rows: int = 3000) -> pd.DataFrame:
    """Rows with two numbers and a category; every hundredth has no age."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"age": random.normal(0, 1, rows), "income": random.normal(5, 1, rows), "city": random.choice(CITIES, rows)}
    )
    frame.loc[::100, "age"] = np.nan
    return frame


def save(path: Path, reference: Any, **more: Any) -> Bundle:
    table = Table(["age", "income", "city"], vocabularies={"city": [*CITIES, "Bern"]})
    sample = training().dropna().head(50)
    save_bundle(
        path, Net(), inputs={"x": table}, task=Binary(["no", "yes"]), sample=sample, reference=reference, **more
    )
    return open_bundle(path)


def reference_of(bundle: Bundle) -> Reference:
    layout = open_layout(bundle)
    assert layout is not None
    return layout.reference


def counts_of(column: ReferenceColumn, values: pd.Series) -> list[int]:
    """The counts of a column by pandas."""
    if isinstance(column.bins, CategoryBins):
        return [*values.value_counts().reindex(column.bins.categories, fill_value=0).tolist(), 0, 0]
    assert isinstance(column.bins, NumberBins)
    return pd.cut(values.astype(float), [-np.inf, *column.bins.edges, np.inf]).value_counts(sort=False).tolist()


@pytest.mark.parametrize("form", ["pandas", "arrow"])
def test_training_rows(tmp_path: Path, form: str) -> None:
    """Counts of the features, of the rejected rows, and of the model's own predictions."""
    frame = training()
    bundle = save(tmp_path / "b", frame if form == "pandas" else pa.Table.from_pandas(frame))
    found = reference_of(bundle)
    assert (found.source, found.rows) == ("training", 3000)
    kept = frame.dropna()
    scored = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.Table.from_pandas(kept)).to_pandas()
    for column in (*found.features, *found.outputs):
        values = kept[column.name] if column in found.features else scored[column.name]
        assert column.counts == counts_of(column, values), column.name
    assert [column.rejected for column in found.features] == [30, 0, 0]
    city = found.features[2].bins
    assert isinstance(city, CategoryBins)
    assert (set(city.categories), city.complete) == ({*CITIES, "Bern"}, True)
    assert [column.name for column in found.outputs] == ["prediction", "probability"]


def test_many_rows_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that saving stays fast."""
    monkeypatch.setattr("scoreline.pipeline.saving.training_rows.MAX_ROWS", 100)
    frame = training().dropna().sort_values("age")
    found = reference_of(save(tmp_path / "b", frame))
    assert found.rows == 100
    assert found.features[0].mean == pytest.approx(frame["age"].mean(), abs=0.05)


def test_a_reference_does_not_change_the_splits(tmp_path: Path) -> None:
    """Which depend on the size of the model."""
    one, other = save(tmp_path / "a", None), save(tmp_path / "b", training())
    assert one.model_bytes() == other.model_bytes()
    assert default_split_rows(one.model_bytes()) == default_split_rows(other.model_bytes())
    assert reference_of(one).source == "golden"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (training().drop(columns="age"), ColumnError, "the reference has no column 'age'"),
        (training().head(0), BundleError, "the reference has no rows"),
        (training().assign(age=np.nan), BundleError, "none of the reference's 3,000 rows can be scored.*'age' is null"),
        (training().assign(income="x"), ColumnError, "the reference.*'income'"),
        (np.zeros((5, 2)), BundleError, "the reference is an array of shape"),
    ],
)
def test_refused_references(tmp_path: Path, given: Any, error: type[Exception], message: str) -> None:
    """Nothing is written."""
    with pytest.raises(error, match=message):
        save(tmp_path / "b", given)
    assert not (tmp_path / "b").exists()

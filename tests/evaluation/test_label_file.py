"""Samples of `pack` and labels of `evaluate` as CSV files follow the same rules as inputs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
import torch
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from conftest import Example, Result

Command = Callable[..., Result]
BROKEN = {
    "a column's name": (b"id,\xff,y\n1,2,0\n", "it is not utf-8"),
    "a cell": (b"id,a,y\n1,\xff,0\n", "it is not utf-8"),
    "a quote": (b'id,a,y\n1,2,0\n2,"3"x,0\n', "row 1 has text after a closing quote"),
    "a missing cell": (b"id,a,y\n1,2,0\n2,3\n", "row 1 has 2 cells, but the header has 3"),
    "an open quote": (b'id,a,y\n1,2,0\n2,"3,0\n', "row 1 opens a quote that is never closed"),
    "nothing": (b"", "cannot be read as CSV"),
    "a doubled column": (b"id,a,y,id,a,y\n1,2,0,1,2,0\n", "appears more than once"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_samples_and_label_files_are_refused(
    scoreline: Command, iris: Example, tmp_path: Path, name: str
) -> None:
    """With file and row, in one line: a label is never lost or shifted."""
    data, message = BROKEN[name]
    (tmp_path / "rows.csv").write_bytes(data)
    (tmp_path / "spec.toml").write_text(
        'features = ["a"]\ntask = {kind = "binary", labels = [0, 1]}\nsample = "rows.csv"\n'
        '[model]\nfile = "none.onnx"\n'
    )
    packed = scoreline("pack", tmp_path / "spec.toml", tmp_path / "bundle")
    iris.frame.rename(columns={"row_id": "id"}).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 0
    evaluated = scoreline("evaluate", tmp_path / "out", "--label", "y", "--labels", tmp_path / "rows.csv", "--on", "id")
    for result, code in ((packed, 78), (evaluated, 65)):
        assert result.code == code, result.err
        assert "rows.csv" in result.message
        assert message in result.message
        assert "Traceback" not in result.err


@pytest.mark.parametrize("how", ["vocabulary", "encoder", "pipeline"])
def test_categories_made_of_digits_stay_text(scoreline: Command, tmp_path: Path, how: str) -> None:
    """A column with a vocabulary, or whose encoder was fitted on text, is text even if it contains only digits; the
    results equal those of plain torch and scikit-learn."""
    frame = pd.DataFrame({"x": np.linspace(0, 1, 12), "zip": ["01", "02", "10"] * 4})
    frame.to_csv(tmp_path / "sample.csv", index=False)
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    torch.save(model.state_dict(), tmp_path / "linear.pt")
    more = ""
    if how == "vocabulary":
        scaled = np.stack([frame["x"], [0, 1, 2] * 4], axis=1)
        taken = 'inputs = {kind = "table", columns = ["x", "zip"], vocabularies = {zip = ["01", "02", "10"]}}'
    else:
        encoder = make_pipeline(OrdinalEncoder(), StandardScaler()) if how == "pipeline" else OrdinalEncoder()
        fitted = ColumnTransformer([("x", StandardScaler(), ["x"]), ("zip", encoder, ["zip"])])
        scaled = fitted.fit_transform(frame)
        skops.io.dump(fitted, tmp_path / "scaler.skops")
        taken, more = 'features = ["x", "zip"]', '[scaler]\nfile = "scaler.skops"\n'
    (tmp_path / "spec.toml").write_text(
        f'{taken}\ntask = {{kind = "regression"}}\nsample = "sample.csv"\n[model]\nweights = "linear.pt"\n'
        f'layers = [{{type = "Linear", in_features = 2, out_features = 1}}]\n{more}'
    )
    packed = scoreline("pack", tmp_path / "spec.toml", tmp_path / "bundle")
    assert packed.code == 0, packed.err
    words = ["--bundle", tmp_path / "bundle", "--input", tmp_path / "sample.csv", "--output", tmp_path / "out"]
    result = scoreline("score", *words)
    assert result.code == 0, result.err
    found = pq.read_table(tmp_path / "out" / "sample.csv.parquet")["prediction"].to_numpy()
    wanted = model(torch.from_numpy(scaled).float()).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_another_delimiter(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """The message says which one is read."""
    iris.frame.rename(columns={"row_id": "id"}).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 0
    (tmp_path / "rows.csv").write_text("id;y\n1;0\n")
    result = scoreline("evaluate", tmp_path / "out", "--label", "y", "--labels", tmp_path / "rows.csv", "--on", "id")
    assert result.code == 2
    assert "rows.csv has no column 'id'; its columns are id;y; separate them by commas" in result.message


def test_labels_that_cannot_be_joined(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Each error names the rows or the value, and what to do."""
    iris.frame.rename(columns={"row_id": "id"}).assign(y="setosa").to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 0
    for name, data, message in (
        ("twice.csv", b"id,y\n4,setosa\n1,setosa\n1,setosa\n", "contains a key twice ('1', rows 1 and 2), so"),
        ("word.csv", b"id,y\n1,setosa\n,setosa\nx9,setosa\n7,setosa\n", "contains 'x9', which cannot be read as key"),
        ("labels.txt", b"id,y\n1,setosa\n", "; if it is CSV, give it a name that ends in .csv"),
    ):
        (tmp_path / name).write_bytes(data)
        result = scoreline("evaluate", tmp_path / "out", "--label", "y", "--labels", tmp_path / name, "--on", "id")
        assert (result.code, name in result.message, message in result.message) == (65, True, True), result.message

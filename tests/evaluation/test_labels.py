"""Labels from files, compared with those of a bundle: blank text, large integers, numbers as text, paths."""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.evaluation.labels import LabelError, binary_truths, label_indices, true_numbers
from sklearn import metrics as skm
from torch import nn

from conftest import Result
from scoreline import Multiclass, Scorer, save_bundle

Command = Callable[..., Result]
BLANK = ["", " ", "\t", "x"]
LARGE = [2**53, 2**53 + 1, 2**63 - 1, -(2**63)]


def bundle(folder: Path, labels: list[Any]) -> Path:
    """A model with one feature, which is the index of the predicted label."""
    model = nn.Linear(1, len(labels))
    with torch.no_grad():  # -(x - index)² without its x²
        indices = torch.arange(len(labels), dtype=torch.float32)
        model.weight[:, 0] = 2 * indices
        model.bias[:] = -(indices**2)
    save_bundle(
        folder / "b", model, features=["x"], task=Multiclass(labels), sample=np.arange(len(labels) * 1.0)[:, None]
    )
    return folder / "b"


def evaluated(scoreline: Command, folder: Path, table: pa.Table, *words: object) -> dict[str, Any]:
    """Score a table whose x is the index of the prediction, and evaluate it."""
    pq.write_table(table, folder / "in.parquet")
    done = scoreline("score", "--bundle", folder / "b", "--input", folder / "in.parquet", "--output", folder / "out")
    assert done.code == 0, done.err
    result = scoreline("evaluate", folder / "out", *(words or ("--label", "y")), "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_blank_text_is_a_label(tmp_path: Path, scoreline: Command, kind: pa.DataType) -> None:
    """If the bundle has it; only null is a missing label then."""
    bundle(tmp_path, BLANK)
    x, y = [0.0, 1.0, 2.0, 3.0, 0.0, 1.0], ["", " ", "\t", "x", " ", None]
    found = evaluated(scoreline, tmp_path, pa.table({"x": x, "y": pa.array(y, kind)}))
    assert (found["rows"], found["without_label"]) == (5, 1)
    predicted = [BLANK[int(index)] for index in x[:5]]
    assert found["confusion"] == skm.confusion_matrix(y[:5], predicted, labels=BLANK).tolist()
    shown = scoreline("evaluate", tmp_path / "out", "--label", "y").out
    assert "' '" in shown
    assert "'\\t'" in shown


def test_cells_of_a_label_file(tmp_path: Path, scoreline: Command) -> None:
    """An empty cell is not a label, a quoted `""` is the empty label; words like NA are text, not null."""
    bundle(tmp_path, ["", " ", "NA", "a\nb"])
    (tmp_path / "y.csv").write_text('note,id,y\n1,0,\n2,1,""\n3,2," "\nx,3,NA\n4,4,"a\nb"\n')
    table = pa.table({"x": [0.0, 0.0, 1.0, 2.0, 3.0], "id": [0, 1, 2, 3, 4]})
    words = ("--label", "y", "--labels", tmp_path / "y.csv", "--on", "id")
    found = evaluated(scoreline, tmp_path, table, *words)
    assert (found["rows"], found["without_label"], found["accuracy"]) == (4, 1, 1)


def test_blank_text_that_is_not_a_label(tmp_path: Path, scoreline: Command) -> None:
    """An empty text is a missing label; a blank one is refused."""
    bundle(tmp_path, ["a", "b"])
    found = evaluated(scoreline, tmp_path, pa.table({"x": [0.0, 1.0], "y": ["", "b"], "z": [" ", "b"]}))
    assert (found["rows"], found["without_label"]) == (1, 1)
    refused = scoreline("evaluate", tmp_path / "out", "--label", "z")
    assert refused.code == 65
    assert "contains ' ', which is not a label; the labels are 'a', 'b'" in refused.message
    assert "not its index" not in refused.message


@pytest.mark.parametrize(("value", "is_index"), [(1, True), ("0", True), (2, False), (-1, False), ("x", False)])
def test_an_index_in_place_of_a_label(value: Any, is_index: bool) -> None:
    """The message tells what to write."""
    with pytest.raises(LabelError) as raised:
        label_indices(pa.array([value]), ["no", "yes"], "y")
    assert str(raised.value).endswith("; write the label itself, not its index") is is_index


@pytest.mark.parametrize("written", ["int64", "decimal", "text", "csv"])
def test_integers_above_2_53(tmp_path: Path, scoreline: Command, written: str) -> None:
    """Neighbouring integers are distinct in evaluation and calibration, in every file format."""
    bundle(tmp_path, LARGE)
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, 400)
    y = [LARGE[index] for index in np.where(rng.random(400) < 0.3, rng.integers(0, 4, 400), indices)]
    kinds = {"int64": pa.int64(), "decimal": pa.decimal128(20, 1)}
    column = pa.array(list(map(str, y))) if written in ("text", "csv") else pa.array(y, pa.int64())
    table = pa.table({"x": indices.astype(float), "y": column.cast(kinds.get(written, column.type))})
    found = evaluated(scoreline, tmp_path, table)
    predicted = [LARGE[index] for index in indices]
    assert found["confusion"] == skm.confusion_matrix(y, predicted, labels=LARGE).tolist()
    file = tmp_path / ("l.csv" if written == "csv" else "l.parquet")
    pd.DataFrame({"x": indices, "y": y}).to_csv(file, index=False) if written == "csv" else pq.write_table(table, file)
    words = ["--bundle", tmp_path / "b", "--input", file, "--label", "y", tmp_path / "c", "--json"]
    done = scoreline("calibrate", *words)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    names = [f"probability_{label}" for label in LARGE]
    after = Scorer.load(tmp_path / "c", device="cpu").score_frame(pd.DataFrame({"x": indices * 1.0}))[names]
    wanted = skm.log_loss([str(LARGE.index(label)) for label in y], after, labels=list("0123"))
    assert report["after"]["log_loss"] == pytest.approx(wanted, rel=1e-4)
    assert json.loads(scoreline("evaluate", tmp_path / "out", "--label", "y", "--json").out)["rows"] == 400


def test_floats_that_may_be_several_labels_are_refused(tmp_path: Path, scoreline: Command) -> None:
    """In evaluation and calibration."""
    bundle(tmp_path, LARGE)
    table = pa.table({"x": [0.0, 1.0], "y": [2.0**53, None]})
    pq.write_table(table, tmp_path / "in.parquet")
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet"]
    assert scoreline("score", *words, "--output", tmp_path / "out").code == 0
    for done in (
        scoreline("evaluate", tmp_path / "out", "--label", "y"),
        scoreline("calibrate", *words, "--label", "y", tmp_path / "c"),
    ):
        assert (
            done.code,
            "(double) contains 9007199254740992.0, which is a float so large that it may be any of several integers"
            in done.message,
        ) == (
            65,
            True,
        )


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(2**53 - 1, 2**53 + 2),
    st.sampled_from([0.5, 1.0, -2.0, 0.1]),
    st.sampled_from([Decimal("0.50"), Decimal("1.00"), Decimal(2**53 + 1)]),
)


@given(st.lists(st.integers(-3, 3) | st.integers(2**53 - 1, 2**53 + 2), min_size=2, max_size=6, unique=True), NUMBERS)
def test_numbers_and_their_text_are_compared_as_python_does(labels: list[int], value: Any) -> None:
    """A value, or its text, is a label if it equals it, and is refused otherwise."""
    for column in (pa.array([value]), pa.array([str(value)]), pa.array([f" {value} "])):
        equal = [at for at, label in enumerate(labels) if label == value]
        if equal:
            indices, known = label_indices(column, labels, "y")
            assert (indices.tolist(), known.tolist()) == (equal, [True])
        else:
            with pytest.raises(DataError, match="which is not a label"):
                label_indices(column, labels, "y")


WORDS = st.text(alphabet=" \t\n\u00a001aé", max_size=2)


@given(st.lists(WORDS, min_size=2, max_size=5, unique=True), WORDS | st.integers(0, 9))
def test_text_is_compared_by_its_characters(labels: list[str], value: Any) -> None:
    """Blanks, letters of any script, and numbers written without leading zeros."""
    wanted = str(value)
    if wanted in labels:
        indices, known = label_indices(pa.array([value, None]), labels, "y")
        assert (indices[0], known.tolist()) == (labels.index(wanted), [True, False])
    elif wanted == "":
        assert not label_indices(pa.array([value]), labels, "y")[1].any()
    else:
        with pytest.raises(DataError, match="which is not a label"):
            label_indices(pa.array([value]), labels, "y")


@pytest.mark.parametrize(
    ("labels", "column", "indices"),
    [
        ([False, True], pa.array([1.0, 0.0, None]), [1, 0]),
        ([False, True], pa.array(["yes", "FALSE", ""]), [1, 0]),
        ([False, True], pa.array([Decimal("1.00"), Decimal(0), None]), [1, 0]),
        (["True", "False"], pa.array([True, False, None]), [0, 1]),
        (["false", "true"], pa.array([True, False, None]), [1, 0]),
        ([0, 1], pa.array([True, False, None]), [1, 0]),
        ([0.1, 0.5], pa.array([0.1, 0.5, float("nan")], pa.float32()), [0, 1]),
        (["0.1", "0.5"], pa.array([0.1, 0.5, None], pa.float32()), [0, 1]),
        (["0", "1"], pa.array([1.0, 0.0, None]), [1, 0]),
        (["2026-01-01", "x"], pa.array([20454, 20454, None], pa.date32()), [0, 0]),
    ],
)
def test_labels_of_other_types(labels: list[Any], column: pa.Array, indices: list[int]) -> None:
    """Are converted; the last row has no label."""
    found, known = label_indices(column, labels, "y")
    assert found[:2].tolist() == indices
    assert known.tolist() == [True, True, False]


def test_invalid_values_are_refused() -> None:
    """With the value and the rule."""
    for column, labels, message in (
        (pa.array([True]), ["true", "True"], "could be 'true' and 'True'; write it as text"),
        (pa.array([2.0**24], pa.float32()), [2**24, 2**24 + 1], "may be any of several integers"),
        (pa.array(["01"]), ["1", "2"], "contains '01', which is not a label"),
        (pa.array(["1_0"]), [10, 2], "contains '1_0', which is not a label"),
        (pa.array([[1]]), [1, 2], "is list"),
    ):
        with pytest.raises(DataError, match=message):
            label_indices(column, labels, "y")
    with pytest.raises(DataError, match="contains inf; a true value must be a finite number"):
        true_numbers(pa.array([1.0, float("inf")]), "y")
    with pytest.raises(DataError, match="contains ' ', which is neither yes"):
        binary_truths([pa.array(["1", " "])], ["y"])


@pytest.mark.parametrize("kind", ["path", "view"])
def test_labels_from_the_path_and_from_string_views_are_calibrated(
    tmp_path: Path, scoreline: Command, kind: str
) -> None:
    """With the same result as labels from a plain column."""
    bundle(tmp_path, ["no", "yes"])
    rng = np.random.default_rng(0)
    x = np.where(rng.random(200) < 0.1, np.nan, rng.integers(0, 2, 200))  # rows with a null are rejected
    y = np.where(rng.random(200) < 0.2, rng.integers(0, 2, 200), np.nan_to_num(x)).astype(int)
    words = np.array(["no", "yes"])[y]
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"x": x, "y": words}), tmp_path / "plain" / "a.parquet")
    for label in ("no", "yes"):
        if kind == "path":
            folder = tmp_path / "in" / f"y={label}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"x": x[words == label]}), folder / "a.parquet")
    if kind != "path":
        (tmp_path / "in").mkdir()
        views = pa.array(words.tolist(), pa.string_view())
        pq.write_table(pa.table({"x": x, "y": views}), tmp_path / "in" / "a.parquet")
    reports = []
    for folder_name in ("plain", "in"):
        done = scoreline("calibrate", "--bundle", tmp_path / "b", "--input", tmp_path / folder_name, "--label", "y",
                         "--json", tmp_path / f"c-{folder_name}")  # fmt: skip
        assert done.code == 0, done.err
        reports.append(json.loads(done.out))
    assert reports[0]["rows"] == reports[1]["rows"]
    assert reports[1]["after"]["log_loss"] == pytest.approx(reports[0]["after"]["log_loss"], rel=1e-6)


def test_rows_without_a_label() -> None:
    """Null, NaN and an empty text; their index is a valid one, which is not to be used."""
    indices, known = label_indices(pa.array(["b", "", None, "a"]), ["a", "b"], "y")
    assert (indices.tolist(), known.tolist()) == ([1, 0, 0, 0], [True, False, False, True])
    indices, known = label_indices(pa.array([2.0, math.nan]), [1, 2], "y")
    assert (indices.tolist(), known.tolist()) == ([1, 0], [True, False])


def test_yes_and_no_of_several_labels() -> None:
    """A row has a truth only if it has one for each label."""
    columns = [pa.array(["yes", "0", "", "TRUE"]), pa.array([1.0, None, 0.0, 0.0])]
    truths, known = binary_truths(columns, ["u", "v"])
    assert known.tolist() == [True, False, False, True]
    assert truths[known].tolist() == [[True, True], [True, False]]
    assert not truths[~known][:, 0].any()


def test_true_numbers() -> None:
    """An empty cell is missing, a blank one is not a number."""
    values, known = true_numbers(pa.array(["1.5", "", None, " 2 "]), "y")
    assert (values[known].tolist(), known.tolist()) == ([1.5, 2.0], [True, False, False, True])
    values, known = true_numbers(pa.array([math.nan, 3.0]), "y")
    assert (values[known].tolist(), known.tolist()) == ([3.0], [False, True])
    with pytest.raises(DataError, match="not numeric"):
        true_numbers(pa.array(["1", " "]), "y")


def test_floats_as_text_labels() -> None:
    """With or without the point; not where a float may be several integers."""
    assert label_indices(pa.array([1.0, 2.0]), ["2.0", "1.0"], "y")[0].tolist() == [1, 0]
    assert label_indices(pa.array([1.0, 2.0]), ["2", "1"], "y")[0].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"could be '1' and '1\.0'"):
        label_indices(pa.array([1.0]), ["1", "1.0"], "y")
    large = str(2**53)
    assert label_indices(pa.array([2.0**53 - 1]), [str(2**53 - 1), large], "y")[0].tolist() == [0]
    with pytest.raises(DataError, match="is not a label"):
        label_indices(pa.array([2.0**53]), [str(2**53 - 1), large], "y")


def test_numbers_as_text() -> None:
    """A label that is not an integer is the float that the text is read as."""
    assert label_indices(pa.array(["0.10", " 0.2", "1e-1"]), [0.1, 0.2], "y")[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("digits", [4301, 6000])
def test_more_digits_than_python_converts(digits: int) -> None:
    """Not a label; the message has the first of them."""
    for text in ("7" * digits, "0" * digits + ".5"):
        with pytest.raises(DataError, match=r"contains '[07]+\.\.\., which is not a label") as raised:
            label_indices(pa.array(["1", text]), [1, 2], "y")
        assert len(str(raised.value)) < 200


def test_many_labels_in_a_message() -> None:
    """The first eight, and the number of the others."""
    with pytest.raises(DataError, match=r"is not a label; the labels are 0, 1, 2, 3, 4, 5, 6, 7 and 2 more$"):
        label_indices(pa.array([10]), list(range(10)), "y")

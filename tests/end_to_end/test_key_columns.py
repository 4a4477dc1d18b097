"""Names of key columns, keys that are compared or joined, and how `check` shows keys."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrow_types import EXTENSIONS, LEAVES
from conftest import Example, Result
from keyed_rows import BAD, GOOD, ROWS, rejects_of, table_of
from scoreline import Regression, save_bundle
from textbook import ClassificationModel, randomized

Command = Callable[..., Result]


@pytest.mark.parametrize(
    ("taken", "name"),
    [([], "reject"), (["reject"], "reject_"), (["reject", "reject_"], "reject__"), (["reject_"], "reject")],
)
@pytest.mark.parametrize("layout", ["parquet", "csv"])
def test_input_columns_called_reject(
    scoreline: Command, iris: Example, tmp_path: Path, taken: list[str], name: str, layout: str
) -> None:
    """They keep their names in the rejects; the reason is the last column, with as many underscores as needed."""
    table = table_of(iris, {key: pa.array([f"{key} {n}" for n in range(ROWS)]) for key in taken})
    file, out = tmp_path / f"in.{layout}", tmp_path / "out"
    if layout == "csv":
        table.to_pandas().to_csv(file, index=False)
    else:
        pq.write_table(table, file)
    words = ["--bundle", iris.bundle, "--input", file]
    result = scoreline("score", *words, "--output", out)
    assert result.code == 65
    assert f"in.{layout}: row 2: column 'sepal width (cm)' is " in result.message
    assert scoreline("score", *words, "--output", out, "--max-rejects", 3).code == 0
    (left,) = (out / "_rejects").iterdir()
    rejects = rejects_of(left)
    assert rejects.column_names == [*iris.features, *taken, "truth", name]
    assert [reason["row_number"] for reason in rejects[name].to_pylist()] == BAD
    for key in taken:
        assert rejects[key].to_pylist() == [f"{key} {n}" for n in BAD]
    assert scoreline("verify", out).code == 0
    assert len(json.loads(scoreline("check", *words, "--json").out)["rows"]["rejects"]) == len(BAD)


def test_parts_with_different_columns(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Are noted once, whether a column is missing or has another type; --keys makes them alike."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, keys in {"a": {}, "b": {}, "c": {"extra": pa.array(range(ROWS))}, "d": {"extra": pa.nulls(ROWS)}}.items():
        pq.write_table(table_of(iris, keys), folder / f"{name}.parquet")
    words = ["score", "--bundle", iris.bundle, "--input", folder, "--max-rejects", "100%"]
    noted = scoreline(*words, "--output", tmp_path / "out").event("part_columns_differ")
    difference = "column 'extra' is not in 'a.parquet' and int64 in 'c.parquet'"
    assert (noted["count"], noted["first"], noted["difference"]) == (2, "c.parquet", difference)
    (folder / "a.parquet").unlink()
    (folder / "b.parquet").unlink()
    noted = scoreline(*words, "--output", tmp_path / "types").event("part_columns_differ")
    assert noted["difference"] == "column 'extra' is int64 in 'c.parquet' and null in 'd.parquet'"
    done = scoreline(*words, "--output", tmp_path / "keys", "--keys", "truth")
    assert (done.code, "part_columns_differ" in done.err) == (0, False)


@pytest.mark.parametrize("feature", [False, True])
def test_columns_that_are_not_carried_have_any_name(scoreline: Command, tmp_path: Path, feature: bool) -> None:
    """A feature, or a column that is not carried, has the name of an output column: verify compares only keys."""
    names = ["prediction", "x"] if feature else ["w", "x"]
    frame = pd.DataFrame({name: np.linspace(-1, 1, 20) for name in names} | {"id": range(20)})
    model = randomized(ClassificationModel(2, [4], 1))
    save_bundle(tmp_path / "b", model, features=names, task=Regression(), sample=frame)
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    frame.assign(prediction=7.0 if not feature else frame[names[0]]).to_parquet(file, index=False)
    words = ["--bundle", tmp_path / "b", "--input", file, "--output", out, *([] if feature else ["--keys", "id"])]
    assert scoreline("score", *words).code == 0
    verified = scoreline("verify", out, "--json")
    assert (verified.code, json.loads(verified.out)["keys_compared"]) == (0, 1)
    changed = pq.read_table(out / "in.parquet")
    assert changed.column_names == ["id", "prediction"]


def test_carried_keys_are_still_compared(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """An input with other keys, but the same size and time."""
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    table = table_of(iris, {"key": pa.array([[float(n), float("nan")] for n in range(ROWS)])})
    pq.write_table(table, file, use_dictionary=False, compression="none", write_statistics=False)
    stat = file.stat()
    words = ["--bundle", iris.bundle, "--input", file, "--output", out, "--max-rejects", 3]
    assert scoreline("score", *words).code == 0
    assert scoreline("verify", out).code == 0
    column = table.column_names.index("key")
    other = table.set_column(column, "key", pa.array([[float(n), 2.0] for n in range(ROWS)]))
    pq.write_table(other, file, use_dictionary=False, compression="none", write_statistics=False)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    result = scoreline("verify", out)
    assert result.code == 65
    assert "the keys are not those of in.parquet" in result.out + result.err


def test_keys_of_different_types_are_not_joined(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Nor are lists and structs: refused with the name of the column."""
    keys = {"one": pa.array([f"{n}" for n in range(ROWS)]), "two": pa.array([{"a": n} for n in range(ROWS)])}
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    pq.write_table(table_of(iris, keys), file)
    words = ["--bundle", iris.bundle, "--input", file, "--output", out, "--max-rejects", 3]
    assert scoreline("score", *words).code == 0
    labels = {"one": keys["two"], "two": keys["two"], "y": pa.array([n % 3 for n in range(ROWS)])}
    pq.write_table(pa.table(labels), tmp_path / "labels.parquet")
    for key in keys:
        joined = ["--label", "y", "--labels", tmp_path / "labels.parquet", "--on", key]
        result = scoreline("evaluate", out, *joined)
        assert result.code == 65, result.err
        assert f"key {key!r} of " in result.message
        assert "is nested" in result.message


def array_of(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.wrap_array(pa.array(values, kind.storage_type))
    return pa.array(values, kind)


def test_labels_are_joined_by_keys_of_any_type(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Every type without children; the labels are in another order, as string views, which Arrow cannot look up."""
    kinds = {f"k{n}": kind for n, kind in enumerate([*LEAVES, *EXTENSIONS]) if not pa.types.is_null(kind)}
    known = {name: list(dict.fromkeys({**LEAVES, **EXTENSIONS}[kind])) for name, kind in kinds.items()}
    known = {name: [value for value in values if value == value] for name, values in known.items()}
    indices = {name: [row % len(values) for row in range(ROWS)] for name, values in known.items()}
    keys = {name: array_of(kind, [known[name][at] for at in indices[name]]) for name, kind in kinds.items()}
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    pq.write_table(table_of(iris, keys), file)
    words = ["--bundle", iris.bundle, "--input", file, "--output", out, "--max-rejects", 3]
    assert scoreline("score", *words).code == 0
    predicted = pq.read_table(out / "in.parquet")["prediction"].to_pylist()
    for name, kind in kinds.items():
        labels = pa.array([str(at % 3) for at in reversed(range(len(known[name])))], pa.string_view())
        table = pa.table({name: array_of(kind, known[name][::-1]), "y": labels})
        pq.write_table(table, tmp_path / "labels.parquet")
        joined = ["--label", "y", "--labels", tmp_path / "labels.parquet", "--on", name]
        answer = scoreline("evaluate", out, *joined, "--json")
        assert answer.code == 0, (kind, answer.err)
        right = [indices[name][row] % 3 == label for row, label in zip(GOOD, predicted, strict=True)]
        assert json.loads(answer.out)["accuracy"] == pytest.approx(np.mean(right)), kind
        assert json.loads(answer.out)["rows"] == len(GOOD), kind


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_calibration_reads_labels_of_any_text(
    scoreline: Command, iris: Example, tmp_path: Path, kind: pa.DataType
) -> None:
    """With rows that are rejected: the same numbers as from plain strings."""
    frame = iris.frame.astype(dict.fromkeys(iris.features, float)).drop(columns="truth")
    frame.loc[17, iris.features[0]] = np.nan
    right = [str(int(label) if n % 4 else n % 3) for n, label in enumerate(iris.raw().argmax(axis=1))]
    found = []
    for name, one in (("plain", pa.string()), ("other", kind)):
        table = pa.Table.from_pandas(frame, preserve_index=False).append_column("y", pa.array(right, one))
        pq.write_table(table, tmp_path / f"{name}.parquet")
        words = ["--bundle", iris.bundle, "--input", tmp_path / f"{name}.parquet", "--label", "y", "--json"]
        result = scoreline("calibrate", tmp_path / name, *words)
        assert result.code == 0, result.err
        answer = json.loads(result.out)
        found.append((answer["rows"], answer["skipped"], answer["fitted"]))
    assert found[0] == found[1]
    assert found[0][:2] == (149, 1)


def test_check_shows_values_that_python_cannot_represent(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Dates beyond the year 9999 are shown as Arrow's text."""
    far = pa.array([2**62 if n % 2 else 0 for n in range(ROWS)], pa.timestamp("us"))
    pq.write_table(table_of(iris, {"far": far, "fars": pa.array([[value] for value in far])}), tmp_path / "in.parquet")
    words = ["check", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet"]
    assert scoreline(*words).code == 0
    shown = json.loads(scoreline(*words, "--json").out)["rows"]["scored"]
    assert shown[0]["far"] == "1970-01-01 00:00:00"
    assert "4611686018427387904" in shown[1]["far"]
    assert "4611686018427387904" in str(shown[1]["fars"])

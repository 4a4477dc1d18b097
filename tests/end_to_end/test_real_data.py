"""The command on real data, compared with bare torch and scikit-learn, read back with pyarrow."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.model.members import Members

from conftest import Example, Result
from outcomes import recorded
from scoreline import Scorer

EXAMPLES = ["digits", "iris", "diabetes", "cancer"]
STAGES = [
    "discover", "read", "check", "profile", "scale", "transfer", "forward", "decode", "profile_outputs", "write",
    "publish",
]  # fmt: skip


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    """Each data set in turn."""
    return request.getfixturevalue(request.param)


def disordered(example: Example) -> pd.DataFrame:
    """Columns permuted, extra columns between the features."""
    frame = example.frame.assign(note=[f'row, "{n}"' for n in range(len(example.frame))], extra=1.5)
    return frame[np.random.default_rng(1).permutation(frame.columns)]


def assert_as_bare_torch(example: Example, got: pa.Table) -> None:
    """Assert equal labels, and probabilities within 1e-6 of `model.eval()` on `scaler.transform(X.astype(float64))`."""
    raw = torch.from_numpy(example.raw())
    if example.task == "regression":
        np.testing.assert_allclose(got["prediction"].to_numpy(), raw[:, 0], rtol=1e-6, atol=1e-6)
    elif example.task == "binary":
        probability = torch.sigmoid(raw[:, 0])
        np.testing.assert_allclose(got["probability"].to_numpy(), probability, rtol=0, atol=1e-6)
        assert got["prediction"].to_pylist() == [example.labels[int(p > 0.5)] for p in probability]
    else:
        probabilities = torch.softmax(raw, dim=1)
        for index, label in enumerate(example.labels):
            column = got[f"probability_{label}"].to_numpy()
            np.testing.assert_allclose(column, probabilities[:, index], rtol=0, atol=1e-6)
        assert got["prediction"].to_pylist() == [example.labels[n] for n in raw.argmax(1)]


def test_parquet_with_columns_in_any_order(example: Example, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """Every key and the order are unchanged, in name, type and value."""
    table = pa.Table.from_pandas(disordered(example), preserve_index=False)
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    result = scoreline(
        "score", "--bundle", example.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"
    )
    assert result.code == 0, result.err
    got = pq.read_table(tmp_path / "out" / "in.parquet")
    keys = [name for name in table.column_names if name not in example.features]
    assert got.column_names[: len(keys)] == keys
    assert got.select(keys).cast(table.select(keys).schema) == table.select(keys)
    assert got.select(keys).schema.types == table.select(keys).schema.types
    assert_as_bare_torch(example, got)


def test_csv_with_columns_in_any_order(example: Example, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """The same from CSV, in which keys stay text."""
    frame = disordered(example)
    frame.to_csv(tmp_path / "in.csv", index=False)
    result = scoreline("score", "--bundle", example.bundle, "--input", tmp_path, "--output", f"{tmp_path}-out")
    assert result.code == 0, result.err
    got = pq.read_table(f"{tmp_path}-out/in.csv.parquet")
    keys = [name for name in frame.columns if name not in example.features]
    text = pacsv.read_csv(
        tmp_path / "in.csv", convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(keys, pa.string()))
    )
    assert got.select(keys) == text.select(keys)
    assert_as_bare_torch(example, got)


def test_every_interface_gives_the_same_result(
    example: Example, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """score_table, score_frame, score_batches and the command agree to the last bit."""
    table = pa.Table.from_pandas(example.frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "in.parquet")
    assert not scoreline(
        "score", "--bundle", example.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o"
    ).code
    command = pq.read_table(tmp_path / "o" / "in.parquet").replace_schema_metadata(None)
    scorer = Scorer.load(example.bundle, device="cpu")
    assert scorer.score_table(table) == command
    batches = list(scorer.score_batches(table.to_batches(max_chunksize=37)))
    assert pa.Table.from_batches([batch.rows for batch in batches]) == command
    assert sum(batch.rejects.num_rows for batch in batches) == 0
    shuffled = example.frame.set_index(example.frame.index[::-1] * 3)
    frame = scorer.score_frame(shuffled)
    assert frame.index.equals(shuffled.index)
    assert (
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None).cast(command.schema) == command
    )


@pytest.fixture
def tree(tmp_path: Path, iris: Example) -> Path:
    """Iris as a Hive tree of Parquet, CSV and CSV.GZ, 50 rows each."""
    root = tmp_path / "tree"
    for n, name in enumerate(["date=2026-11-01/a.parquet", "date=2026-11-02/b.csv", "date=2026-11-02/sub/c.csv.gz"]):
        part, file = iris.frame.iloc[50 * n : 50 * n + 50], root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            part.to_parquet(file, index=False)
        else:
            text = part.to_csv(index=False).encode()
            file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (root / "README.md").write_text("not an input")
    return root


def test_a_tree_is_mirrored(tree: Path, tmp_path: Path, iris: Example, scoreline: Callable[..., Result]) -> None:
    """One output per input, under the same path; the path carries the Hive keys; foreign files are logged."""
    out = tmp_path / "out"
    result = scoreline("score", "--bundle", iris.bundle, "--input", tree, "--output", out)
    assert result.code == 0, result.err
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()) == [
        "_SUCCESS",
        "_scoreline/history.jsonl",
        "_scoreline/lock",
        "_scoreline/parts.pq",
        "_scoreline/profile.json",
        "_scoreline/report.html",
        "_scoreline/run.json",
        "date=2026-11-01/a.parquet",
        "date=2026-11-02/b.csv.parquet",
        "date=2026-11-02/sub/c.csv.gz.parquet",
    ]
    parts = ["date=2026-11-01/a.parquet", "date=2026-11-02/b.csv.parquet", "date=2026-11-02/sub/c.csv.gz.parquet"]
    tables = [pq.ParquetFile(out / part).read() for part in parts]
    predictions = pa.concat_tables(
        [table.select([n for n in table.column_names if n.startswith("pr")]) for table in tables]
    )
    assert_as_bare_torch(iris, predictions)
    assert ds.dataset(out / "date=2026-11-01", format="parquet").count_rows() == 50
    run = json.loads((out / "_scoreline/run.json").read_text())
    assert (run["status"], run["rows_in"], run["first_ignored"]) == ("success", 150, ["README.md"])
    assert [part["target"] for part in recorded(out)] == parts


def test_a_hive_key_can_be_a_feature(
    tree: Path, tmp_path: Path, iris: Example, scoreline: Callable[..., Result]
) -> None:
    """Its text is read as a number."""
    feature = iris.features[0]
    folder = tmp_path / "keyed" / f"{feature}=5.1"
    folder.mkdir(parents=True)
    rest = iris.frame.drop(columns=feature)
    rest.to_parquet(folder / "a.parquet", index=False)
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "keyed", "--output", tmp_path / "out")
    assert result.code == 0, result.err
    got = pq.ParquetFile(tmp_path / "out" / f"{feature}=5.1" / "a.parquet").read()
    expected = torch.softmax(torch.from_numpy(iris.raw(iris.frame.assign(**{feature: 5.1}))), 1)
    np.testing.assert_allclose(got["probability_0"].to_numpy(), expected[:, 0], rtol=0, atol=1e-6)
    assert feature not in got.column_names


def test_every_stage_is_in_the_log_with_measured_seconds(
    tree: Path, tmp_path: Path, iris: Example, scoreline: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """split_published and run_ended name every stage; the waits and the start-up add up to the wall time, of a model
    that takes longer than what surrounds the stages."""
    forward = Members.run

    def slowly(*given: Any) -> Any:
        sleep(0.2)
        return forward(*given)

    monkeypatch.setattr(Members, "run", slowly)
    result = scoreline(
        "score", "--bundle", iris.bundle, "--input", tree, "--output", tmp_path / "out", "--run-id", "r1"
    )
    assert result.code == 0
    splits = [event for event in result.events if event["event"] == "split_published"]
    assert {split["partition"].rpartition("/")[2] for split in splits} == {"a.parquet", "b.csv", "c.csv.gz"}
    for split in splits:
        assert list(split["stages"]) == STAGES
        for stage in STAGES[1:]:
            assert split["stages"][stage]["busy_s"] > 0, stage
            assert split["stages"][stage]["rows"] == 50, stage
            assert split["stages"][stage]["bytes"] > 0, stage
    end = result.event("run_ended")
    assert end["rows"] == 150
    assert list(end["stages"]) == STAGES
    waited = sum(stage["waiting_s"] for stage in end["stages"].values()) + end["startup_s"]
    assert end["seconds"] / 2 < waited <= end["seconds"]
    assert end["verdict"].startswith("waited for ")
    assert {event["run_id"] for event in result.events} == {"r1"}
    assert all(list(event)[:3] == ["ts", "level", "event"] and event["ts"].endswith("Z") for event in result.events)
    assert json.loads((tmp_path / "out/_scoreline/run.json").read_text())["verdict"] == end["verdict"]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 149, 150, 151])
def test_block_size_changes_no_label_and_no_order(
    tmp_path: Path, iris: Example, batch_size: int, scoreline: Callable[..., Result]
) -> None:
    """N4: blocks of 1, 7, 64, n, n±1 rows."""
    pq.write_table(pa.Table.from_pandas(iris.frame), tmp_path / "in.parquet", row_group_size=40)
    result = scoreline(
        "score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out",
        "--batch-size", batch_size,
    )  # fmt: skip
    assert result.code == 0, result.err
    got = pq.read_table(tmp_path / "out" / "in.parquet")
    assert got["row_id"].to_pylist() == iris.frame["row_id"].tolist()
    assert_as_bare_torch(iris, got)


KEYS: dict[str, pa.Array] = {
    "int64": pa.array([2**53 + 1, None, -(2**63)], pa.int64()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "int8": pa.array([1, None, -128], pa.int8()),
    "bool": pa.array([True, None, False]),
    "float16": pa.array(np.array([1.5, 2, 3], dtype=np.float16)),
    "float64": pa.array([float("nan"), None, float("-inf")]),
    "decimal128": pa.array(["1.10", None, "-9.99"]).cast(pa.decimal128(20, 2)),
    "decimal256": pa.array(["1.10", None, "-9.99"]).cast(pa.decimal256(60, 2)),
    "timestamp": pa.array([-62135596800000000, None, 253402300799999999], pa.timestamp("us", "Europe/Berlin")),
    "timestamp_ns": pa.array([1, None, 2**62], pa.timestamp("ns")),
    "date32": pa.array([0, None, -719162], pa.date32()),
    "time64": pa.array([1, None, 86399999999], pa.time64("us")),
    "duration": pa.array([1, None, -5], pa.duration("ms")),
    "string": pa.array(["", None, 'é\n\x00,"']),
    "large_string": pa.array(["a", None, "b"], pa.large_string()),
    "binary": pa.array([b"\xff\x00", None, b""]),
    "fixed_binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "dictionary": pa.array(["x", None, "x"]).dictionary_encode(),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "null": pa.nulls(3),
    "a.b c": pa.array([1, 2, 3]),
    "": pa.array([4, 5, 6]),
}


def test_keys_of_every_type_pass_unchanged(tmp_path: Path, iris: Example, scoreline: Callable[..., Result]) -> None:
    """N7: same type, same value, including nulls and the limits of their ranges."""
    features = pa.Table.from_pandas(iris.frame[iris.features].head(3), preserve_index=False)
    table = pa.table({**KEYS, **{name: features[name] for name in features.column_names}})
    pq.write_table(table, tmp_path / "in.parquet")
    before = pq.read_table(tmp_path / "in.parquet").select(list(KEYS))
    result = scoreline(
        "score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"
    )
    assert result.code == 0, result.err
    got = pq.read_table(tmp_path / "out" / "in.parquet").select(list(KEYS))
    assert got.schema.types == before.schema.types
    for name in KEYS:
        if name == "float64":
            assert str(got[name].to_pylist()) == str(before[name].to_pylist())
        else:
            assert got[name].combine_chunks() == before[name].combine_chunks(), name


class TestOutputs:
    """The layout of predictions."""

    def run(self, scoreline: Callable[..., Result], iris: Example, tmp_path: Path, *words: Any) -> pa.Table:
        pq.write_table(pa.Table.from_pandas(iris.frame, preserve_index=False), tmp_path / "in.parquet")
        result = scoreline(
            "score",
            "--bundle",
            iris.bundle,
            "--input",
            tmp_path / "in.parquet",
            "--output",
            tmp_path / "out",
            *words,
        )
        assert result.code == 0, result.err
        return pq.read_table(tmp_path / "out" / "in.parquet")

    def test_named_keys(self, scoreline: Callable[..., Result], iris: Example, tmp_path: Path) -> None:
        """In the order in which they are named; one may be a feature."""
        feature = iris.features[0]
        got = self.run(scoreline, iris, tmp_path, "--keys", f"{feature},row_id")
        assert got.column_names[:2] == [feature, "row_id"]
        assert got[feature].to_pylist() == iris.frame[feature].tolist()
        assert "truth" not in got.column_names

    def test_no_keys(self, scoreline: Callable[..., Result], iris: Example, tmp_path: Path) -> None:
        """Only predictions."""
        got = self.run(scoreline, iris, tmp_path, "--keys", "none", "--probabilities", "none")
        assert got.column_names == ["prediction"]

    def test_probabilities_as_a_list(self, scoreline: Callable[..., Result], iris: Example, tmp_path: Path) -> None:
        """One fixed-size list per row, in the order of the labels."""
        got = self.run(scoreline, iris, tmp_path, "--probabilities", "list", "--prefix", "m_")
        assert got.column_names[-2:] == ["m_prediction", "m_probabilities"]
        lists = np.array(got["m_probabilities"].to_pylist())
        np.testing.assert_allclose(lists, torch.softmax(torch.from_numpy(iris.raw()), 1), rtol=0, atol=1e-6)
        assert got.schema.field("m_probabilities").type == pa.list_(pa.float32(), 3)

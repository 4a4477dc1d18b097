"""Saving bundles with expressions: what is recorded, what is refused, and the sample's own engineered columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

pytest.importorskip("duckdb")

from scoreline.pipeline.errors import ColumnError, UsageError

from expression_models import FEATURES, SQL, engineered, raw_rows, save, trained
from scoreline import (
    Binary,
    BundleError,
    Expressions,
    GoldenMismatchError,
    Regression,
    Scorer,
    Table,
    TokenSequence,
    save_bundle,
)


def linear(width: int) -> nn.Module:
    """One layer with fixed weights."""
    torch.manual_seed(1)
    return nn.Linear(width, 1).eval()


def test_what_is_recorded(tmp_path: Path) -> None:
    """The raw columns with their types, and the expressions in order; golden rows hold the raw columns."""
    save(tmp_path / "b")
    manifest = json.loads((tmp_path / "b/bundle.json").read_text())
    assert [(one["name"], one["dtype"], one["arrow"]["kind"]) for one in manifest["features"]] == [
        ("ts", "raw", "timestamp"), ("amount", "raw", "float64"), ("city", "raw", "text"),
    ]  # fmt: skip
    assert [(one["name"], one["sql"], one["dtype"]) for one in manifest["expressions"]] == [
        ("hour", "hour(ts)", "int64"), ("amount_log", "ln(amount + 1)", "float64"), ("city", SQL["city"], "text"),
    ]  # fmt: skip
    names = pa.parquet.read_schema(tmp_path / "b/golden.parquet").names
    assert [name for name in names if name.startswith("feature:")] == ["feature:ts", "feature:amount", "feature:city"]


def test_scores_as_the_training_code(tmp_path: Path) -> None:
    """Equal to pandas, scikit-learn and torch on other rows, from pandas and from Arrow."""
    save(tmp_path / "b")
    rows, scorer = raw_rows(1_000, seed=7), Scorer.load(tmp_path / "b")
    wanted = trained().probabilities(rows)
    np.testing.assert_allclose(scorer.score_frame(rows)["probability"], wanted, atol=2e-6)
    table = pa.Table.from_pandas(rows)
    np.testing.assert_allclose(scorer.score_table(table).column("probability"), wanted, atol=2e-6)


def test_columns_that_are_passed_through(tmp_path: Path) -> None:
    """A feature that no expression computes: from the file as it is, also where an expression reads it."""
    raw = raw_rows()
    raw["age"] = np.arange(400) % 80
    sql = {"log": "ln(amount + age + 1)"}
    frame = pd.DataFrame({"amount": raw.amount, "log": np.log(raw.amount + raw.age + 1), "age": raw.age})
    scaler = StandardScaler().fit(frame)
    path = tmp_path / "b"
    save_bundle(
        path, linear(3), features=["amount", "log", "age"], task=Regression(), preprocessing=[Expressions(sql), scaler],
        sample=raw,
    )  # fmt: skip
    with torch.no_grad():
        wanted = linear(3)(torch.from_numpy(scaler.transform(frame).astype(np.float32)))[:, 0].numpy()
    np.testing.assert_allclose(Scorer.load(path).score_frame(raw)["prediction"], wanted, rtol=1e-5)


def test_nulls_for_an_imputer(tmp_path: Path) -> None:
    """A null result is kept where a step replaces it, and is a reject elsewhere."""
    raw = pa.table({"a": pa.array([1.0, None, 3.0, 4.0] * 10), "b": pa.array([1.0, 2.0, None, 4.0] * 10)})
    frame = raw.to_pandas()
    transformer = ColumnTransformer(
        [("a", make_pipeline(SimpleImputer(), StandardScaler()), ["x"]), ("b", StandardScaler(), ["y"])]
    ).fit(pd.DataFrame({"x": frame.a * 2, "y": frame.b + 1}))
    path = tmp_path / "b"
    save_bundle(
        path, linear(2), features=["x", "y"], task=Regression(), sample=raw,
        preprocessing=[Expressions({"x": "a * 2", "y": "b + 1"}), transformer],
    )  # fmt: skip
    scored, rejects = Scorer.load(path).score_table(raw.slice(0, 4), with_rejects=True)
    assert scored.num_rows == 3
    assert rejects.column("reject").to_pylist() == [
        {"source": "", "row_number": 2, "stage": "expressions", "column": "y", "reason": "is null"}
    ]
    assert rejects.column("a").to_pylist() == [3.0]


def test_lists_and_structs_in_golden_rows(tmp_path: Path) -> None:
    """Nested columns go in, numbers come out, and the golden rows hold the nested values."""
    raw = pa.table(
        {
            "items": pa.array([[float(i) for i in range(n % 4 + 1)] for n in range(50)]),
            "user": pa.array([{"age": n % 70, "name": "x" * (n % 5)} for n in range(50)]),
            "at": pa.array([n * 3_600_000_000 for n in range(50)], pa.timestamp("us", "UTC")),
        }
    )
    sql = {"sum": "list_sum(items)", "age": '"user".age', "name": 'len("user".name)', "hour": 'hour("at")'}
    save_bundle(
        tmp_path / "b", linear(4), features=list(sql), task=Regression(), preprocessing=Expressions(sql), sample=raw
    )
    golden = pa.parquet.read_table(tmp_path / "b/golden.parquet")
    assert golden.column("feature:user").type == raw.schema.field("user").type
    assert Scorer.load(tmp_path / "b").score_table(raw).num_rows == 50


def test_beside_a_sequence(tmp_path: Path) -> None:
    """A table of expressions and a sequence of the file."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.words = nn.Linear(1, 1), nn.Embedding(5, 1)

        def forward(self, numbers: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return self.table(numbers) + self.words(tokens).mean(1)

    torch.manual_seed(0)
    raw = pa.table({"t": [[1, 2], [3], [4, 0, 1], [2]] * 5, "x": ["1", "2", "3", "4"] * 5})
    save_bundle(
        tmp_path / "b", Both().eval(), task=Regression(), sample=raw, preprocessing=[Expressions({"n": "x::INT"})],
        inputs={"numbers": Table(["n"]), "tokens": TokenSequence("t", longest=3)},
    )  # fmt: skip
    assert Scorer.load(tmp_path / "b").score_table(raw).num_rows == 20


def test_samples_of_other_kinds(tmp_path: Path) -> None:
    """Arrow tables, a stream that can be read only once, and DuckDB's own relations give the same bundle."""
    import duckdb

    table = pa.Table.from_pandas(raw_rows(), preserve_index=False)
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=100))
    save(tmp_path / "table", sample=table)
    save(tmp_path / "stream", sample=stream)
    save(tmp_path / "duckdb", sample=duckdb.connect().from_arrow(table))
    expected = (tmp_path / "table/golden.parquet").read_bytes()
    assert (tmp_path / "stream/golden.parquet").read_bytes() == expected
    assert (tmp_path / "duckdb/golden.parquet").read_bytes() == expected


def test_booleans_and_large_integers(tmp_path: Path) -> None:
    """A boolean is 0 or 1; a sum of integers, which DuckDB makes 128 bits wide, is a number."""
    raw = pa.table({"items": pa.array([[n, n + 1] for n in range(20)]), "x": [n / 2 for n in range(20)]})
    sql = {"sum": "list_sum(items)", "large": "x > 5"}
    path = tmp_path / "b"
    save_bundle(path, linear(2), features=list(sql), task=Regression(), preprocessing=[Expressions(sql)], sample=raw)
    values = np.array([[2 * n + 1, n / 2 > 5] for n in range(20)], dtype=np.float32)
    with torch.no_grad():
        wanted = linear(2)(torch.from_numpy(values))[:, 0].numpy()
    np.testing.assert_allclose(Scorer.load(path).score_table(raw).column("prediction"), wanted, rtol=1e-6)


def test_rows_that_raise_are_not_golden(tmp_path: Path) -> None:
    """Rows of the sample for which an expression raises are left out; `expected` still matches the others."""
    raw = pa.table({"x": ["1", "bad", "3", "4"] * 5})
    frame = np.array([[1.0], [np.nan], [3.0], [4.0]] * 5, dtype=np.float32)
    with torch.no_grad():
        expected = linear(1)(torch.from_numpy(frame))[:, 0].numpy()
    save_bundle(
        tmp_path / "b", linear(1), features=["n"], task=Regression(), preprocessing=[Expressions({"n": "x::INT"})],
        sample=raw, expected=expected,
    )  # fmt: skip
    assert pa.parquet.read_metadata(tmp_path / "b/golden.parquet").num_rows == 15


def test_no_row_can_be_computed(tmp_path: Path) -> None:
    """An expression that raises for every row of the sample."""
    with pytest.raises(
        BundleError, match="cannot be computed for any row of the sample; 'n': cannot be computed: Conv"
    ):
        save_bundle(
            tmp_path / "b", linear(1), features=["n"], task=Regression(), sample=pa.table({"x": ["a", "b"]}),
            preprocessing=[Expressions({"n": "x::INT"})],
        )  # fmt: skip


def test_engineered_columns_in_the_sample(tmp_path: Path) -> None:
    """A sample that also holds the engineered columns: the same formula passes, another one is refused."""
    raw, made = raw_rows(), engineered(raw_rows())
    both = raw.assign(hour=made.hour, amount_log=made.amount_log)
    save(tmp_path / "same", sample=both)
    with pytest.raises(BundleError, match=r"'amount_log' differs from the sample's column 'amount_log' in row 0: expe"):
        save(tmp_path / "b", {**SQL, "amount_log": "log10(amount + 1)"}, both)
    with pytest.raises(BundleError, match=r"'hour' returns string, but the sample's column 'hour' is int32"):
        save(tmp_path / "b", {**SQL, "hour": "hour(ts)::VARCHAR"}, both)
    assert not (tmp_path / "b").exists()


def test_expected_detects_another_formula(tmp_path: Path) -> None:
    """Predictions of the training code, which computed a feature in another way."""
    expected = trained().probabilities(raw_rows())
    save(tmp_path / "same", expected=expected)
    with pytest.raises(GoldenMismatchError):
        save(tmp_path / "b", {**SQL, "amount_log": "log10(amount + 1)"}, expected=expected)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ({**SQL, "hour": "hour(time)"}, "'hour' reads 'time', which is not a column of the sample"),
        ({**SQL, "other": "amount"}, "'other' is not among the features"),
        ({"hour": "amount_log * 2", "amount_log": "amount", "city": "city"}, "'amount_log', which is not a column"),
        ({**SQL, "hour": "sum(amount)"}, "'hour' calls sum, which is an aggregate"),
        ({**SQL, "hour": "read_text('/etc/passwd')"}, "'hour' calls read_text, which reads files"),
        ({**SQL, "hour": "amount; DROP TABLE x"}, "'hour' cannot be parsed"),
        ({**SQL, "hour": "ts"}, "returns timestamp"),
        ({**SQL, "hour": ""}, "'' is not SQL"),
        ({**SQL, "hour": "x" * 10_001}, "10,001 characters; the limit is 10,000"),
        ({**SQL, "hour": "x" * (1 << 20)}, "1,048,576 characters; the limit is 10,000"),
        ({**SQL, "hour": 5}, "5 is not SQL"),
        ({}, "does not map features to SQL"),
    ],
)
def test_refused(tmp_path: Path, sql: dict[str, Any], reason: str) -> None:
    """The message names the expression and the reason, and nothing is written."""
    made = trained()
    with pytest.raises(BundleError, match=reason):
        save_bundle(
            tmp_path / "b", made.model, features=FEATURES, task=Binary(["no", "yes"]), sample=raw_rows(),
            preprocessing=[Expressions(sql), made.transformer],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_an_expression_does_not_read_another(tmp_path: Path) -> None:
    """A column of the sample that has the name of another expression."""
    sample = raw_rows().assign(hour=1)
    with pytest.raises(BundleError, match="'amount_log' reads 'hour', which is another expression"):
        save(tmp_path / "b", {**SQL, "amount_log": "hour + amount"}, sample)


def test_preprocessing(tmp_path: Path) -> None:
    """Forms of the argument."""
    made, path = trained(), tmp_path / "b"
    common: dict[str, Any] = {"features": FEATURES, "task": Binary(["no", "yes"]), "sample": raw_rows()}
    with pytest.raises(BundleError, match="both preprocessing and scaler are given"):
        save_bundle(path, made.model, scaler=made.transformer, preprocessing=[Expressions(SQL)], **common)
    with pytest.raises(BundleError, match="Expressions come first, and once"):
        save_bundle(path, made.model, preprocessing=[made.transformer, Expressions(SQL)], **common)
    with pytest.raises(BundleError, match="2 transformers; combine them"):
        save_bundle(path, made.model, preprocessing=[Expressions(SQL), made.transformer, StandardScaler()], **common)
    with pytest.raises(BundleError, match="class Expressions, not an instance"):
        save_bundle(path, made.model, preprocessing=[Expressions], **common)
    with pytest.raises(UsageError, match="set"):
        save_bundle(path, made.model, preprocessing={made.transformer}, **common)
    with pytest.raises(BundleError, match="named columns"):
        save_bundle(path, made.model, preprocessing=[Expressions(SQL)], **{**common, "sample": np.zeros((4, 3))})
    pairs = [(StandardScaler().fit(engineered(raw_rows())[["hour"]]), ["hour"])]
    encoder = OneHotEncoder().fit(engineered(raw_rows())[["city"]])
    save_bundle(path, made.model, preprocessing=[Expressions(SQL), *pairs, (encoder, ["city"])], **common)
    save_bundle(
        tmp_path / "without", made.model, preprocessing=made.transformer, **{**common, "sample": engineered(raw_rows())}
    )


def test_types_that_cannot_be_read(tmp_path: Path) -> None:
    """A column of a type that is not supported, and one that an input takes as well."""
    raw = pa.table({"x": pa.array([1, 2], pa.duration("s"))})
    with pytest.raises(ColumnError, match=r"column 'x', which an expression reads: duration\[s\] is not supported"):
        save_bundle(
            tmp_path / "b", linear(1), features=["n"], task=Regression(), sample=raw,
            preprocessing=[Expressions({"n": "hour(x)"})],
        )  # fmt: skip
    lists = pa.table({"t": [[1], [2, 3]]})
    with pytest.raises(BundleError, match="read by an expression and by an image or a sequence"):
        save_bundle(
            tmp_path / "b", linear(1), task=Regression(), sample=lists, preprocessing=[Expressions({"n": "len(t)"})],
            inputs={"numbers": Table(["n"]), "tokens": TokenSequence("t", longest=3)},
        )  # fmt: skip


def test_most_rows_of_a_sample_that_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Are counted in a warning, with the first reason; a few are not."""
    for few, notes in ((12, ["12 of 20 rows of the sample cannot be scored and are left out; row 8: 'a' cannot be"]),
                       (4, [])):  # fmt: skip
        caplog.clear()
        sample = pd.DataFrame({"x": ["1"] * (20 - few) + ["one"] * few})
        expressions = Expressions({"a": "CAST(x AS INTEGER)"})
        save_bundle(
            tmp_path / "b", nn.Linear(1, 1), features=["a"], preprocessing=expressions, task=Regression(), sample=sample
        )
        assert [line[: len(note)] for line, note in zip(caplog.messages, notes, strict=True)] == notes


def test_most_rows_of_a_sample_without_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sample = pd.DataFrame({"a": [1.0] * 4 + [np.nan] * 6})
    save_bundle(tmp_path / "b", nn.Linear(1, 1), features=["a"], task=Regression(), sample=sample)
    assert caplog.messages == ["6 of 10 rows of the sample cannot be scored and are left out; row 4: 'a' is null"]

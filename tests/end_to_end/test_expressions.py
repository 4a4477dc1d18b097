"""Bundles with expressions through the commands: files, rejects, options, forged bundles, and what is imported."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("duckdb")

from scoreline.pipeline.bundle import expressions
from scoreline.pipeline.digests import sha256
from scoreline.pipeline.outputs.receipt import read_receipt

from conftest import Result
from expression_models import raw_rows, save, trained
from scoreline import BundleError, Scorer

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with three expressions."""
    path = tmp_path_factory.mktemp("expressions") / "b"
    save(path)
    return path


@pytest.fixture
def score(scoreline: Command, bundle: Path, tmp_path: Path) -> Command:
    """Run `scoreline score` on an input, with output to tmp_path/out."""

    def call(data: object, *words: object, out: str = "out") -> Result:
        return scoreline("score", "--bundle", bundle, "--input", data, "--output", tmp_path / out, *words)

    return call


def rejects_of(out: Path) -> pa.Table:
    """All rejects of a run."""
    tables = []
    for file in sorted((out / "_rejects").rglob("*.arrow")):
        with pa.ipc.open_file(file) as reader:
            tables.append(reader.read_all())
    return pa.concat_tables(tables)


def test_parquet_and_csv(score: Command, tmp_path: Path) -> None:
    """The same scores from both formats, as pandas, scikit-learn and torch compute them."""
    rows = raw_rows(3_000, seed=3)
    rows.to_parquet(tmp_path / "in.parquet", index=False)
    rows.to_csv(tmp_path / "in.csv", index=False)
    assert score(tmp_path / "in.parquet").code == 0
    assert score(tmp_path / "in.csv", out="csv").code == 0
    found = pq.read_table(tmp_path / "out/in.parquet")
    assert found.column_names == ["id", "prediction", "probability"]
    np.testing.assert_allclose(found.column("probability"), trained().probabilities(rows), atol=2e-6)
    (part,) = (tmp_path / "csv").glob("*.parquet")
    other = pq.read_table(part)
    assert other.column("probability").equals(found.column("probability"))


def test_rejects_hold_the_raw_values(score: Command, tmp_path: Path) -> None:
    """A cell that cannot be parsed, a result that is not finite, and a null, each with its column and reason."""
    (tmp_path / "in.csv").write_text(
        "id,ts,amount,city\n1,2024-01-01 05:00:00,10,Rome\n2,01.02.2024,10,Rome\n3,2024-01-01 05:00:00,-1,Rome\n"
        "4,2024-01-01 05:00:00,,Rome\n5,2024-01-01 05:00:00,-5,Rome\n6,2024-01-01 05:00:00,3,Oslo\n"
    )
    assert score(tmp_path / "in.csv", "--max-rejects", "9").code == 0
    rejects = rejects_of(tmp_path / "out")
    assert rejects.column("ts").to_pylist()[0] == "01.02.2024"
    assert rejects.column("amount").to_pylist() == ["10", "-1", "", "-5", "3"]
    reasons = [(one["row_number"], one["stage"], one["column"], one["reason"]) for one in rejects["reject"].to_pylist()]
    assert reasons[0][:3] == (1, "check", "ts")
    assert reasons[0][3].startswith("is '01.02.2024', not a timestamp in ISO form without a time zone")
    assert reasons[1:] == [
        (2, "expressions", "amount_log", "is minus infinite"),
        (3, "expressions", "amount_log", "is null"),
        (4, "expressions", "amount_log", "is NaN"),
        (5, "scale", "city", "is a category that was not seen in training"),
    ]


def test_one_row_that_raises(scoreline: Command, tmp_path: Path) -> None:
    """It is a reject with the expression's name and the cause; the others have the scores that they have without it."""
    rows = raw_rows(1_000)
    rows["amount"] = [f"{value:.3f}" for value in rows.amount]
    save(
        tmp_path / "b", {"hour": "hour(ts)", "amount_log": "ln(amount::DOUBLE + 1)", "city": "lower(trim(city))"}, rows
    )
    words = ["score", "--bundle", tmp_path / "b", "--max-rejects", "9"]
    rows.drop(index=500).to_parquet(tmp_path / "good.parquet", index=False)
    rows.assign(amount=rows.amount.where(rows.index != 500, "n/a")).to_parquet(tmp_path / "bad.parquet", index=False)
    for name in ("good", "bad"):
        assert scoreline(*words, "--input", tmp_path / f"{name}.parquet", "--output", tmp_path / name).code == 0
    good, bad = (pq.read_table(tmp_path / name / f"{name}.parquet") for name in ("good", "bad"))
    assert good.equals(bad)
    (reject,) = rejects_of(tmp_path / "bad").to_pylist()
    assert (reject["id"], reject["amount"], reject["reject"]["row_number"]) == (500, "n/a", 500)
    assert reject["reject"]["column"] == "amount_log"
    assert reject["reject"]["reason"].startswith("cannot be computed: Conversion Error: Could not convert string 'n/a'")


@pytest.mark.parametrize("cores", [1, 3])
def test_same_bytes_with_any_number_of_flows(
    cores: int, score: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flow has a connection of its own, and the part files are those of a single flow."""
    (tmp_path / "in").mkdir()
    for n in range(4):
        rows = raw_rows(2_000, seed=n)
        rows.loc[n::97, "amount"] = -1.0
        rows.to_parquet(tmp_path / f"in/{n}.parquet", index=False, row_group_size=300)
    monkeypatch.setattr("scoreline.pipeline.cores.os.sched_getaffinity", lambda _: set(range(cores)))
    words = ["--max-rejects", "50%", "--split-rows", "600", "--batch-size", "256"]
    assert score(tmp_path / "in", *words).code == 0
    monkeypatch.setattr("scoreline.pipeline.cores.os.sched_getaffinity", lambda _: {0, 1})
    assert score(tmp_path / "in", *words, out="again").code == 0
    for pattern in ("*.parquet", "_rejects/*.arrow"):
        parts = sorted((tmp_path / "out").glob(pattern))
        assert parts
        for part in parts:
            assert part.read_bytes() == (tmp_path / "again" / part.relative_to(tmp_path / "out")).read_bytes()


def test_resume_verify_dedupe_and_explain(score: Command, scoreline: Command, tmp_path: Path) -> None:
    """Repeated rows are those with equal features, attributions those of the features behind the expressions."""
    rows = pd.concat([raw_rows(200).assign(city=lambda f: f.city.str.upper()), raw_rows(200)], ignore_index=True)
    rows.to_parquet(tmp_path / "in.parquet", index=False)
    assert score(tmp_path / "in.parquet").code == 0
    assert any(event["event"] == "nothing_to_do" for event in score(tmp_path / "in.parquet").events)
    assert scoreline("verify", tmp_path / "out").code == 0
    versions = json.loads((tmp_path / "out/_scoreline/run.json").read_text())["versions"]
    assert versions["duckdb"].startswith("2.")
    deduped = score(tmp_path / "in.parquet", "--dedupe", out="deduped")
    assert deduped.event("rows_deduplicated")["hit_rate"] == 0.5
    plain, less = (pq.read_table(tmp_path / name / "in.parquet") for name in ("out", "deduped"))
    assert less.equals(plain)
    pytest.importorskip("captum")
    assert score(tmp_path / "in.parquet", "--explain", "shapley", out="explained").code == 0
    names = pq.read_schema(tmp_path / "explained/in.parquet").names
    assert names[-4:] == ["attribution_hour", "attribution_amount_log", "attribution_city", "attribution_gap"]
    shown = scoreline("importance", tmp_path / "explained")
    assert shown.code == 0
    assert "amount_log" in shown.out


def test_another_version_of_duckdb(score: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions may give other values, so what was scored with another version is scored again."""
    raw_rows(20).to_parquet(tmp_path / "in.parquet", index=False)
    assert score(tmp_path / "in.parquet").code == 0
    receipt = read_receipt(tmp_path / "out" / "in.parquet")
    assert not isinstance(receipt, str)
    assert receipt.fingerprint.options == {"expressions": f"duckdb {version('duckdb')}"}
    monkeypatch.setattr(expressions, "version", lambda _: "2.9.9")
    assert score(tmp_path / "in.parquet").event("run_started")["to_score"] == {"option expressions changed": 1}
    assert any(event["event"] == "nothing_to_do" for event in score(tmp_path / "in.parquet").events)


def test_check_and_bench(scoreline: Command, bundle: Path, tmp_path: Path) -> None:
    """The expressions are shown; bench needs files, since it cannot make raw rows."""
    raw_rows().to_parquet(tmp_path / "in.parquet", index=False)
    shown = scoreline("check", "--bundle", bundle, "--input", tmp_path / "in.parquet")
    assert shown.code == 0
    assert "hour: hour(ts)" in shown.out
    assert "3 raw" in shown.out
    refused = scoreline("bench", "--bundle", bundle)
    assert refused.code == 2
    assert "bench cannot make data for expressions; pass files with --input" in refused.message


def test_a_column_of_another_type(score: Command, tmp_path: Path) -> None:
    """A file whose timestamps are text is refused as a whole, with the advice to cast it."""
    raw_rows().assign(ts=lambda f: f.ts.astype(str)).to_parquet(tmp_path / "in.parquet", index=False)
    done = score(tmp_path / "in.parquet")
    assert done.code == 65
    assert "column 'ts', which expressions read, is" in done.message


FORGED = {
    "sum(amount)": "is an aggregate",
    "read_text('/etc/passwd')": "reads files",
    "amount) FROM read_csv('/etc/passwd'": "names a table",
    "amount; DROP TABLE x": "cannot be parsed",
    "getenv('HOME')": "state of the session",
    "now()": "clock",
    "repeat(city, 1000000000)": "literal of at most 100",
    "len(range(1000000000))": "literal of at most 1,000",
    "lpad(city, 2000000000, 'x')": "literal of at most 1,000",
    "hour(other)": "not a column",
    "ts": "returns timestamp",
    "(" * 4_000 + "amount" + ")" * 4_000: "depth limit",
}


def forge(bundle: Path, path: Path, sql: str) -> Path:
    """A bundle whose first expression was replaced by hand."""
    path.mkdir()
    for file in bundle.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["expressions"][0]["sql"] = sql
    (path / "bundle.json").write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize("sql", FORGED, ids=range(len(FORGED)))
def test_forged_bundles(bundle: Path, tmp_path: Path, sql: str) -> None:
    """The judge at loading is that of saving: the expression is refused before a row is evaluated."""
    with pytest.raises(BundleError, match=FORGED[sql]):
        Scorer.load(forge(bundle, tmp_path / "b", sql))


def test_another_formula_in_a_bundle(bundle: Path, tmp_path: Path) -> None:
    """An allowed expression that was replaced by another one does not reproduce the golden rows."""
    with pytest.raises(BundleError, match="golden rows"):
        Scorer.load(forge(bundle, tmp_path / "b", "minute(ts)"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expressions": []}, "raw columns"),
        ({"features": [{"name": "hour"}]}, "raw columns"),
        ({"sql": "x" * 10_001}, "at most 10000"),
        ({"name": "city"}, "appears twice|name of another feature"),
        ({"dtype": "raw"}, "dtype"),
        ({"arrow": None}, "must have an Arrow type"),
        ({"arrow": {"kind": "list"}}, "fields do not match"),
        ({"arrow": {"kind": "int64", "unit": "us"}}, "unit and zoned"),
        ({"arrow": {"kind": "decimal", "precision": 5, "scale": 9}}, "precision and scale"),
        ({"arrow": {"kind": "map"}}, "kind"),
    ],
)
def test_inconsistent_manifests(bundle: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """bundle.json with records that do not match."""
    path = forge(bundle, tmp_path / "b", "hour(ts)")
    manifest = json.loads((path / "bundle.json").read_text())
    (name, value) = next(iter(change.items()))
    target = manifest["features"][0] if name == "arrow" else manifest["expressions"][0]
    (manifest if name in ("expressions", "features") else target)[name] = value
    (path / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=reason):
        Scorer.load(path)


def test_without_duckdb_the_line_that_installs_it(
    scoreline: Command, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the message before the first row says how to install it."""
    raw_rows().to_parquet(tmp_path / "in.parquet", index=False)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = scoreline("score", "--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out")
    assert done.code == 78
    assert "pip install 'scoreline[expressions]'" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_packed(scoreline: Command, forked: None, tmp_path: Path) -> None:
    """pack.toml has a table of expressions; a hostile one is refused."""
    import joblib
    import torch

    made = trained()
    torch.save(made.model.state_dict(), tmp_path / "weights.pt")
    joblib.dump(made.transformer, tmp_path / "ct.joblib")
    raw_rows().to_parquet(tmp_path / "sample.parquet", index=False)
    text = (
        'features = ["hour", "amount_log", "city"]\ntask = {kind = "binary", labels = ["no", "yes"]}\n'
        'sample = "sample.parquet"\n[model]\nweights = "weights.pt"\nlayers = [{type = "Linear", in_features = 5,'
        ' out_features = 8}, {type = "ReLU"}, {type = "Linear", in_features = 8, out_features = 2}]\n'
        '[scaler]\nfile = "ct.joblib"\n'
        '[expressions]\nhour = "hour(ts)"\namount_log = "ln(amount + 1)"\ncity = "%s"\n'
    )
    spec = tmp_path / "pack.toml"
    spec.write_text(text % "lower(trim(city))")
    done = scoreline("pack", spec, tmp_path / "b", "--allow-pickle")
    assert done.code == 0, done.err
    rows = raw_rows(50, seed=9)
    np.testing.assert_allclose(
        Scorer.load(tmp_path / "b").score_frame(rows)["probability"], made.probabilities(rows), atol=2e-6
    )
    for sql, reason in (
        ("read_text('/etc/passwd')", "reads files"),
        ("repeat(city, 1000000000)", "literal of at most"),
    ):
        spec.write_text(text % sql)
        done = scoreline("pack", spec, tmp_path / "other", "--allow-pickle")
        assert done.code == 78
        assert f"expression 'city' calls {sql.partition('(')[0]}" in done.message
        assert reason in done.message
    spec.write_text(text.replace('"hour(ts)"', "5") % "city")
    assert "expressions: hour: 5 is not SQL" in scoreline("pack", spec, tmp_path / "other").message


def test_digest_of_a_forged_golden_file(bundle: Path, tmp_path: Path) -> None:
    """Golden rows whose raw columns were changed are not those of the bundle."""
    path = forge(bundle, tmp_path / "b", "hour(ts)")
    table = pq.read_table(path / "golden.parquet")
    pq.write_table(table.set_column(0, "feature:ts", table.column(0).cast(pa.int64())), path / "golden.parquet")
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["files"]["golden.parquet"] = sha256((path / "golden.parquet").read_bytes())
    (path / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        Scorer.load(path)

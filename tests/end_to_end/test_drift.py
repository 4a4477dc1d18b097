"""A run's profile, its drift, and --max-drift, as a user sees them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.monitoring import sampling
from scoreline.pipeline.monitoring.layout import Layout, open_layout
from scoreline.pipeline.monitoring.profile import Profile, decode_profile
from scoreline.pipeline.outputs.receipt import read_profile, read_receipt

from conftest import Example, Result
from outcomes import parts
from scoreline import Regression, save_bundle

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(cancer: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model for cancer, with training rows of which the input is drawn."""
    from scoreline import Binary, save_bundle

    path = tmp_path_factory.mktemp("drift") / "b"
    save_bundle(
        path, cancer.model, features=cancer.features, scaler=cancer.scaler, task=Binary(["0", "1"]),
        sample=cancer.frame, reference=drawn(cancer, 5000, seed=9),
    )  # fmt: skip
    return path


def drawn(cancer: Example, rows: int, seed: int) -> pd.DataFrame:
    """Random rows of the example."""
    random = np.random.default_rng(seed)
    return cancer.frame.iloc[random.integers(0, len(cancer.frame), rows)].reset_index(drop=True)


@pytest.fixture
def data(cancer: Example, tmp_path: Path) -> Path:
    """Three files; a feature of the second has shifted by one and a half standard deviations."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        frame = drawn(cancer, 1500, number)
        if number == 1:
            frame["mean area"] += 1.5 * frame["mean area"].std()
        frame.to_parquet(folder / f"{number}.parquet", index=False)
    return folder


@pytest.fixture
def score(scoreline: Command, bundle: Path, data: Path, tmp_path: Path) -> Command:
    """Score the files, to tmp_path/out."""
    words = ["score", "--bundle", bundle, "--input", data, "--output", tmp_path / "out", "--device", "cpu"]
    return lambda *more: scoreline(*words, *more)


def layout_of(bundle: Path) -> Layout:
    layout = open_layout(open_bundle(bundle))
    assert layout is not None
    return layout


def profile_of(part: Path, bundle: Path) -> Profile | None:
    """The profile in a part."""
    receipt = read_receipt(part)
    assert not isinstance(receipt, str)
    if receipt.profile is None:
        return None
    data = read_profile(part, receipt.profile)
    assert data is not None
    return decode_profile(data, layout_of(bundle))


def run_json(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "_scoreline" / "run.json").read_text())
    return found


def profile_json(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "_scoreline" / "profile.json").read_text())
    return found


def test_the_profile_of_a_part(score: Command, bundle: Path, data: Path, tmp_path: Path, cancer: Example) -> None:
    """Its counts are those of the file and of the predictions by pandas, and other readers see the rows alone."""
    assert score().code == 0
    part = tmp_path / "out" / "0.parquet"
    found, layout = profile_of(part, bundle), layout_of(bundle)
    assert found is not None
    assert (found.rows, found.sampled, found.stride) == (1500, 1500, 1)
    rows = pd.read_parquet(data / "0.parquet")
    for index, column in enumerate(layout.columns):
        counts = found.counts[layout.starts[index] : layout.starts[index + 1]].tolist()
        values = (rows if index < layout.num_features else pd.read_parquet(part))[column.name]
        if column.bins.kind == "number":
            cut = pd.cut(values.astype(float), [-np.inf, *column.bins.edges, np.inf])
            assert counts == [0, 0, *cut.value_counts(sort=False).tolist()], column.name
        else:
            assert counts == [0, 0, *values.value_counts().reindex(column.bins.categories, fill_value=0).tolist(), 0, 0]
    assert duckdb.sql(f"SELECT count(*), count(prediction) FROM '{part}'").fetchall() == [(1500, 1500)]
    assert pq.read_table(part).num_rows == 1500


def test_a_shift_is_reported(score: Command, tmp_path: Path) -> None:
    """In the log, in run.json and in profile.json; the run succeeds."""
    result = score()
    assert result.code == 0, result.err
    found = result.event("drift_found")
    assert (found["level"], found["columns"], found["reference"]) == ("warning", 1, "training")
    assert found["worst"][0].startswith("1.parquet: mean area ")
    summary = run_json(tmp_path / "out")["drift"]
    assert (summary["worst_column"], summary["worst_partition"]) == ("mean area", "1.parquet")
    assert summary["worst_psi"] > 0.25
    assert summary["red"] >= 1
    profile = profile_json(tmp_path / "out")
    assert (profile["partitions"], profile["sampled"], profile["rows"]) == (3, 4500, 4500)
    (column,) = [one for one in profile["columns"] if one["red"]]
    assert (column["name"], column["role"], column["worst"][0]["partition"]) == ("mean area", "feature", "1.parquet")
    assert {one["name"] for one in profile["columns"] if one["role"] == "output"} == {"prediction", "probability"}


def test_a_shift_that_only_all_files_together_show(
    scoreline: Command, bundle: Path, cancer: Example, tmp_path: Path
) -> None:
    """Is named with its column, as that of a file is."""
    (tmp_path / "in").mkdir()
    for number in range(60):
        frame = drawn(cancer, 25, number)
        frame["mean area"] += 0.8 * cancer.frame["mean area"].std()
        frame.to_parquet(tmp_path / "in" / f"{number:02}.parquet", index=False)
    words = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--device", "cpu"]
    result = scoreline("score", "--bundle", bundle, *words)
    assert result.code == 0, result.err
    assert profile_json(tmp_path / "out")["worst_partitions"] == []
    (worst,) = result.event("drift_found")["worst"]
    assert worst.startswith("all inputs together: mean area ")
    report = (tmp_path / "out" / "_scoreline" / "report.html").read_text()
    assert "Drift over all inputs together in" in report
    assert "No column has drifted within a single input." in report


def test_the_limit(score: Command, tmp_path: Path) -> None:
    """Parts are published and _SUCCESS is not; a rerun scores nothing and ends the same way, until more is allowed."""
    out = tmp_path / "out"
    first = score("--max-drift", "0.25")
    assert first.code == 65
    assert "1.parquet: 'mean area' has drifted" in first.message
    made = parts(out)
    assert len([name for name in made if name.endswith(".parquet")]) == 3
    assert not (out / "_SUCCESS").exists()
    assert run_json(out)["status"] == "failed"
    again = score("--max-drift", "0.25")
    assert again.code == 65
    assert again.message == first.message
    assert again.event("run_started")["to_score"] == {}
    more = score("--max-drift", "9")
    assert (more.code, (out / "_SUCCESS").exists()) == (0, True)
    assert more.event("run_started")["to_score"] == {}
    assert score("--max-drift", "9").event("nothing_to_do")["partitions"] == 3
    assert score("--max-drift", "0.25").code == 65
    assert not (out / "_SUCCESS").exists()
    assert parts(out) == made


def test_metrics_and_history(score: Command, scoreline: Command, data: Path, tmp_path: Path, cancer: Example) -> None:
    """Both have the worst PSI, of success, of a failure by --max-drift, and where there is nothing to do; and of the
    comparison with the run before."""

    def gauges() -> dict[str, dict[str, float]]:
        families = text_string_to_metric_families((tmp_path / "n.prom").read_text())
        found: dict[str, dict[str, float]] = {}
        for sample in (one for family in families for one in family.samples if "drift" in one.name):
            found.setdefault(sample.name, {})[sample.labels.get("column", sample.labels["against"])] = sample.value
        return found

    words, out = ["--metrics", tmp_path / "n.prom"], tmp_path / "out"
    for limit, code in (("0.25", 65), ("9", 0), ("9", 0)):
        assert score(*words, "--max-drift", limit).code == code
        worst = run_json(out)["drift"]["worst_psi"]
        assert gauges()["scoreline_drift_worst_psi"] == {"reference": worst}
        assert gauges()["scoreline_drift_psi"]["mean area"] == worst
    drawn(cancer, 1500, 3).assign(**{"mean area": 9.0}).to_parquet(data / "3.parquet", index=False)
    assert score(*words, "--max-rejects", "0").code == 0
    now = run_json(out)["drift"]
    assert gauges()["scoreline_drift_worst_psi"] == {
        "reference": now["worst_psi"],
        "previous": now["worst_from_previous"]["psi"],
    }
    assert score(*words, "--no-profile", "--force").code == 0
    assert gauges() == {}
    drift = [one["drift"] for one in json.loads(scoreline("runs", out, "--json").out)["runs"]]
    first = {"psi": worst, "column": "mean area", "partition": "1.parquet", "against": "reference"}
    assert drift[:3] == [first] * 3
    assert drift[3]["psi"] == max(now["worst_psi"], now["worst_from_previous"]["psi"])
    assert (drift[3]["column"], drift[3]["partition"], drift[4]) == ("mean area", "3.parquet", None)
    assert f"{worst:.2f}  mean area" in scoreline("runs", out).out.splitlines()[2]


def test_parts_that_another_version_has_counted(
    score: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts of one file at two distances are not added up: those of fewer rows are left out."""
    out = tmp_path / "out"
    assert score("--split-rows", "40").code == 0
    removed = sorted(out.rglob("0*.parquet"))[-1]
    removed.unlink()
    whole = profile_json(out)["sampled"]
    for name in ("NARROW_ROWS", "WIDE_ROWS", "VALUES"):
        monkeypatch.setattr(sampling, name, 1)
    again = score("--split-rows", "40")
    assert again.code == 0
    assert again.event("parts_unprofiled")["count"] == 1
    assert 0 < profile_json(out)["sampled"] < whole


@pytest.mark.parametrize("damage", ["torn", "edited", "removed"])
def test_a_profile_that_cannot_be_read(score: Command, scoreline: Command, tmp_path: Path, damage: str) -> None:
    """The report says so, and the next run writes it again without scoring."""
    out = tmp_path / "out"
    assert score().code == 0
    whole, path = profile_json(out), out / "_scoreline" / "profile.json"
    if damage == "removed":
        path.unlink()
    else:
        text = path.read_text()
        path.write_text(text[:-9] if damage == "torn" else text.replace('"partitions":', '"partitions":1', 1))
    assert scoreline("report", out).code == 0
    report = (out / "_scoreline" / "report.html").read_text()
    assert "The figures of drift cannot be shown" in report
    assert "has no reference" not in report
    again = score()
    assert (again.event("run_started")["to_score"], again.event("run_ended")["rows_per_s"]) == ({}, 0)
    assert profile_json(out)["columns"] == whole["columns"]
    assert score().event("nothing_to_do")


def test_parts_without_a_profile(score: Command, bundle: Path, data: Path, tmp_path: Path, cancer: Example) -> None:
    """Stay valid, are reported, and are too few for --max-drift."""
    out = tmp_path / "out"
    moved = tmp_path / "later.parquet"
    (data / "2.parquet").rename(moved)
    assert score("--no-profile").code == 0
    assert profile_of(out / "0.parquet", bundle) is None
    assert (run_json(out)["drift"], (out / "_scoreline" / "profile.json").exists()) == (None, False)
    assert score().event("nothing_to_do")["partitions"] == 2
    moved.rename(data / "2.parquet")
    some = score()
    assert some.event("run_started")["to_score"] == {"missing": 1}
    assert some.event("parts_unprofiled")["count"] == 2
    assert profile_json(out)["partitions"] == 1
    limited = score("--max-drift", "5")
    assert limited.code == 65
    assert "2 parts of earlier runs have no profile; pass --force to rescore them" in limited.message
    assert score("--max-drift", "9", "--force").code == 0
    both = score("--max-drift", "1", "--no-profile")
    assert both.code == 2
    assert "pass only one of them" in both.message


def test_equal_profiles_however_it_is_scored(
    score: Command, scoreline: Command, bundle: Path, cancer: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of any size, with one core or four, and after a resume: the same bytes."""
    big = tmp_path / "big"
    big.mkdir()
    frame = drawn(cancer, 50_000, 3)
    frame.loc[::501, "mean area"] = np.nan
    frame.to_parquet(big / "a.parquet", index=False, row_group_size=7000)
    frame.head(20_000).to_csv(big / "b.csv", index=False)
    words = ["score", "--bundle", bundle, "--input", big, "--device", "cpu", "--split-rows", "9000"]
    words += ["--max-rejects", "1%"]
    found: list[dict[str, bytes]] = []
    for number, (rows, cores) in enumerate([("auto", 1), ("777", 4), ("20k", 2)]):
        monkeypatch.setattr("scoreline.pipeline.cores.available_cores", lambda n=cores: _cores(n))
        monkeypatch.setattr("scoreline.pipeline.running.run.available_cores", lambda n=cores: _cores(n))
        out = tmp_path / f"out{number}"
        assert scoreline(*words, "--output", out, "--batch-size", rows).code == 0
        found.append(_profiles(out))
        if number == 0:
            for name in ("a-00001.parquet", "b.csv-00000.parquet"):
                (out / name).unlink()
            assert scoreline(*words, "--output", out, "--batch-size", "500").code == 0
            found.append(_profiles(out))
    assert len(found[0]) == 9
    assert found[1:] == [found[0]] * 3
    first = profile_of(tmp_path / "out0" / "a-00000.parquet", bundle)
    assert first is not None
    assert (first.stride, first.rows, first.sampled) == (5, 9000, 1800)


def _cores(count: int) -> Any:
    from scoreline.pipeline.cores import Cores

    return Cores(count=count, limited_by="a test")


def _profiles(out: Path) -> dict[str, bytes]:
    """The bytes of the profile of every part."""
    found = {}
    for path in sorted(out.glob("*.parquet")):
        receipt = read_receipt(path)
        assert not isinstance(receipt, str)
        assert receipt.profile is not None
        data = read_profile(path, receipt.profile)
        assert data is not None
        found[path.name] = data
    return found


def test_a_damaged_profile(score: Command, tmp_path: Path) -> None:
    """Is not used, where nothing tells that the part was written to; otherwise the part is scored again, as after any
    other change."""
    assert score().code == 0
    part = tmp_path / "out" / "0.parquet"
    whole, written = part.read_bytes(), part.stat().st_mtime_ns
    receipt = read_receipt(part)
    assert not isinstance(receipt, str)
    assert receipt.profile is not None
    data = bytearray(part.read_bytes())
    data[receipt.profile.offset + 100] ^= 1
    part.write_bytes(data)
    os.utime(part, ns=(written, written))
    assert read_profile(part, receipt.profile) is None
    result = score("--max-drift", "9")
    assert result.code == 0  # run.json still answers
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert score("--max-drift", "9").code == 65
    os.utime(part)
    assert score("--max-drift", "9").code == 0
    assert part.read_bytes() == whole


def test_features_without_room_in_a_profile(scoreline: Command, tmp_path: Path) -> None:
    """They are not compared, and the log, profile.json and the report say how many: here all but the first 1,611."""
    names = [f"c{number:04}" for number in range(1800)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 1800)), columns=names)
    save_bundle(tmp_path / "b", torch.nn.Linear(1800, 1), features=names, task=Regression(), sample=frame)
    frame.assign(c1799=1e6).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words)
    assert result.code == 0, result.err
    profile = profile_json(tmp_path / "out")
    compared = sum(one["role"] == "feature" for one in profile["columns"])
    assert profile["unprofiled_features"] == 1800 - compared > 0
    assert result.event("features_unprofiled")["count"] == 1800 - compared
    page = (tmp_path / "out" / "_scoreline" / "report.html").read_text()
    assert f"The last {1800 - compared} features are not compared" in page
    assert f"{1800 - compared} more are not compared" in page


def test_a_bundle_without_a_reference(scoreline: Command, data: Path, tmp_path: Path, iris_file: Path) -> None:
    """As earlier versions saved them: it scores without a profile, and --max-drift is refused."""
    old = next(path.parent for path in sorted(Path("tests/bundles/format1").rglob("bundle.json")))
    features = [one["name"] for one in json.loads((old / "bundle.json").read_text())["features"]]
    pd.DataFrame(np.full((2, len(features)), 0.5), columns=features).to_parquet(tmp_path / "two.parquet")
    words = ["score", "--bundle", old, "--input", tmp_path / "two.parquet", "--output", tmp_path / "o"]
    limited = scoreline(*words, "--max-drift", "0.3", "--max-rejects", "100%")
    assert limited.code == 2
    assert "save it again" in limited.message

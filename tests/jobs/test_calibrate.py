"""`scoreline calibrate`: the tables, JSON, and the picture; `evaluation/test_calibrate.py` compares the numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import Result
from labelled_rows import NAMES, X, data, net
from scoreline import Binary, Multiclass, save_bundle

Command = Callable[..., Result]


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A bundle with overconfident probabilities, and labelled rows, some without a label."""
    model, frame = net(1, scale=20), data(400, 1)
    save_bundle(tmp_path / "b", model, features=NAMES, task=Binary(["no", "yes"]), sample=X)
    with torch.no_grad():
        z = model(torch.from_numpy(frame.to_numpy(np.float32).copy()))[:, 0].numpy()
    truth = np.where(np.random.default_rng(2).random(400) < 1 / (1 + np.exp(-z / 3)), "yes", "no").astype(object)
    truth[:15] = None
    frame.assign(y=truth).to_parquet(tmp_path / "rows.parquet", index=False)
    return ["calibrate", "--bundle", tmp_path / "b", "--input", tmp_path / "rows.parquet", "--label", "y"]


def test_the_tables(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """One line per bin, the measures before and after, and what was written; the picture is next to the bundle."""
    found = scoreline(*words, f"{tmp_path}/c/")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    bins = [line for line in lines if line.startswith(("0.", "1.")) and " to " in line]
    assert [line.split()[0] for line in bins] == [f"{at / len(bins):.1f}" for at in range(len(bins))]
    assert sum(int(line.split()[3]) for line in bins) == 385
    assert any(line.startswith("385 rows, 15 without a label or a score skipped") for line in lines)
    assert lines[-1] == f"next: scoreline check --bundle {tmp_path}/c/"
    assert f"wrote {tmp_path}/c/ and {tmp_path}/c.svg" in lines
    assert (tmp_path / "c.svg").read_text().startswith("<svg")


def test_json(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """The same numbers; the picture has another name on request."""
    found = scoreline(*words, tmp_path / "c", "--json", "--picture", tmp_path / "curves.svg")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert (report["rows"], report["skipped"], report["picture"]) == (385, 15, str(tmp_path / "curves.svg"))
    assert report["after"]["log_loss"] < report["before"]["log_loss"]
    assert sum(report["before"]["rows"]) == sum(report["after"]["rows"]) == 385
    assert report["digest"] in scoreline("check", "--bundle", tmp_path / "c").out
    assert (tmp_path / "curves.svg").exists()
    assert not (tmp_path / "c.svg").exists()


def test_a_date_of_the_job_file(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """Replaces {run_date} in the paths, as for scoreline check; the flag takes precedence."""
    (tmp_path / "2026-11-28").mkdir()
    (tmp_path / "rows.parquet").rename(tmp_path / "2026-11-28" / "rows.parquet")
    given = f'bundle = "{words[2]}"\ninput = "{tmp_path}/{{run_date}}/*.parquet"\nrun_date = "2026-11-28"\n'
    (tmp_path / "job.toml").write_text(given)
    job = ["calibrate", "--job", tmp_path / "job.toml", "--label", "y", tmp_path / "c", "--json"]
    found = scoreline(*job)
    assert found.code == 0, found.err
    assert json.loads(found.out)["rows"] == 385
    assert scoreline(*job, "--run-date", "2026-11-27").code == 66


def test_a_picture_that_cannot_be_written(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """The bundle is there, and the error says so."""
    found = scoreline(*words, tmp_path / "c", "--picture", tmp_path / "nowhere" / "c.svg")
    assert found.code == 74
    assert f"the bundle '{tmp_path}/c' was written, but the picture" in found.message
    assert scoreline("check", "--bundle", tmp_path / "c").code == 0


def test_the_method_of_the_task(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """Platt for two labels, unless another is requested; it must be supported by the task."""
    for method, kind in ((), "platt"), (("--method", "temperature"), "temperature"):
        assert scoreline(*words, tmp_path / kind, *method).code == 0
        (head,) = json.loads((tmp_path / kind / "bundle.json").read_text())["heads"]
        assert head["calibration"]["kind"] == kind
    save_bundle(tmp_path / "m", net(3), features=NAMES, task=Multiclass(["no", "yes", "x"]), sample=X)
    words[2] = tmp_path / "m"
    assert scoreline(*words, tmp_path / "d", "--method", "platt").code == 2
    assert not (tmp_path / "d").exists()


def test_arguments_that_are_missing(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """A label, and the name of the new bundle."""
    assert scoreline(*words[:-2], tmp_path / "c").code == 2
    assert scoreline(*words).code == 2

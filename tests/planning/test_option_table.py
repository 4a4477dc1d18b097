"""The option table agrees with flags, environment variables, job files, run.json, fingerprints and docs."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scoreline.jobs.score import score
from scoreline.pipeline.options import ColumnOptions, CsvDialect, Explain, ScoreJob, Shard
from scoreline.pipeline.planning.fingerprint import options_of, recorded_options
from scoreline.pipeline.planning.option import Option
from scoreline.pipeline.planning.option_table import OPTIONS, score_job
from scoreline.schemas.job import JobFile

from conftest import Result
from scoreline import Multilabel, save_bundle
from tools.reference.options import options_section

DIGEST = "sha256:" + "0" * 64
#: Values other than the defaults, as users write them.
SAMPLES = {
    "bundle": "b", "input": "i", "output": "o", "keys": "a,b", "prefix": "p_", "top_k": "3", "hidden": "first",
    "explain_rows": "50%", "explain_target": "yes", "threshold": "yes=0.3", "device": "cpu", "batch_size": "64k",
    "split_rows": "1M", "memory": "2G", "max_rejects": "1%", "max_drift": "0.3", "trust": DIGEST, "shard": "3/16",
    "run_date": "2026-11-24", "run_id": "x", "metrics": "m", "trace": "t", "time_zone": "UTC", "constant": "version=7",
    "engine": "processes", "address": "head:6379", "workers": "8", "gpus_per_worker": "2",
}  # fmt: skip
REQUIRED = ("bundle", "input", "output")


def sample(option: Option) -> str:
    """A value other than the default, as a user writes it."""
    if option.switch:
        return "false" if option.default else "true"
    if option.choices and option.name not in SAMPLES:
        return next(choice for choice in option.choices if choice != option.default)
    return SAMPLES[option.name]


def values(**changes: Any) -> dict[str, Any]:
    """The typed values of all options: the defaults, except for `changes`."""
    return {one.name: one.value(changes.get(one.name)) for one in OPTIONS} | {
        name: changes.get(name, "x") for name in ("bundle", "input", "output", "run_id")
    }


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_available_everywhere(option: Option, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its flag, variable and line in the job file give the same value, and it is in the help and the docs."""
    (found,) = (param for param in score.params if param.name == option.name)
    assert isinstance(found, click.Option)
    assert (found.envvar, option.help in (found.help or "")) == (option.variable, True)
    assert f"| `{option.variable}` | `{option.name} = " in options_section()

    written = sample(option)
    wanted = option.value(written == "true" if option.switch else written)
    others = [word for name in REQUIRED if name != option.name for word in (f"--{name}", "x")]
    positive, _, negative = option.flag.partition("/")
    given = [negative if option.switch and not wanted else positive, *([] if option.switch else [written])]
    assert score.make_context("score", [*others, *given]).params[option.name] == wanted

    line = written if option.switch or written.isdigit() else repr([written]) if option.multiple else repr(written)
    (tmp_path / "job.toml").write_text(f"{option.name} = {line}\n")
    read = score.make_context("score", [*others, "--job", str(tmp_path / "job.toml")]).params[option.name]
    assert read == (str(tmp_path / written) if option.path else wanted)

    monkeypatch.setenv(option.variable, written)
    assert score.make_context("score", others).params[option.name] == wanted


def test_a_repeatable_option_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds one value per line; values may contain spaces."""
    monkeypatch.setenv("SCORELINE_THRESHOLD", "yes=0.3\nnot sure=0.5\n")
    monkeypatch.setenv("SCORELINE_HIDDEN", "first\r\nsecond layer")
    given = [word for name in REQUIRED for word in (f"--{name}", "x")]
    params = score.make_context("score", given).params
    assert params["threshold"] == (("yes", 0.3), ("not sure", 0.5))
    assert params["hidden"] == ("first", "second layer")


def test_the_job_file_has_a_line_for_every_option() -> None:
    """And for nothing else except [csv] and [storage]; values that it refuses are not values of the option."""
    assert list(JobFile.model_fields) == [*(option.name for option in OPTIONS), "csv", "storage"]
    for option in OPTIONS:
        for choice in option.choices:
            JobFile.model_validate({option.name: choice})
        if option.choices:
            with pytest.raises(ValueError, match="is not one of"):
                option.value("nonsense")
        if option.switch:
            with pytest.raises(ValidationError):
                JobFile.model_validate({option.name: "nonsense"})


def test_defaults_are_those_of_score_job() -> None:
    """A job without options equals a `ScoreJob` without arguments."""
    assert score_job(values(), CsvDialect()) == ScoreJob(bundle="x", input="x", output="x", run_id="x")


def test_every_value_is_stored_in_its_field() -> None:
    """With the type of the field."""
    job = score_job(values(**{option.name: sample(option) for option in OPTIONS if not option.switch}), CsvDialect())
    assert (job.batch_rows, job.split_rows, job.memory_bytes, str(job.max_rejects)) == (64_000, 10**6, 2 * 10**9, "1%")
    assert job.shard == Shard(number=3, count=16)
    assert (job.engine, job.address, job.workers, job.gpus_per_worker) == ("processes", "head:6379", 8, 2)
    assert (job.trust, job.device, job.format, job.precision) == ((DIGEST,), "cpu", "parquet", "tf32")
    assert replace(job.columns, explain=None) == ColumnOptions(
        keys=("a", "b"),
        prefix="p_",
        probabilities="list",
        top_k=3,
        thresholds=(("yes", 0.3),),
        hidden=("first",),
        constants=(("version", "7"),),
    )
    assert job.columns.explain == Explain(method="integrated-gradients", share=Fraction(1, 2), target="yes")


def test_fingerprints() -> None:
    """An option is in the fingerprint if and only if its values make parts out of date; options that are off are left
    out. Options that are identities of their own have no entry."""
    plain = score_job(values(), CsvDialect())
    assert options_of(plain, "parquet") == {}
    identities = {"bundle", "input", "split_rows"}
    for option in OPTIONS:
        if option.part == "command" or option.name in identities:
            continue
        others = {"explain": "lime"} if option.name.startswith("explain_") else {}
        without = options_of(score_job(values(**others), CsvDialect()), "parquet")
        changed = not option.default if option.switch else sample(option)
        given = options_of(score_job(values(**others, **{option.name: changed}), CsvDialect()), "parquet")
        assert (given != without) == (option.effect == "rescored"), option.name
    assert {option.target for option in OPTIONS if option.mark} == {
        "keys", "prefix", "probabilities", "top_k", "thresholds", "precision", "compile",
    }  # fmt: skip


def test_options_in_run_json() -> None:
    """Every option that can change a part is recorded by the name of its field; the run adds the rows of blocks and
    splits."""
    recorded = recorded_options(score_job(values(keys="none", compile=True, threshold=["0.25"]), CsvDialect()))
    assert recorded == {
        "format": "auto", "keys": "none", "prefix": "", "probabilities": "columns", "top_k": None, "hidden": None,
        "explain": None, "thresholds": "=0.25", "precision": "fp32", "compile": "on", "deterministic": "off",
        "dedupe": "off", "max_rejects": "0", "max_drift": None, "profile": "on", "seed": 0, "csv": None,
        "constants": None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two labels, one of which needs quotes."""
    folder = tmp_path_factory.mktemp("labels") / "bundle"
    sample = np.arange(30.0).reshape(10, 3)
    labels = ["yes", "a.b"]
    save_bundle(folder, torch.nn.Linear(3, 2), features=list("uvw"), task=Multilabel(labels), sample=sample)
    return folder


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["0.3", "0.4"], "a number for all labels twice"),
        (["0.3", "yes=0.4", "0.3"], "a number for all labels twice"),
        (["yes=0.3", "a.b=0.3", "yes=0.4"], "'yes' twice"),
        (["a.b=0.3", '"a.b"=0.3'], "'\"a.b\"' twice"),
    ],
)
def test_a_threshold_that_is_set_twice_is_refused(
    scoreline: Callable[..., Result], bundle: Path, tmp_path: Path, given: list[str], what: str
) -> None:
    """With one line, on the command line and in a job file, with any value and spelling."""
    pd.DataFrame({name: [1.0] for name in "uvw"}).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline(*words, *(word for one in given for word in ("--threshold", one)))
    assert (result.code, result.message) == (2, f"--threshold gives {what}; pass one")
    (tmp_path / "job.toml").write_text(f"threshold = {given!r}\n")
    assert scoreline(*words, "--job", tmp_path / "job.toml").message == result.message
    assert not (tmp_path / "out").exists()

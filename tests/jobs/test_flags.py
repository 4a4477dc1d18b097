"""The flags of every command: adding one is a deliberate change."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest
from scoreline.jobs.cli import COMMANDS

from conftest import Result

FLAGS = {
    "score": {
        "--bundle", "--input", "--output", "--format", "--keys", "--prefix", "--probabilities", "--top-k",
        "--hidden", "--constant",
        "--explain", "--explain-rows", "--explain-target", "--threshold", "--device", "--precision",
        "--compile", "--no-compile", "--deterministic", "--no-deterministic", "--dedupe", "--no-dedupe",
        "--batch-size", "--split-rows", "--memory", "--max-rejects", "--max-drift", "--trust", "--force", "--no-force",
        "--prune", "--no-prune", "--moved-input", "--no-moved-input", "--profile", "--no-profile", "--shard",
        "--engine", "--address", "--workers", "--gpus-per-worker",
        "--run-date", "--time-zone", "--run-id",
        "--metrics", "--trace", "--log-format", "--log-level", "--progress", "--no-progress", "--job",
    },
    "finish": {"--max-rejects", "--max-drift", "--run-id", "--log-format", "--log-level"},
    "pack": {"--from-mlflow", "--allow-import", "--allow-pickle"},
    "check": {"--bundle", "--input", "--format", "--device", "--trust", "--job", "--run-date", "--time-zone", "--json"},
    "verify": {"--json"},
    "report": set(),
    "runs": {"--limit", "--json"},
    "rejects": {"--limit", "--csv", "--json"},
    "evaluate": {"--label", "--labels", "--on", "--head", "--json"},
    "diff": {"--on", "--head", "--label", "--max-flips", "--movers", "--picture", "--json"},
    "importance": {"--top", "--picture", "--json"},
    "calibrate": {
        "--bundle", "--input", "--label", "--head", "--method", "--picture", "--format", "--device", "--trust", "--job",
        "--run-date", "--time-zone", "--json",
    },
    "layers": {"--json"},
    "commit": {"--delta", "--iceberg", "--catalog", "--json"},
    "bench": {
        "--bundle", "--input", "--rows", "--features", "--files", "--format", "--batch-size", "--device", "--trust",
        "--rounds", "--json",
    },
    "demo": {"--dir", "--task", "--rows", "--device"},
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_flags(name: str) -> None:
    """The list above has every command, with all its flags."""
    command: click.Command = getattr(import_module(f"scoreline.jobs.{name}"), name)
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert {flag for option in options for flag in (*option.opts, *option.secondary_opts)} == FLAGS[name]


def test_a_digest_is_checked(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """From the command line, the environment and a job file alike, before anything is read."""
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "i", "--output", tmp_path / "o"]
    message = "is not a digest; use sha256:… as scoreline check prints it"
    flag = scoreline("score", *words, "--trust", "zz")
    assert (flag.code, message in flag.err) == (2, True)
    (tmp_path / "job.toml").write_text('trust = ["sha256:zz"]')
    job = scoreline("score", *words, "--job", tmp_path / "job.toml")
    assert (job.code, f"trust: 'sha256:zz' {message}" in job.err) == (78, True)

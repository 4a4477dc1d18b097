"""The flags of every command: adding one is a deliberate change."""

from importlib import import_module

import click
import pytest
from scoreline.jobs.cli import COMMANDS

FLAGS = {
    "score": {
        "--bundle", "--input", "--output", "--format", "--keys", "--prefix", "--probabilities", "--top-k", "--hidden",
        "--explain", "--explain-rows", "--explain-target", "--threshold", "--device", "--precision",
        "--compile", "--no-compile", "--deterministic", "--no-deterministic", "--dedupe", "--no-dedupe",
        "--batch-size", "--split-rows", "--memory", "--max-rejects", "--trust", "--force", "--no-force",
        "--prune", "--no-prune", "--moved-input", "--no-moved-input", "--run-date", "--run-id",
        "--log-format", "--log-level", "--progress", "--no-progress", "--job",
    },
    "pack": {"--from-mlflow", "--allow-import", "--allow-pickle"},
    "check": {"--bundle", "--input", "--format", "--device", "--trust", "--job", "--run-date", "--json"},
    "verify": {"--json"},
    "evaluate": {"--label", "--labels", "--on", "--head", "--json"},
    "importance": {"--top", "--picture", "--json"},
    "calibrate": {
        "--bundle", "--input", "--label", "--head", "--method", "--picture", "--format", "--device", "--trust", "--job",
        "--json",
    },
    "layers": {"--json"},
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

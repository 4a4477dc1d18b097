"""The public interface: names, flags, start-up, the installed package."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from scoreline.jobs.check import check
from scoreline.jobs.demo import demo
from scoreline.jobs.score import score
from scoreline.schemas import export

import scoreline

ROOT = Path(__file__).parent.parent.parent


def python(code: str, cwd: Path, **environment: str) -> str:
    """Run code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names() -> None:
    """Adding a name is a deliberate change."""
    assert scoreline.__all__ == [
        "Binary",
        "BundleError",
        "DataError",
        "DeviceError",
        "Ensemble",
        "Expressions",
        "FloatSequence",
        "Generation",
        "GoldenMismatchError",
        "Image",
        "Model",
        "ModelFailedError",
        "Multiclass",
        "Multilabel",
        "Regression",
        "RowsRejectedError",
        "ScoredBatch",
        "ScorelineError",
        "Scorer",
        "Table",
        "Tagging",
        "TokenSequence",
        "Tokens",
        "load_weights",
        "save_bundle",
    ]
    assert all(getattr(scoreline, name).__name__ == name for name in scoreline.__all__)
    assert set(dir(scoreline)) == set(scoreline.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        scoreline.no_such_name  # noqa: B018


def test_flags() -> None:
    """Adding a flag is a deliberate change, and each flag of score has its environment variable."""

    def flags(command: click.Command) -> set[str]:
        return {name for option in command.params for name in option.opts}

    assert flags(score) == {
        "--bundle", "--input", "--output", "--keys", "--format", "--batch-size", "--device",
        "--max-rejects", "--max-drift", "--profile", "--probabilities", "--prefix", "--job", "--run-date", "--run-id",
        "--metrics", "--trace", "--time-zone", "--constant", "--log-format", "--log-level", "--progress", "--trust",
        "--force", "--prune", "--moved-input", "--shard", "--engine", "--address", "--workers", "--gpus-per-worker",
        "--split-rows", "--memory", "--precision", "--compile",
        "--top-k", "--threshold", "--hidden", "--deterministic", "--dedupe",
        "--explain", "--explain-rows", "--explain-target",
    }  # fmt: skip
    assert flags(check) == {
        "--bundle", "--input", "--format", "--device", "--trust", "--json", "--job", "--run-date", "--time-zone",
    }  # fmt: skip
    assert flags(demo) == {"--dir", "--task", "--rows", "--device"}
    for option in score.params:
        assert option.envvar == "SCORELINE_" + option.name.upper()


def test_help_is_light(tmp_path: Path) -> None:
    """`scoreline --help` imports neither torch nor pandas nor Arrow."""
    code = (
        "import sys; from scoreline.jobs.cli import run; run(['--help']); run(['score', '--help']);"
        "print('heavy', sorted({'torch', 'pandas', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    assert python(code, tmp_path).endswith("heavy []")


def test_other_modules_of_the_same_names_do_not_conflict(tmp_path: Path) -> None:
    """A training project with its own pipeline.py, jobs.py and schemas/ can import scoreline and itself."""
    for name in ("pipeline", "jobs"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").write_text("MINE = True\n")
    code = (
        "import pipeline, jobs, schemas; assert pipeline.MINE and jobs.MINE and schemas.MINE;"
        "import scoreline; print(scoreline.Scorer.__module__)"
    )
    assert python(code, tmp_path) == "scoreline.pipeline.scoring.scorer"
    done = subprocess.run(
        [sys.executable, "-m", "scoreline", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"scoreline, version {scoreline.__version__}"


def test_the_version_is_that_of_pyproject() -> None:
    """It is read from the installed package; `make install` installs it again after a change."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert scoreline.__version__ == tomllib.load(file)["project"]["version"]


@pytest.mark.parametrize("name", sorted(export.FILES))
def test_json_schemas_are_exported(name: str) -> None:
    """The files in schemas/json match the models; `make schemas` writes them."""
    text = (export.FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert text == export.schema_text(export.FILES[name])
    assert json.loads(text)["type"] == "object"


def test_wheel_works_elsewhere(tmp_path: Path) -> None:
    """A wheel built from the tree, installed in another folder, is complete: commands, schemas, type marker."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "demo-out", "*.egg-info", "tests"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)], check=True
    )
    (wheel,) = tmp_path.glob("scoreline-*.whl")
    there = tmp_path / "there"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(there), str(wheel)], check=True)
    code = (
        "import scoreline, scoreline.schemas.export as e; from scoreline.jobs.cli import run;"
        "run(['score', '--help']); print(scoreline.__file__); print(len(list(e.FOLDER.glob('*.json'))))"
    )
    lines = python(code, tmp_path, PYTHONPATH=str(there)).splitlines()
    assert lines[-2:] == [str(there / "scoreline" / "__init__.py"), str(len(export.FILES))]
    assert (there / "scoreline" / "py.typed").exists()
    assert not (there / "pipeline").exists()


def test_ending_the_process_early_is_not_success(tmp_path: Path) -> None:
    """Trusted code that exits with 0 would make a scheduler believe that the work was done."""
    code = (
        "import sys; from scoreline.jobs import cli; cli.cli.main = lambda **words: sys.exit(0);"
        "print(cli.run(['score']))"
    )
    assert python(code, tmp_path) == "1"

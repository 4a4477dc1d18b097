"""Commands that only read outputs import neither torch nor pandas. A run imports neither pandas, which takes a third of
a second (pyarrow's converters import it, even for a scalar), nor torch's compiler, which takes a second.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from torch import nn

from conftest import Example, Result
from scoreline import Multiclass, save_bundle

COMMANDS = (
    "runs OUT",
    "runs OUT --json",
    "report OUT",
    "rejects OUT --csv FILE",
    "diff OUT OUT --picture FILE.svg",
    "verify OUT",
)
CODE = (
    "import sys; from scoreline.jobs.cli import run\n"
    "for line in sys.argv[1:]: assert run(line.split('|')) == 0, line\n"
    "print('heavy', *{'torch', 'torch._dynamo', 'pandas'} & set(sys.modules))"
)


def test_neither_torch_nor_pandas(score_four_files: Callable[..., Result], tmp_path: Path) -> None:
    """One after the other, in one process."""
    assert score_four_files().code == 0
    known = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "r.csv"), "FILE.svg": str(tmp_path / "d.svg")}
    lines = ["|".join(known.get(word, word) for word in command.split()) for command in COMMANDS]
    done = subprocess.run([sys.executable, "-c", CODE, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy"


def heavy(line: str) -> set[str]:
    """What a command imports."""
    done = subprocess.run([sys.executable, "-c", CODE, line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_a_model_with_an_embedding(tmp_path: Path) -> None:
    """Drawing random numbers for tensors without memory would import the compiler."""
    save_bundle(
        tmp_path / "bundle",
        nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(8, 2)),
        features={"x": "integer"},
        task=Multiclass(["a", "b"]),
        sample=pd.DataFrame({"x": [0, 1, 2, 3, 4]}),
    )
    pd.DataFrame({"x": [0, 4]}).to_parquet(tmp_path / "in.parquet")
    words = ["score", "--bundle", tmp_path / "bundle", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert heavy("|".join(map(str, words))) == {"torch"}


@pytest.mark.parametrize("engine", ["local", "processes"])
def test_a_run_without_pandas(iris: Example, tmp_path: Path, engine: str) -> None:
    """With missing values, cells that are no numbers, and rows that cannot be read."""
    (tmp_path / "data").mkdir()
    frame = iris.frame.copy()
    frame.loc[3, iris.features[1]] = None
    frame.to_parquet(tmp_path / "data" / "a.parquet", index=False)
    frame = frame.astype({iris.features[0]: object})
    frame.loc[5:7, iris.features[0]] = ["?", "", " 1e17 "]
    frame.to_csv(tmp_path / "data" / "b.csv", index=False)
    (tmp_path / "data" / "c.csv").write_text((tmp_path / "data" / "b.csv").read_text() + "1,2\n")
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out"]
    line = "|".join(map(str, [*words, "--max-rejects", "90%", "--engine", engine, "--split-rows", "100"]))
    assert heavy(line) == ({"torch"} if engine == "local" else set())
    rejected = pd.concat(pa.ipc.open_file(file).read_pandas() for file in (tmp_path / "out/_rejects").iterdir())
    assert len(rejected) == 8

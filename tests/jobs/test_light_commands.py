"""Commands that only read outputs import neither torch nor pandas."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import Result

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
    "print('heavy', *{'torch', 'pandas'} & set(sys.modules))"
)


def test_neither_torch_nor_pandas(score_four_files: Callable[..., Result], tmp_path: Path) -> None:
    """One after the other, in one process."""
    assert score_four_files().code == 0
    known = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "r.csv"), "FILE.svg": str(tmp_path / "d.svg")}
    lines = ["|".join(known.get(word, word) for word in command.split()) for command in COMMANDS]
    done = subprocess.run([sys.executable, "-c", CODE, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy"

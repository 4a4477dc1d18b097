"""The benchmarks run: nothing else notices if what they use has changed. What they measure is not checked here."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
IMPORTS = "import runpy, sys; sys.path.insert(0, sys.argv[1]); [runpy.run_path(file) for file in sys.argv[2:]]"


def output(*words: object) -> str:
    """What a script prints."""
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_they_import_exists() -> None:
    """One after the other, in one process."""
    assert len(SCRIPTS) > 8
    output("-c", IMPORTS, FOLDER, *SCRIPTS)


def test_scaling() -> None:
    """The scheduler of a run on virtual cores, with every kind of input."""
    lines = output(FOLDER / "scaling.py", "--cores", 2, "--rows", 1).splitlines()
    assert [line.partition("  ")[0] for line in lines[1:]] == [
        "64 files", "1 file, row groups of 1 M", "1 file, row groups of 122,880", "1 file, one row group", "1 CSV",
    ]  # fmt: skip

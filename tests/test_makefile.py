"""The targets of the Makefile: what they would run can be read by a shell."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("index", ["", "https://index.example/cpu"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_runs(target: str, index: str) -> None:
    """With the default index of packages, and with another one for torch."""
    words = ["make", "--dry-run", target, f"TORCH_INDEX={index}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = subprocess.run(["sh", "-n"], input=done.stdout, capture_output=True, text=True)
    assert read.stderr == ""

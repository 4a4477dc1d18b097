"""README's Python blocks run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

README = Path(__file__).parents[2] / "README.md"
#: What README's shell commands do between the blocks: score rows of the training script.
SCORE = """
import os
from scoreline.jobs.cli import run
os.makedirs("data", exist_ok=True)
raw_rows.to_parquet("data/rows.parquet", index=False)
assert run(["score", "--bundle", "bundles/wine", "--input", "data/", "--output", "scored/"]) == 0
"""


def test_python_blocks_run(tmp_path: Path) -> None:
    """One after the other, in one process, with the command between them."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 3
    saving, scoring, reading = blocks
    script = tmp_path / "readme.py"
    script.write_text(f"{saving}\n{SCORE}\n{scoring}\n{reading}", encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(pd.read_parquet(tmp_path / "scored")["prediction"]) <= {"barolo", "grignolino", "barbera"}

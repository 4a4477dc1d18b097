"""Two hundred kills at random moments, each followed by the same command; the final output equals, byte for byte, that
of an undisturbed run."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench import visible

from conftest import Example

KILLS = 200


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> Path:
    """Eight files, Parquet and CSV, of several splits and with rejects."""
    folder = tmp_path_factory.mktemp("data")
    many = pd.concat([iris.frame] * 80, ignore_index=True)
    for n in range(8):
        frame = many.assign(row_id=np.arange(len(many)) + n * 1_000_000)
        frame.loc[n * 1000 :: 5000, iris.features[0]] = np.nan
        if n % 2:
            frame.to_csv(folder / f"{n}.csv", index=False)
        else:
            frame.to_parquet(folder / f"{n}.parquet", index=False, row_group_size=5000)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_two_hundred_kills(tmp_path: Path, iris: Example, data: Path, number: signal.Signals, code: int) -> None:
    """P1, P3, P26: the moments are spread over the whole duration of a run, including its start and end."""
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--input", str(data)]
    words += ["--max-rejects", "5%", "--split-rows", "3000", "--batch-size", "256"]
    start_s = time.monotonic()
    subprocess.run([*words, "--output", str(tmp_path / "whole")], check=True, capture_output=True, cwd="/")
    length_s = time.monotonic() - start_s
    wanted = visible(tmp_path / "whole")
    out, draw, kills, finished = tmp_path / "out", random.Random(4), 0, 0
    while kills < KILLS:
        running = subprocess.Popen([*words, "--output", str(out)], stderr=subprocess.PIPE, text=True, cwd="/")
        try:
            _, stderr = running.communicate(timeout=draw.uniform(0.5, 1.1) * length_s)
        except subprocess.TimeoutExpired:
            running.send_signal(number)
            _, stderr = running.communicate(timeout=30)
        assert "Traceback" not in stderr, stderr[-3000:]
        assert running.returncode in (0, code, -number), stderr[-3000:]
        left = visible(out)
        assert all(left[name] == wanted[name] for name in left if name.endswith(".parquet"))
        if running.returncode == 0:
            assert left == wanted
            finished += 1
            shutil.rmtree(out)
        else:
            assert "_SUCCESS" not in left or left == wanted
            kills += 1
    subprocess.run([*words, "--output", str(out)], check=True, capture_output=True, cwd="/")
    assert visible(out) == wanted
    print(f"{kills} deaths by {number.name}, {finished} runs ended in between")  # noqa: T201 - for whoever runs it with -s

"""Real processes score shards at the same time, and some are killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Example
from outcomes import parts

COUNT = 4


def command(*words: object) -> list[str]:
    """A command of its own process."""
    return [sys.executable, "-m", "scoreline", *map(str, words)]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_shard_is_killed(iris: Example, tmp_path: Path, seed: int) -> None:
    """Four run at once, one is killed at a random moment; `finish` names it, and after it has been scored again, the
    bytes are those of one run."""
    draw = random.Random(seed)
    big = pd.concat([iris.frame] * 400, ignore_index=True).assign(row_id=np.arange(60_000))
    (tmp_path / "in").mkdir()
    for name in "ab":
        big.to_parquet(tmp_path / "in" / f"{name}.parquet", index=False, row_group_size=5000)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in", "--split-rows", "1000", "--batch-size", "500"]
    subprocess.run(command("score", *words, "--output", tmp_path / "whole"), check=True, capture_output=True)
    out, victim = tmp_path / "out", draw.randrange(COUNT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            command("score", *words, "--output", out, "--shard", f"{number + 1}/{COUNT}"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
        )
        for number in range(COUNT)
    ]  # fmt: skip
    lock = out / "_scoreline" / "shards" / f"{victim + 1:05d}-of-{COUNT:05d}.lock"
    while not lock.exists() and running[victim].poll() is None:
        time.sleep(0.01)
    time.sleep(draw.random() * 2)
    running[victim].send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=120) for process in running]
    assert [code for number, code in enumerate(codes) if number != victim] == [0] * (COUNT - 1)
    if codes[victim]:
        found = subprocess.run(command("finish", out), check=False, capture_output=True, text=True)
        assert (found.returncode, f"{victim + 1}/{COUNT} (" in found.stderr) == (65, True), found.stderr
        again = command("score", *words, "--output", out, "--shard", f"{victim + 1}/{COUNT}")
        subprocess.run(again, check=True, capture_output=True)
    subprocess.run(command("finish", out), check=True, capture_output=True)
    assert parts(out) == parts(tmp_path / "whole")

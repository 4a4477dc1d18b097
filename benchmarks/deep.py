"""A compute-bound model: our run against the bare forward loop over the same blocks, in pairs.

    python benchmarks/deep.py --rows 40000 --rounds 3

The bare loop has its blocks in memory, reads and writes nothing, and keeps every core busy with a block of its own on
one thread, as the run does. Reported: the median ratio of the run's steady part to it.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from scoreline.pipeline.cores import available_cores
from scoreline.pipeline.examples.synthetic import make_data
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.running.run import run
from torch import Tensor, nn

from scoreline import Regression, Scorer, save_bundle

WIDTH, FEATURES = 2048, [f"f{number}" for number in range(64)]


def model() -> nn.Module:
    """2048-2048-2048."""
    torch.manual_seed(0)
    sizes = [len(FEATURES), WIDTH, WIDTH, WIDTH]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1)).eval()


def bare_s(net: nn.Module, blocks: list[Tensor]) -> float:
    """Seconds of the forward passes alone, as many at once as there are cores."""

    def one(block: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = net(block)
            return out

    start = perf_counter()
    with ThreadPoolExecutor(available_cores().count) as pool:
        list(pool.map(one, blocks))
    return perf_counter() - start


def main() -> None:
    """Print the pairs and the median of their ratios."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rows", type=int, default=40_000)
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sample = np.random.default_rng(0).normal(size=(64, len(FEATURES)))
        net = model()
        save_bundle(folder / "b", net, features=FEATURES, task=Regression(), sample=sample)
        data = make_data(folder, FEATURES, rows=asked.rows, files=2, format="parquet")
        rows = Scorer.load(folder / "b", device="cpu").members.pass_rows
        blocks = [torch.randn(len(FEATURES), rows).T for _ in range(asked.rows // rows)]
        ratios = []
        for number in range(asked.rounds):
            bare = bare_s(net, blocks) * asked.rows / (len(blocks) * rows)
            job = ScoreJob(
                bundle=str(folder / "b"), input=str(data), output=str(folder / f"o{number}"), run_id="x", device="cpu"
            )
            told = run(job)
            steady = told.wall_s - told.startup_s - told.stages["discover"].waiting_s
            ratios.append(steady / bare)
            sys.stdout.write(f"bare {bare:.2f} s, ours {steady:.2f} s: {ratios[-1]:.3f}\n")
    sys.stdout.write(f"median {median(ratios):.3f} times the bare loop, {rows} rows a pass\n")


if __name__ == "__main__":
    main()

"""Runs of `scoreline score` as whole processes, and the time of a call, for the benchmarks beside this file."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

CODE = (
    "import resource, subprocess, sys;"
    "subprocess.run([sys.executable, '-m', 'scoreline', *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


@dataclass(frozen=True)
class Run:
    """A finished run: its run.json, and its peak memory in MB."""

    manifest: dict[str, Any]
    peak_mb: float

    @property
    def seconds(self) -> float:
        """Seconds without its start-up."""
        return float(self.manifest["wall_s"] - self.manifest["startup_s"])


def score(folder: Path, number: int) -> Run:
    """Score `in` with the bundle `b` of a folder, to an output of its own."""
    out = folder / f"out{number}"
    words = ["score", "--bundle", folder / "b", "--input", folder / "in", "--output", out, "--log-level", "error"]
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, words)], check=True, capture_output=True, text=True)
    manifest = json.loads((out / "_scoreline" / "run.json").read_text())
    return Run(manifest=manifest, peak_mb=int(done.stdout) / 1000)


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = perf_counter()
    work()
    return perf_counter() - start

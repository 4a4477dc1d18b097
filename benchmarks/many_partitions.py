"""A plan of many partitions: seconds, memory and the size of the records.

    python benchmarks/many_partitions.py [--files 20000] [--plan-only]

The inputs are links to a few files of ten rows. Each step is a process of its own: planning alone; then, unless
`--plan-only`, a run that scores them, and a run with nothing to do.
"""

# ruff: noqa: T201 - this prints a table

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from peers import make

#: Links to one file; file systems limit them.
LINKS = 20_000


def link(folder: Path, files: int) -> None:
    """Make the inputs: links to files of ten rows, a thousand to a folder."""
    sources = -(-files // LINKS)
    make(folder, rows=sources * 10, files=sources)
    originals = sorted((folder / "data").iterdir())
    for number in range(files):
        target = folder / "in" / f"date={number // 1000:04d}" / f"part-{number % 1000:03d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number // LINKS], target)


def plan(folder: Path) -> None:
    """Plan a run as the command does, and print what that takes."""
    from scoreline.jobs.terminal.process import tune
    from scoreline.pipeline.bundle.bundle import open_bundle
    from scoreline.pipeline.inputs.discover import discover
    from scoreline.pipeline.options import ScoreJob
    from scoreline.pipeline.outputs.stores import open_store
    from scoreline.pipeline.planning.existing import scan_output
    from scoreline.pipeline.planning.plan import default_split_rows, make_plan

    tune()
    job = ScoreJob(bundle=str(folder / "bundle"), input=str(folder / "in"), output=str(folder / "none"), run_id="plan")
    bundle = open_bundle(job.bundle)
    rows = default_split_rows(bundle.model_bytes())
    before, start = _mb(), perf_counter()
    found = discover(job.input)
    discovered = perf_counter()
    existing = scan_output(open_store(job.output), found.partitions, bundle.digest, job, rows, root=found.real_root)
    made = make_plan(found, existing, bundle.manifest, job, rows)
    seconds = perf_counter() - start
    size = len(pickle.dumps(made.partitions)) / len(made.partitions)
    print(f"plan            {seconds:7.2f} s, of which listing {discovered - start:.2f} s; {_mb() - before:,.0f} MB;"
          f" {size:,.0f} bytes each pickled")  # fmt: skip


def _mb() -> float:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def scored(folder: Path, label: str) -> None:
    """Run `scoreline score` and print its seconds and peak memory."""
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(folder / "bundle"), "--input",
             str(folder / "in"), "--output", str(folder / "out"), "--log-level", "error"]  # fmt: skip
    start = perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, process.returncode
    print(f"{label:<15} {perf_counter() - start:7.2f} s, {usage.ru_maxrss / 1000:,.0f} MB")


def main() -> None:
    """Measure each step."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--plan-only", action="store_true", help="do not score")
    options.add_argument("--plan", type=Path, help="only plan, over the files in this folder")
    given = options.parse_args()
    if given.plan is not None:
        plan(given.plan)
        return
    with tempfile.TemporaryDirectory(prefix="scoreline-many-") as name:
        folder = Path(name)
        link(folder, given.files)
        print(f"{given.files:,} partitions", flush=True)
        subprocess.run([sys.executable, __file__, "--plan", name], check=True)
        if not given.plan_only:
            scored(folder, "score")
            scored(folder, "nothing to do")
            for path in sorted((folder / "out" / "_scoreline").iterdir()):
                print(f"{path.name:<15} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

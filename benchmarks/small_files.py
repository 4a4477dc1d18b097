"""Many small files: Scoreline beside a loop on one thread that makes each file's output as durable.

    python benchmarks/small_files.py [--files 10000] [--rows 100] [--rounds 5] [--engine local] [--csv]

The loop reads a file, scales, predicts, writes the same columns under a temporary name, syncs it, renames it and syncs
the folder; it has no receipts, checksums, rejects or resuming. Whole processes in pairs; prints medians and the median
of their ratios, then a run with nothing to do.
"""

# ruff: noqa: T201 - this prints a table

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from peers import LABELS, make, network


def loop(folder: Path) -> None:
    """Score every file in turn."""
    import pickle

    import numpy as np
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq
    import torch

    model, out = network(), folder / "loop"
    model.load_state_dict(torch.load(folder / "model.pt"))
    model.eval()
    torch.set_num_threads(1)
    scaler = pickle.loads((folder / "scaler.pkl").read_bytes())
    names = np.array(LABELS)
    out.mkdir()
    with torch.inference_mode():
        for path in sorted((folder / "data").iterdir()):
            table = pacsv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
            features = np.stack([table[name].to_numpy() for name in scaler_features(table)], axis=1)
            scaled = torch.from_numpy(scaler.transform(features).astype(np.float32))
            probabilities = torch.softmax(model(scaled), 1).numpy()
            kept = table.drop_columns(scaler_features(table))
            kept = kept.append_column("prediction", [names[probabilities.argmax(1)]])
            for number, label in enumerate(LABELS):
                kept = kept.append_column(f"probability_{label}", [probabilities[:, number]])
            temporary = out / f".{path.name}.tmp"
            pq.write_table(kept, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(out / f"{path.stem}.parquet")
            descriptor = os.open(out, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def to_csv(data: Path) -> None:
    """Replace Parquet files by CSV files with the same rows."""
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    for path in data.iterdir():
        pacsv.write_csv(pq.read_table(path), path.with_suffix(".csv"))
        path.unlink()


def scaler_features(table: "object") -> list[str]:
    """The feature columns."""
    return [name for name in table.column_names if name.startswith("f")]  # type: ignore[attr-defined]


def timed(words: list[str], output: Path | None) -> float:
    """The seconds of a process; its output is removed before."""
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
    start = perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return perf_counter() - start


def main() -> None:
    """Measure both in pairs."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rows", type=int, default=100, help="rows of each file")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--engine", default="auto", help="of scoreline score")
    options.add_argument("--csv", action="store_true", help="CSV files instead of Parquet")
    options.add_argument("--loop", type=Path, help="only run the loop, over the files in this folder")
    given = options.parse_args()
    if given.loop is not None:
        loop(given.loop)
        return
    with tempfile.TemporaryDirectory(prefix="scoreline-small-") as name:
        folder = Path(name)
        make(folder, rows=given.files * given.rows, files=given.files)
        if given.csv:
            to_csv(folder / "data")
        ours = [sys.executable, "-m", "scoreline", "score", "--bundle", str(folder / "bundle"), "--input",
                str(folder / "data"), "--output", str(folder / "out"), "--engine", given.engine]  # fmt: skip
        theirs = [sys.executable, __file__, "--loop", name]
        pairs = []
        for number in range(given.rounds):
            order = [("out", ours), ("loop", theirs)][:: 1 if number % 2 else -1]
            seconds = {out: timed(words, folder / out) for out, words in order}
            pairs.append((seconds["out"], seconds["loop"]))
        timed(ours, folder / "out")
        nothing = timed(ours, None)
    print(f"{given.files:,} {'CSV' if given.csv else 'Parquet'} files of {given.rows} rows, medians of {given.rounds}")
    print(f"scoreline       {median(one for one, _ in pairs):7.2f} s")
    print(f"loop            {median(other for _, other in pairs):7.2f} s")
    print(f"ratio           {median(one / other for one, other in pairs):7.2f}")
    print(f"nothing to do   {nothing:7.2f} s")


if __name__ == "__main__":
    main()

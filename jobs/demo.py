"""`scoreline demo`: trains, saves and scores data that ships with scikit-learn."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..pipeline.bundle.bundle import MANIFEST as BUNDLE_MANIFEST
from ..pipeline.errors import OutputError, ScorelineError, UsageError
from ..pipeline.storage.folders import Walker
from ..pipeline.storage.plain_files import kind_of
from .terminal.options import flag
from .terminal.tables import answer

MARK = ".scoreline-demo"
ROWS_PER_FILE = 1_000_000
#: The examples of `pipeline/examples/networks.py` (not imported here, since it imports torch), and those of `_SHOWS`.
TASKS = (
    "binary", "threshold", "multiclass", "top-k", "multilabel", "regression", "quantiles", "spread", "heads", "hidden",
    "calibration", "dedupe", "explain", "image", "sequence", "generation",
)  # fmt: skip
USUAL = ("binary", "multiclass")


@click.command(context_settings={"show_default": True})
@click.option(
    "--dir", "folder", default="demo-out", metavar="DIR", help="Directory for everything that the demo writes."
)
@click.option("--task", type=click.Choice(TASKS), help="Task to show.  [default: binary, then multiclass]")
@click.option("--rows", type=click.IntRange(min=1), help="Score this many rows, resampled from the same data.")
@flag("device")
def demo(folder: str, task: str | None, rows: int | None, device: str) -> int:
    """Train, save and score real data, in seconds.

    Trains on data that ships with scikit-learn, saves the bundle, writes the held-out rows as hive-partitioned Parquet
    or CSV, scores them with scoreline score, and evaluates the predictions. Without --task, it uses the breast-cancer
    data (30 features, binary) and the wine data (multiclass); with --rows, only the first, resampled.

    \b
    Examples:
      scoreline demo
      scoreline demo --task quantiles
      scoreline demo --rows 5000000
    """
    try:
        import sklearn  # noqa: F401 - an extra: only the demo needs it
    except ImportError as error:
        raise UsageError("the demo needs scikit-learn; install it with: pip install 'scoreline[demo]'") from error
    root = Path(folder)
    tasks = [task] if task is not None else USUAL if rows is None else USUAL[:1]
    try:
        _claim(root)
        names = [_show(one, root, rows, device) for one in tasks]
    except OSError as error:
        raise OutputError(f"{error.filename or folder!r}: {error.strerror or error}; choose another --dir") from error
    manifest, run = f"{root}/bundles/{names[0]}/{BUNDLE_MANIFEST}", f"{root}/scored/…/_scoreline/run.json"
    width = max(len(manifest), len(run))
    answer(
        f"Where to look next:\n"
        f"  {manifest:<{width}}  the bundle's manifest\n"
        f"  {run:<{width}}  what the run did and what it waited for\n"
        f"  scoreline check --bundle {root}/bundles/{names[0]} --input {root}/data/{names[0]}\n"
        f"  scoreline score --help"
    )
    return 0


def _claim(root: Path) -> None:
    """Make the folder and mark it as the demo's. Raises OutputError or UsageError for a path that exists and is not the
    demo's, and OSError."""
    if kind_of(root) in ("file", "other"):
        raise OutputError(f"{str(root)!r} is not a folder; choose another --dir")
    walker = Walker(failed=_unlisted, skip=lambda _: False)
    if kind_of(root) == "folder" and walker.entries(walker.start(str(root))) and kind_of(root / MARK) == "missing":
        raise UsageError(f"{str(root)!r} exists and was not made by the demo; choose another --dir")
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()


def _unlisted(path: str, error: OSError) -> OutputError:
    return OutputError(f"{path!r} cannot be read: {error.strerror}; choose another --dir")


def _show(task: str, root: Path, rows: int | None, device: str) -> str:
    """Train, save, score, evaluate; returns the name of the bundle."""
    from ..pipeline.examples.networks import EXAMPLES
    from ..pipeline.model.modes import pinned

    made = {"calibration": "overconfident", "dedupe": "multiclass"}.get(task, task)
    summary = (EXAMPLES[made].__doc__ or "").strip().replace("\n", " ")
    answer(f"── {task}: {summary if made == task else _SHOWS[task]}")
    scratch = root / "bundles" / f".{task}"
    with pinned():
        example = EXAMPLES[made](scratch)
    name = example.name if made == task else task
    bundle, data, scored = root / "bundles" / name, root / "data" / name, root / "scored" / name
    shutil.rmtree(bundle, ignore_errors=True)
    scratch.rename(bundle)
    words = example.words if made == task else []
    frame, layout = example.frame, example.layout
    if task == "dedupe":
        rows, words, layout = rows or 200_000, ["--dedupe"], "parquet"
    if task == "calibration":
        half = len(frame) // 2
        known = root / "data" / "labelled.parquet"
        known.parent.mkdir(parents=True, exist_ok=True)
        frame.iloc[:half].to_parquet(known, index=False)
        frame = frame.iloc[half:]
        better = root / "bundles" / "calibrated"
        _run("calibrate", ["--bundle", str(bundle), "--input", str(known), "--label", "true_label", str(better)])
        bundle = better
    files = _write(frame, data, layout, rows)
    answer(f"saved {bundle}; held-out rows: {files} under {data}")
    if task == "hidden":
        _run("layers", [str(bundle)])
    words = ["--bundle", str(bundle), "--input", str(data), "--output", str(scored), *words]
    words += [] if device == "auto" else ["--device", device]
    _run("score", words, unshown=["--log-format", "text", "--log-level", "warning"])
    if task == "explain":
        _run("importance", [str(scored), "--top", "8", "--picture", str(root / "importance.svg")])
    if task == "generation":
        answer(_compared(scored, example.truth[0]) + "\n")
        return name
    named = [word for column in example.truth for word in ("--label", column)]
    _run("evaluate", [str(scored), *named, *(["--head", example.head] if example.head else [])])
    answer("")
    return name


def _compared(scored: Path, truth: str) -> str:
    """A table of generated and true texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .terminal.tables import table

    walker = Walker()
    files = [entry.path for entry in walker.files(walker.start(str(scored))) if entry.path.endswith(".parquet")]
    rows = pa.concat_tables([pq.read_table(file) for file in sorted(files)]).to_pylist()
    right = sum(row["prediction"] == row[truth] for row in rows)
    shown = [[" ".join(row[truth]), " ".join(row["prediction"]), f"{row['log_probability']:.4f}"] for row in rows[:6]]
    listed = table([truth, "prediction", "log probability"], shown)
    return f"{listed}\n\n{right} of {len(rows)} are correct, on numbers that the network has not seen"


_SHOWS = {
    "calibration": "Handwritten digits, by an overconfident network, before and after calibration.",
    "dedupe": "Wine, resampled: repeated rows are scored once.",
}


def _write(held_out: Any, data: Path, layout: str, rows: int | None) -> str:
    """Write the held-out rows, or `rows` of them drawn with replacement, as Parquet in Hive folders or as CSV.

    Returns:
        The number and format of the files, as text.
    """
    import numpy as np

    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    wanted = len(held_out) if rows is None else rows
    draw = np.random.default_rng(0)
    files = 0
    for start in range(0, wanted, ROWS_PER_FILE):
        count = min(ROWS_PER_FILE, wanted - start)
        chosen = np.arange(count) if rows is None else draw.integers(0, len(held_out), count)
        part = held_out.iloc[chosen].reset_index(drop=True)
        part.insert(0, "row_id", np.arange(start, start + count))
        if layout == "csv":
            part.to_csv(data / f"part-{files}.csv", index=False)
            files += 1
            continue
        for day, piece in enumerate(np.array_split(np.arange(count), 2)):
            folder = data / f"date=2026-11-0{day + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            part.iloc[piece].to_parquet(folder / f"part-{start // ROWS_PER_FILE}.parquet", index=False)
            files += 1
    return f"{files} {'Parquet' if layout == 'parquet' else 'CSV'} file{'s' if files > 1 else ''}"


def _run(command: str, arguments: list[str], unshown: Sequence[str] = ()) -> None:
    """Print and run a command in a process of its own. `unshown`: further arguments, which are not printed."""
    answer(f"\n$ scoreline {command} {shlex.join(arguments)}\n")
    result = subprocess.run([sys.executable, "-P", "-m", "scoreline", command, *arguments, *unshown], check=False)
    if result.returncode:
        failed = ScorelineError(f"scoreline {command} ended with exit code {result.returncode}; see its message above")
        failed.exit_code = max(1, result.returncode)
        raise failed

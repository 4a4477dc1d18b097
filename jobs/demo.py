"""`scoreline demo`: train, save and score real data that ships with scikit-learn, with the real command."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..pipeline.errors import ScorelineError, UsageError
from ..pipeline.model.bundle import MANIFEST as BUNDLE_MANIFEST
from .terminal.options import flag
from .terminal.tables import answer

MARK = ".scoreline-demo"
ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Example:
    """One data set, the task it is for, and how its held-out rows are written."""

    name: str
    task: str
    labels: list[Any]
    outputs: str
    layout: str


EXAMPLES = (
    _Example(name="breast_cancer", task="binary", labels=["malignant", "benign"], outputs="logits", layout="parquet"),
    _Example(
        name="wine",
        task="multiclass",
        labels=["class_0", "class_1", "class_2"],
        outputs="logits",
        layout="csv",
    ),
)


@click.command(context_settings={"show_default": True})
@click.option("--dir", "folder", default="demo-out", metavar="DIR", help="Where everything goes.")
@click.option("--rows", type=click.IntRange(min=1), help="Score so many rows, resampled from the same data.")
@flag("--device", default="auto", metavar="auto|cpu|cuda|cuda:1", help="Where the model runs.")
def demo(folder: str, rows: int | None, device: str) -> int:
    """Train, save and score real data, in seconds.

    Trains on the breast-cancer data (30 features, binary) and the wine data (multiclass) that ship with
    scikit-learn, saves both bundles, writes the held-out rows as hive-partitioned Parquet and as CSV, and
    scores them with the real command. With --rows, the breast-cancer data alone, drawn again and again.

    \b
    Examples:
      scoreline demo
      scoreline demo --rows 5000000
    """
    try:
        import sklearn  # noqa: F401 - an extra: only the demo needs it
    except ImportError as error:
        raise UsageError("the demo needs scikit-learn; install it with: pip install 'scoreline[demo]'") from error
    root = Path(folder)
    if root.exists() and any(root.iterdir()) and not (root / MARK).exists():
        raise UsageError(f"{folder!r} exists and was not made by the demo; choose another --dir")
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()
    for example in EXAMPLES if rows is None else EXAMPLES[:1]:
        _show(example, root, rows, device)
    answer(
        f"Where to look next:\n"
        f"  {root}/bundles/breast_cancer/{BUNDLE_MANIFEST}   what a bundle says of itself\n"
        f"  {root}/scored/…/_scoreline/run.json    what the run did, and what it waited for\n"
        f"  scoreline check --bundle {root}/bundles/breast_cancer --input {root}/data/breast_cancer\n"
        f"  scoreline score --help"
    )
    return 0


def _show(example: _Example, root: Path, rows: int | None, device: str) -> None:
    bundle, data, scored = root / "bundles" / example.name, root / "data" / example.name, root / "scored"
    answer(f"── {example.name}: {example.task}")
    held_out = _train(example, bundle)
    files = _write(held_out, data, example.layout, rows)
    answer(f"saved {bundle}; held-out rows: {files} under {data}")
    _score(bundle, data, scored / example.name, device)
    answer(f"\naccuracy against the true labels: {_accuracy(scored / example.name):.1%}\n")


def _train(example: _Example, bundle: Path) -> Any:
    """Train a small network, save the bundle, and hand back the rows it has not seen."""
    import torch  # the demo alone trains: --help stays light
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler
    from torch import nn

    from ..pipeline.save import save_bundle

    frame = getattr(datasets, f"load_{example.name}")(as_frame=True).frame
    train, test = train_test_split(frame, test_size=0.4, random_state=0, stratify=frame["target"])
    features = [name for name in frame.columns if name != "target"]
    scaler = StandardScaler().fit(train[features])
    torch.manual_seed(0)
    width = 1 if example.task == "binary" else len(example.labels)
    model = nn.Sequential(
        nn.Linear(len(features), 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.Linear(64, width)
    )
    X = torch.from_numpy(scaler.transform(train[features]).astype("float32"))
    y = torch.tensor(train["target"].to_numpy())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        raw = model(X)
        if width == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(raw[:, 0], y.float())
        else:
            loss = nn.functional.cross_entropy(raw, y)
        torch.autograd.backward(loss)
        optimizer.step()
    save_bundle(
        bundle,
        model,
        features=features,
        scaler=scaler,
        task=example.task,  # type: ignore[arg-type]
        labels=example.labels,
        outputs=example.outputs,  # type: ignore[arg-type]
        sample=train,
    )
    test = test.rename(columns={"target": "true_label"})
    test["true_label"] = [example.labels[place] for place in test["true_label"]]
    return test


def _write(held_out: Any, data: Path, layout: str, rows: int | None) -> str:
    """The held-out rows, or as many drawn from them: Parquet under Hive folders, or CSV. Says how many files."""
    import numpy as np

    _clear(data)
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


def _clear(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    for file in [*data.rglob("*.parquet"), *data.rglob("*.csv")]:
        file.unlink()


def _score(bundle: Path, data: Path, output: Path, device: str) -> None:
    """The command a user would type, as a process of its own."""
    words = ["--bundle", str(bundle), "--input", str(data), "--output", str(output)]
    options = ["--log-format", "text", "--log-level", "warning"]
    words += [] if device == "auto" else ["--device", device]
    answer(f"\n$ scoreline score {shlex.join(words)}\n")
    result = subprocess.run([sys.executable, "-m", "scoreline", "score", *words, *options], check=False)
    if result.returncode:
        raise ScorelineError(f"scoring ended with exit code {result.returncode}; its message stands above")


def _accuracy(output: Path) -> float:
    import pyarrow.dataset as ds

    partitions = json.loads((output / "_scoreline/run.json").read_text())["partitions"]
    parts = [part["target"] for partition in partitions for part in partition["parts"]]
    right = total = 0
    for part in parts:
        for batch in ds.dataset(os.fspath(output / part)).to_batches(columns=["true_label", "prediction"]):
            pairs = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            right += sum(true == predicted for true, predicted in pairs)
            total += batch.num_rows
    return right / total

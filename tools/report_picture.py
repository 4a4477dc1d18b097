"""Takes the pictures of a run's report for the README, in light and dark: `python -m tools.report_picture`.

Scores rows of eight regions twice. Before the second run, some features of one region shift and some cells become null;
in another region, some become infinite. Needs Chromium; its program is the first argument, by default `chromium`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn

from scoreline import Binary, save_bundle

ROOT = Path(__file__).parent.parent
REGIONS = ("at", "be", "ch", "de", "es", "fr", "it", "nl")
ROWS = 2500
WIDTH, HEIGHT = 1200, 1230
#: Of a picture: enough for text, at a third of the size.
COLOURS = 64


def make_bundle(path: Path) -> pd.DataFrame:
    """Train a small model, save it, and return the rows that it was trained on."""
    loaded = load_breast_cancer(as_frame=True)
    frame = loaded.data.rename(columns=lambda name: name.replace(" ", "_"))
    frame["benign"] = np.where(loaded.target == 1, "yes", "no")
    features = [name for name in frame if name != "benign"]
    scaler = StandardScaler().fit(frame[features])
    rows = torch.tensor(scaler.transform(frame[features]), dtype=torch.float32)
    y = torch.tensor(loaded.target.to_numpy(), dtype=torch.float32)
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(len(features), 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(rows)[:, 0], y).backward()
        optimizer.step()
    save_bundle(
        path, model, features=features, scaler=scaler, task=Binary(["no", "yes"]), sample=frame,
        reference=draw(frame, 5000, seed=99),
    )  # fmt: skip
    return frame


def draw(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Random rows, each moved by a little."""
    random = np.random.default_rng(seed)
    drawn = frame.iloc[random.integers(0, len(frame), rows)].reset_index(drop=True)
    numbers = drawn.columns[:-1]
    drawn[numbers] *= random.normal(1, 0.02, (rows, len(numbers)))
    return drawn


def write_inputs(folder: Path, frame: pd.DataFrame, night: int) -> None:
    """Write the rows of each region."""
    for number, region in enumerate(REGIONS):
        rows = draw(frame, ROWS, seed=100 * night + number)
        if night and region == "it":
            rows["mean_texture"] *= 1.25
            rows["worst_radius"] *= 1.15
            rows["area_error"] += 0.5 * rows["area_error"].std()
            rows.loc[rows.index[::9], "mean_smoothness"] = np.nan
        if night and region == "es":
            rows.loc[rows.index[:40], "worst_area"] = np.inf
        path = folder / f"region={region}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path, index=False)


def make_output(folder: Path) -> Path:
    """Score twice; return the page of the second run."""
    frame = make_bundle(folder / "bundles" / "tumours-v3")
    for night in range(2):
        write_inputs(folder / "in", frame, night)
        command = [sys.executable, "-m", "scoreline", "score", "--bundle", "bundles/tumours-v3", "--input", "in"]
        command += ["--output", "scored", "--max-rejects", "5%", "--device", "cpu"]
        subprocess.run(command, cwd=folder, check=True)
    return folder / "scored" / "_scoreline" / "report.html"


def take(chromium: str, page: Path, picture: Path, scheme: str) -> None:
    """Take a picture of the top of a page in a colour scheme."""
    number = {"dark": 0, "light": 1}[scheme]
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--blink-settings=preferredColorScheme={number}", f"--window-size={WIDTH},{HEIGHT}"]
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], check=True)
    Image.open(picture).quantize(COLOURS).save(picture, optimize=True)


def main() -> None:
    """Take both pictures."""
    chromium = sys.argv[1] if len(sys.argv) > 1 else "chromium"
    with tempfile.TemporaryDirectory() as folder:
        page = make_output(Path(folder))
        for scheme in ("light", "dark"):
            take(chromium, page, ROOT / "docs" / "assets" / f"report-{scheme}.png", scheme)


if __name__ == "__main__":
    main()

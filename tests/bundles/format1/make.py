"""Makes the bundles of format 1 beside it, each with rows to score and what they were scored as.

`python make.py` in an environment that has scoreline installed; the folders must not exist. They were made by the code
of commit 0dd12a4. After the first release they stay as they are: later code must read what was written then. Until
then a deliberate change of the format makes them again. Each folder holds
    bundle/             what `save_bundle` wrote
    input.parquet       twelve rows, of which row 5 cannot be scored
    expected.parquet    `Scorer.score_table` of them: the rows that were scored
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from scoreline import Binary, Ensemble, Multiclass, Regression, Scorer, Tagging, TokenSequence, save_bundle
from scoreline import Image as ImageSpec

HERE = Path(__file__).parent
RNG = np.random.default_rng(7)
FEATURES = ["a", "b", "c", "d"]
SAMPLE = pd.DataFrame(RNG.normal([0, 5, -3, 100], [1, 2, 0.5, 30], (40, 4)), columns=FEATURES)
ROWS = pd.DataFrame(RNG.normal([0, 5, -3, 100], [1, 2, 0.5, 30], (12, 4)), columns=FEATURES)
ROWS.loc[5, "c"] = np.nan
WORDS = ["<pad>", *(f"w{n}" for n in range(9))]


def mlp(outputs: int) -> nn.Sequential:
    """Linear, ReLU, BatchNorm1d with statistics as after some training, Linear."""
    norm = nn.BatchNorm1d(6)
    norm.running_mean, norm.running_var = torch.rand(6), torch.rand(6) + 0.5
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), norm, nn.Linear(6, outputs)).eval()


class Heads(nn.Module):
    """A trunk with a yes or no, an amount, and one of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 6)
        self.fraud, self.amount, self.kind = nn.Linear(6, 1), nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.trunk(x))
        return {"fraud": self.fraud(h), "amount": self.amount(h), "kind": self.kind(h)}


class Tagger(nn.Module):
    """A score for each of three tags at every step of a list of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.gru(self.embedding(x))
        return self.out(h)


class Cnn(nn.Module):
    """One convolution, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(2), nn.Linear(16, 3)

    def forward(self, photo: Tensor) -> Tensor:
        return self.out(self.pool(torch.relu(self.conv(photo))).flatten(1))


def picture() -> bytes:
    """A PNG of 10 × 12 pixels."""
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (12, 10, 3)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def keep(name: str, model: Any, sample: Any, rows: pa.Table, **described: Any) -> None:
    """Save a bundle, score the rows, and write all three."""
    folder = HERE / name
    folder.mkdir()
    save_bundle(folder / "bundle", model, sample=sample, **described)
    rows = rows.append_column("id", pa.array(range(rows.num_rows)))
    scored, rejects = Scorer.load(folder / "bundle", device="cpu").score_table(rows, with_rejects=True)
    assert rejects["id"].to_pylist() == [5]
    pq.write_table(rows, folder / "input.parquet")
    pq.write_table(scored, folder / "expected.parquet")


def main() -> None:
    torch.manual_seed(7)
    scaler = StandardScaler().fit(SAMPLE)
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    described: dict[str, Any] = {"features": FEATURES, "scaler": scaler}
    keep("multiclass", mlp(3), SAMPLE, table, **described, task=Multiclass(["red", "green", "blue"]))
    target = StandardScaler().fit(RNG.normal(50, 9, (40, 1)))
    members = Ensemble([mlp(1), mlp(1), mlp(1)], std=True)
    keep("ensemble", members, SAMPLE, table, **described, task=Regression(scaler=target))
    tasks = {
        "fraud": Binary(["no", "yes"], output="fraud", threshold=0.3),
        "amount": Regression(output="amount"),
        "kind": Multiclass([10, 20, 30], output="kind"),
    }
    keep("heads", Heads().eval(), SAMPLE, table, **described, task=tasks)
    lists = [[WORDS[at] for at in RNG.integers(0, len(WORDS), n)] for n in [*range(1, 9)] * 6]
    words = pa.table({"x": pa.array([*lists[:5], [], *lists[6:12]], pa.list_(pa.string()))})
    tokens = TokenSequence("x", longest=12, vocabulary=WORDS)
    keep("sequence", Tagger().eval(), pa.table({"x": lists}), words, inputs=tokens, task=Tagging(["O", "B", "I"]))
    photos = pa.array([picture() for _ in range(12)], pa.binary())
    shown = pa.table({"photo": pa.array([*photos.to_pylist()[:5], b"not an image", *photos.to_pylist()[6:]])})
    photo = ImageSpec("photo", size=(8, 8), mean=[0.5] * 3, std=[0.25] * 3)
    animals = Multiclass(["cat", "dog", "fox"])
    keep("image", Cnn().eval(), pa.table({"photo": photos}), shown, inputs=photo, task=animals)


if __name__ == "__main__":
    main()

"""Models of lists, rows for them, and the outputs of plain torch for each row alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import Scorer

Command = Callable[..., Result]

Rows = Sequence[Any]

WORDS = ["<pad>", "<unk>", *(f"wörd {n}" for n in range(30))]

TAGS = ["O", "B", "I", "X"]

TOKENS = ["<s>", "</s>", "a", "b", "c"]

CLOSE = 1e-5


def kept(mask: str, x: Tensor, given: Tensor) -> Tensor:
    """bool `[rows, steps]`, true where a step exists. `x`: one value per step."""
    if mask == "lengths":
        return torch.ones_like(x).cumsum(1) <= given.unsqueeze(1)
    return given if mask == "real" else ~given


class Net(nn.Module):
    """Attention over the steps without padding; a score per step, or their mean."""

    def __init__(self, mask: str, width: int, *, columns: int = 0, pooled: bool = False) -> None:
        super().__init__()
        self.mask, self.pooled = mask, pooled
        self.begin = nn.Linear(columns, 16) if columns else nn.Embedding(len(WORDS), 16)
        self.end = nn.Linear(16, width)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        h = self.begin(x)
        there = kept(self.mask, h[..., 0], given)
        meets = (h @ h.transpose(1, 2)).masked_fill(~there.unsqueeze(1), -torch.inf)
        h = h + torch.softmax(meets, dim=-1) @ h
        if self.pooled:
            share = there.unsqueeze(-1).float()
            h = (h * share).sum(1) / share.sum(1)
        return 3 * self.end(h)


class Both(nn.Module):
    """A bidirectional GRU, which does not support padding."""

    def __init__(self, width: int, *, columns: int = 0, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.begin = nn.Linear(columns, 16) if columns else nn.Embedding(len(WORDS), 16)
        self.turn = nn.GRU(16, 12, batch_first=True, bidirectional=True)
        self.end = nn.Linear(24, width)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.turn(self.begin(x))
        return 5 * self.end(h.mean(1) if self.pooled else h)


def net(mask: str | None, width: int, *, seed: int = 0, **details: Any) -> nn.Module:
    torch.manual_seed(seed)
    return (Both(width, **details) if mask is None else Net(mask, width, **details)).eval()


def with_mask(mask: str | None, x: Tensor) -> tuple[Tensor, ...]:
    """One row, `[1, steps]`, with the mask that marks all of its steps as real."""
    whole = torch.ones(x.shape[:2], dtype=torch.bool)
    return {None: (x,), "real": (x, whole), "padding": (x, ~whole), "lengths": (x, torch.tensor([x.shape[1]]))}[mask]


def tensor(kind: str, row: Any) -> Tensor:
    """A row as a tensor: from words, their indices, or parallel lists of floats."""
    if kind == "floats":
        return torch.tensor(list(zip(*row, strict=True)), dtype=torch.float32)[None]
    return torch.tensor([[WORDS.index(w) if w in WORDS else 1 for w in row] if kind == "words" else list(row)])


def alone(model: nn.Module, mask: str | None, kind: str, rows: Rows) -> list[np.ndarray]:
    """The outputs of the model, row by row."""
    with torch.no_grad():
        return [model(*with_mask(mask, tensor(kind, row)))[0].double().numpy() for row in rows]


def log_softmax(raw: np.ndarray) -> np.ndarray:
    raw = raw - raw.max(axis=-1, keepdims=True)
    return np.asarray(raw - np.log(np.exp(raw).sum(axis=-1, keepdims=True)))


def drawn(kind: str, lengths: Sequence[int], *, seed: int = 0, strange: bool = False) -> list[Any]:
    """Random rows of these lengths. `strange`: include words that are not in the vocabulary."""
    rng = np.random.default_rng(seed)
    if kind == "floats":
        return [rng.normal(size=(2, n)).tolist() for n in lengths]
    if kind == "ints":
        return [rng.integers(0, len(WORDS), n).tolist() for n in lengths]
    known = [*WORDS, "never seen", ""] if strange else WORDS
    return [[known[at] for at in rng.integers(0, len(known), n)] for n in lengths]


def table(kind: str, rows: Rows) -> pa.Table:
    """The rows as a table with a key."""
    ids = pa.array(np.arange(len(rows)) * 7)
    if kind == "floats":
        named = {f"x{at}": pa.array([row[at] for row in rows], pa.list_(pa.float64())) for at in (0, 1)}
        return pa.table({"id": ids, **named})
    return pa.table({"id": ids, "x": pa.array(rows, pa.list_(pa.string() if kind == "words" else pa.int64()))})


LENGTHS = [1, 2, 1, 9, 40, 3, 8, 10, 17, 9, 33, 1, 5, 23, 9, 39, 11, 2, 40, 13, 7, 31, 16, 25]


def saved(folder: Path, model: Any, kind: str, mask: str | None, *, longest: int = 40, **described: Any) -> Path:
    """Save a bundle of a model of lists."""
    settings: dict[str, Any] = {"longest": longest, **({} if mask is None else {"mask": mask})}
    if kind == "floats":
        described |= {"features": ["x0", "x1"], "inputs": {"x": ["x0", "x1"]}}
    else:
        described |= {"features": ["x"]}
    unknown = described.pop("unknown", None)
    if kind == "words":
        described |= {"vocabularies": {"x": WORDS}}
        settings["unknown"] = unknown
    sample = table(kind, drawn(kind, [*LENGTHS, *LENGTHS[::-1]], seed=9))
    save_described(folder, model, sequences={"x": settings}, sample=sample, **described)
    return folder


def load(folder: Path, rows: int | None = None) -> Scorer:
    return Scorer.load(folder, device="cpu", batch_rows=rows)


def check_tags(got: pa.Table, raw: list[np.ndarray], labels: Sequence[Any] = TAGS) -> None:
    """Check the label of every step and its log-probability, in the order of the rows."""
    assert got["id"].to_pylist() == [7 * at for at in range(len(raw))]
    for row, outputs in zip(got.to_pylist(), raw, strict=True):
        indices = outputs.argmax(axis=1)
        assert row["prediction"] == [labels[at] for at in indices]
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(outputs).max(axis=1), atol=CLOSE)


@dataclass(frozen=True)
class Kept:
    """A saved model with its scorers."""

    model: nn.Module
    mask: str | None
    scorers: dict[int | None, Scorer]


class Goes(nn.Module):
    """Predicts the next token after a prompt."""

    def __init__(self, vocabulary: int = 5) -> None:
        super().__init__()
        self.begin, self.end = nn.Embedding(vocabulary, 16), nn.Linear(16, vocabulary)
        self.turn = nn.GRU(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.turn(self.begin(x))
        return 5 * self.end(h)


def lists_of_tokens(number: int = 18, *, seed: int = 1) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 5, n).tolist() for n in rng.integers(1, 20, number)]


def score(scoreline: Command, bundle: Path, folder: Path, *words: object) -> Result:
    return scoreline("score", "--bundle", bundle, "--input", folder / "in", "--output", folder / "out", *words)


def write(given: pa.Table, folder: Path, name: str = "a.parquet", **settings: Any) -> None:
    (folder / "in").mkdir(exist_ok=True)
    pq.write_table(given, folder / "in" / name, **settings)


def read(folder: Path, name: str = "a.parquet") -> pa.Table:
    return pq.read_table(folder / "out" / name)


def rejected(folder: Path, name: str = "a.arrow") -> dict[int, tuple[str, str]]:
    with pa.ipc.open_file(folder / "out" / "_rejects" / name) as reader:
        rejects = reader.read_all()["reject"].to_pylist()
    return {one["row_number"]: (one["column"], one["reason"]) for one in rejects}


TEXT = pa.string()

TAGGING: dict[str, Any] = {"task": "tagging", "labels": TAGS}

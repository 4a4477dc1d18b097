"""Every task with every option: it works, or is refused in one line before the model is loaded."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import Result
from described import save_described

Command = Callable[..., Result]
ROWS = 24
DRAW = np.random.default_rng(0)
TABLE = pd.DataFrame(DRAW.normal(size=(ROWS // 2, 3)), columns=list("abc")).sample(ROWS, replace=True, random_state=0)
TABLE = TABLE.reset_index(drop=True)
WORDS = ["u", "v", "w"]
TEXTS = pd.DataFrame({"text": [WORDS[: 1 + n % 3] for n in range(ROWS)]})


def png(pixels: np.ndarray) -> bytes:
    """As a file has it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Net(nn.Module):
    """A layer to look into, and one behind it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


class Heads(Net):
    """Two of them."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        raw = super().forward(x)
        return {"one": raw[:, :2], "two": raw[:, 2:]}


class Pixels(nn.Module):
    """Over grey images of 4 × 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.first(images.flatten(1))


class Steps(nn.Module):
    """A score of each label for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Embedding(3, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.first(tokens))


class Texts(Steps):
    """Of the whole text."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens).mean(dim=1)


class Writes(nn.Module):
    """The next token, by what has been written."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Embedding(4, 4), nn.Linear(4, 4)

    def forward(self, tokens: Tensor, written: Tensor) -> Tensor:
        return self.last(self.first(written) + tokens.sum(dim=1).reshape(-1, 1, 1))


class Describes(Writes):
    """The same of a row of numbers."""

    def forward(self, x: Tensor, written: Tensor) -> Tensor:
        return self.last(self.first(written) + x.sum(dim=1).reshape(-1, 1, 1))


class Goes(nn.Module):
    """Goes on where the text ends."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Embedding(3, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.first(tokens))


SYMBOLS = ["<start>", "<end>", "x", "y"]
TOKENS = {"features": ["text"], "sequences": {"text": {"longest": 3}}, "vocabularies": {"text": WORDS}}
NUMBERS = {"features": list("abc")}
WRITTEN = {"task": "generation", "labels": SYMBOLS, "generate": {"start": "<start>", "end": "<end>", "steps": 3}}
SCANS = pd.DataFrame({"scan": [png(DRAW.integers(0, 255, (4, 4), dtype=np.uint8)) for _ in range(ROWS)]})
SCAN = {"features": ["scan"], "images": {"scan": {"size": (4, 4), "channels": 1}}}
TASKS: dict[str, tuple[Callable[[], Any], pd.DataFrame, dict[str, Any]]] = {
    "binary": (lambda: Net(1), TABLE, NUMBERS | {"task": "binary", "labels": ["n", "y"]}),
    "multiclass": (lambda: Net(3), TABLE, NUMBERS | {"task": "multiclass", "labels": WORDS}),
    "multilabel": (lambda: Net(3), TABLE, NUMBERS | {"task": "multilabel", "labels": WORDS}),
    "regression": (lambda: Net(1), TABLE, NUMBERS | {"task": "regression"}),
    "quantiles": (lambda: Net(3), TABLE, NUMBERS | {"task": "regression", "quantiles": [0.1, 0.5, 0.9]}),
    "spread": (lambda: Net(2), TABLE, NUMBERS | {"task": "regression", "spread": "log_variance"}),
    "heads": (lambda: Heads(3), TABLE, NUMBERS | {"heads": {
        "one": {"task": "multiclass", "labels": ["n", "y"], "output": "one"},
        "two": {"task": "regression", "output": "two"},
    }}),
    "ensemble": (lambda: [Net(3), Net(3)], TABLE, NUMBERS | {"task": "multiclass", "labels": WORDS}),
    "image": (Pixels, SCANS, SCAN | {"task": "binary", "labels": ["n", "y"]}),
    "sequence": (Texts, TEXTS, TOKENS | {"task": "multiclass", "labels": ["n", "y"]}),
    "tagging": (Steps, TEXTS, TOKENS | {"task": "tagging", "labels": ["n", "y"]}),
    "generation": (Writes, TEXTS, TOKENS | WRITTEN),
    "generation from numbers": (Describes, TABLE, NUMBERS | WRITTEN),
    "generation that goes on": (Goes, TEXTS, TOKENS | {
        "task": "generation", "labels": WORDS, "generate": {"end": "w", "steps": 2},
    }),
}  # fmt: skip
OPTIONS: dict[str, list[str]] = {
    "dedupe": ["--dedupe"],
    "hidden": ["--hidden", "first"],
    "integrated gradients": ["--explain", "integrated-gradients"],
    "shapley": ["--explain", "shapley"],
    "lime": ["--explain", "lime", "--explain-rows", "10%"],
    "occlusion of a target": ["--explain", "occlusion", "--explain-target", "y"],
    "bf16": ["--precision", "bf16"],
    "int8": ["--precision", "int8"],
    "deterministic": ["--deterministic"],
    "threshold": ["--threshold", "0.3"],
    "top-k": ["--top-k", "2"],
    "list": ["--probabilities", "list"],
    "none": ["--probabilities", "none"],
    "blocks of one": ["--batch-size", "1"],
    "all that look into it": ["--dedupe", "--hidden", "first", "--explain", "shapley", "--prefix", "p_"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a task: `b`, its bundle, `in.parquet`, its rows."""
    root, there = tmp_path_factory.mktemp("tasks"), {}

    def make(task: str) -> Path:
        if task not in there:
            torch.manual_seed(0)
            model, frame, described = TASKS[task]
            save_described(root / task / "b", model(), sample=frame, **described)
            frame.assign(label="y", key=range(ROWS)).to_parquet(root / task / "in.parquet", index=False)
            there[task] = root / task
        return there[task]

    return make


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("task", TASKS)
def test_it_works_or_is_refused_in_one_line(
    task: str, option: str, made: Callable[[str], Path], tmp_path: Path, scoreline: Command
) -> None:
    """Never a traceback, nor half a run."""
    folder = made(task)
    words = ["--bundle", folder / "b", "--input", folder / "in.parquet", *OPTIONS[option]]
    result = scoreline("score", *words, "--output", tmp_path / "o")
    assert result.code in ((0, 2, 78) if "--precision" in words else (0, 2)), result.message
    if result.code == 78:
        assert "the precision is the cause" in result.message
        return
    if result.code == 0:
        table = pq.read_table(tmp_path / "o" / "in.parquet")
        assert table["key"].to_pylist() == list(range(ROWS))
        return
    assert not [event for event in result.events if event["event"] == "bundle_loaded"]
    assert "\n" not in result.message
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["bench", "calibrate", "layers", "check"])
@pytest.mark.parametrize("task", TASKS)
def test_commands_work_or_refuse_in_one_line(
    task: str, command: str, made: Callable[[str], Path], tmp_path: Path, scoreline: Command
) -> None:
    """The same for those that are not for every task."""
    folder = made(task)
    given: dict[str, list[object]] = {
        "bench": ["--bundle", folder / "b", "--input", folder / "in.parquet", "--rounds", 1],
        "calibrate": ["--bundle", folder / "b", "--input", folder / "in.parquet", "--label", "label", tmp_path / "c"],
        "layers": [folder / "b"],
        "check": ["--bundle", folder / "b", "--input", folder / "in.parquet"],
    }
    result = scoreline(command, *given[command])
    assert result.code in (0, 2, 65), result.message
    assert "Traceback" not in result.err
    assert "fault of scoreline" not in result.err
    assert "\n" not in result.message.rstrip("\n")

"""Scoring on a GPU; on machines without one, on an emulated GPU (`fakecuda`)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import compose
from torch import Tensor, nn

import fakecuda
from conftest import Example, Result
from described import save_described
from scoreline import Binary, Multiclass, Scorer, save_bundle

pytestmark = pytest.mark.usefixtures("cuda")
REAL = torch.cuda.is_available()
ROWS = 150_000 if REAL else 30_000
Command = Callable[..., Result]
FEATURES = [f"f{n}" for n in range(30)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and twice `ROWS` rows for it in two files."""
    folder = tmp_path_factory.mktemp("wide")
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, 5))
    save_bundle(
        folder / "b", model, features=FEATURES, task=Multiclass(list("abcde")), sample=draw.normal(size=(64, 30))
    )
    (folder / "in").mkdir()
    for number in range(2):
        frame = pd.DataFrame(draw.normal(size=(ROWS, 30)), columns=FEATURES)
        frame.insert(0, "id", np.arange(ROWS) + number * ROWS)
        frame.to_parquet(folder / "in" / f"{number}.parquet", index=False)
    return folder / "b", folder / "in"


def read(folder: Path) -> pd.DataFrame:
    return pd.concat([pq.read_table(file).to_pandas() for file in sorted(folder.glob("*.parquet"))], ignore_index=True)


@pytest.mark.parametrize("batch", ["auto", "1000", "32k"])
def test_results_equal_those_of_the_cpu(
    wide: tuple[Path, Path], tmp_path: Path, scoreline: Command, batch: str
) -> None:
    """Labels, probabilities and order, with several blocks in flight; the stage times come from the device's own
    clock."""
    words = ["score", "--bundle", wide[0], "--input", wide[1], "--output"]
    gpu = scoreline(*words, tmp_path / "gpu", "--device", "cuda", "--batch-size", batch)
    assert gpu.code == 0, gpu.err
    assert scoreline(*words, tmp_path / "cpu", "--device", "cpu").code == 0
    got, wanted = read(tmp_path / "gpu"), read(tmp_path / "cpu")
    assert (got["id"] == wanted["id"]).all()
    columns = [f"probability_{label}" for label in "abcde"]
    np.testing.assert_allclose(got[columns], wanted[columns], atol=5e-6)
    top = np.sort(wanted[columns].to_numpy(), axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-5
    assert (got["prediction"] == wanted["prediction"])[clear].all()
    stages = json.loads((tmp_path / "gpu" / "_scoreline" / "run.json").read_text())["stages"]
    assert stages["transfer"]["busy_s"] > 0
    assert stages["forward"]["busy_s"] > 0


def test_two_runs_write_the_same_bytes(wide: tuple[Path, Path], tmp_path: Path, scoreline: Command) -> None:
    """Whichever lanes score the blocks."""
    for name in ("a", "b"):
        words = ["score", "--bundle", wide[0], "--input", wide[1], "--output", tmp_path / name]
        assert scoreline(*words, "--device", "cuda").code == 0
    assert read(tmp_path / "a").equals(read(tmp_path / "b"))


def test_pinned_buffers_are_filled_and_reused(wide: tuple[Path, Path]) -> None:
    """The reader fills memory that the GPU copies from, and which is used again."""
    scorer = Scorer.load(wide[0], device="cuda")
    batch = pq.read_table(wide[1] / "0.parquet").to_batches()[0]
    for _ in range(3):
        line = compose(scorer.loaded)
        loaded = line.load(Block(batch=batch))
        features = loaded.need_features()
        assert all(tensor.is_pinned() for tensor in features.inputs.values())
        raw = line.score(loaded).need_raw()
        assert all(head.device.type == "cpu" for head in raw.heads.values())
        assert set(raw.device_s) == {"transfer", "forward"}


def test_out_of_memory_is_survived(tmp_path: Path, scoreline: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 on a real device: a model that needs more memory than there is at the first block size."""

    repeats = 1 << 20 if REAL else 1 << 10
    monkeypatch.setattr(fakecuda.Limits, "bytes", 64 << 20)

    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) + 0 * x.repeat(1, repeats).sum(dim=1, keepdim=True)

    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    save_bundle(
        tmp_path / "b", Hungry(), features=list("abcd"), task=Binary(["n", "y"]), sample=draw.normal(size=(8, 4))
    )
    frame = pd.DataFrame(draw.normal(size=(40_000, 4)), columns=list("abcd"))
    frame.insert(0, "id", np.arange(40_000))
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "o"]
    result = scoreline(*words, "--device", "cuda", "--batch-size", "32k")
    assert result.code == 0, result.err
    assert result.event("out_of_memory")["rows_at_once"] < 32_768
    assert pq.read_table(tmp_path / "o" / "in.parquet")["id"].to_pylist() == list(range(40_000))


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16", "int8"])
def test_lower_precision(iris: Example, tmp_path: Path, scoreline: Command, precision: str) -> None:
    """The golden rows are reproduced within the resolution of the format."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o"]
    assert scoreline(*words, "--device", "cuda", "--precision", precision).code == 0


class _Bag(nn.Module):
    """The mean of the embeddings of words."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(-1).float()
        return self.out((self.table(tokens) * kept).cumsum(1))


def test_sequences_equal_those_of_the_cpu(tmp_path: Path, scoreline: Command) -> None:
    """Sent ragged, padded on the device, and put back in order."""
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 50, draw.integers(1, 60)).tolist() for _ in range(20_000)]
    frame = pd.DataFrame({"id": range(20_000), "text": texts})
    torch.manual_seed(0)
    save_described(
        tmp_path / "b", _Bag(), features=["text"], sample=frame, task="tagging", labels=list("abcd"),
        sequences={"text": {"longest": 60, "mask": "real"}},
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    frame.to_parquet(tmp_path / "in" / "a.parquet", index=False)
    for device in ("cuda", "cpu"):
        words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in", "--output", tmp_path / device]
        assert scoreline("score", *words, "--device", device, "--batch-size", "3000").code == 0
    got, wanted = read(tmp_path / "cuda"), read(tmp_path / "cpu")
    assert got["id"].tolist() == wanted["id"].tolist() == list(range(20_000))
    near = [np.allclose(a, b, atol=1e-5) for a, b in zip(got["probability"], wanted["probability"], strict=True)]
    assert all(near)


def test_explanations_equal_those_of_the_cpu(wide: tuple[Path, Path], tmp_path: Path, scoreline: Command) -> None:
    """Gradients on the device, for the same rows."""
    for device in ("cuda", "cpu"):
        words = ["--bundle", wide[0], "--input", wide[1], "--output", tmp_path / device, "--device", device]
        assert scoreline("score", *words, "--explain", "integrated-gradients", "--explain-rows", "1%").code == 0
    got, wanted = read(tmp_path / "cuda"), read(tmp_path / "cpu")
    names = [f"attribution_{name}" for name in FEATURES]
    assert (got[names].notna() == wanted[names].notna()).all().all()
    np.testing.assert_allclose(got[names], wanted[names], atol=1e-4)

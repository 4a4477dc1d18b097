"""Every feature on a GPU gives the values of the CPU, and, on the emulated GPU, nothing races (`fakecuda`)."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.evaluation.bench import bench
from scoreline.pipeline.options import ColumnOptions, RejectBudget, ScoreJob
from torch import Tensor, nn

from both_devices import BLOCK, FEATURES, ROWS, compare, explaining, rows, save, small_bundle
from described import save_described
from pictures import picture
from scoreline import Scorer

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Three classes of six numbers."""
    return small_bundle(tmp_path)


@pytest.mark.parametrize("dedupe", [False, True])
@pytest.mark.parametrize("hidden", [(), ("0",)])
def test_repeated_rows_and_hidden_layers(bundle: Path, dedupe: bool, hidden: tuple[str, ...]) -> None:
    """Together and alone."""
    compare(bundle, rows(repeated=True), dedupe=dedupe, columns={"hidden": hidden})


@pytest.mark.parametrize("method", ["integrated-gradients", "shapley", "occlusion", "lime"])
def test_explanations(bundle: Path, method: str) -> None:
    """Each method."""
    compare(bundle, rows(), columns=explaining(method, Fraction(1, 300) if method == "lime" else Fraction(1, 20)))


def test_several_members_and_heads(tmp_path: Path) -> None:
    """Two members with two heads each."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 3), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = torch.relu(self.a(x))
            return {"kind": self.b(h), "size": self.c(h).squeeze(1)}

    heads = {
        "kind": {"task": "multiclass", "labels": list("abc"), "output": "kind"},
        "size": {"task": "regression", "output": "size"},
    }
    sample = rows(40)[FEATURES]
    torch.manual_seed(0)
    save_described(tmp_path / "b", [Two().eval(), Two().eval()], features=FEATURES, sample=sample, heads=heads)
    compare(tmp_path / "b", rows())


def texts(number: int, seed: int = 1) -> pa.Table:
    draw = np.random.default_rng(seed)
    values = [draw.integers(0, 50, draw.integers(1, 80)).tolist() for _ in range(number)]
    return pa.table({"id": range(number), "text": values})


def test_images(tmp_path: Path) -> None:
    """Pictures of several sizes."""
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(convolutions, nn.Flatten(), nn.Linear(8, 3)).eval()
    table = pa.table({"id": range(60), "photo": [picture("png", 20 + n % 5, 20, n) for n in range(60)]})
    sample = table.select(["photo"]).slice(0, 12)
    save(tmp_path / "b", model, features=["photo"], sample=sample, images={"photo": {"size": (16, 16)}})
    compare(tmp_path / "b", table, batch_rows=20)


class _Mean(nn.Module):
    """The mean of the embeddings of words."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(50, 16), nn.Linear(16, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(-1).float()
        return self.out((self.table(tokens) * kept).sum(1) / kept.sum(1))


class _Writer(nn.Module):
    """Writes letters."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Embedding(50, 16), nn.Embedding(5, 16)
        self.turn, self.end = nn.GRU(16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor, there: Tensor, prefix: Tensor) -> Tensor:
        share = there.unsqueeze(-1).float()
        context = (self.encode(x) * share).sum(1) / share.sum(1)
        h, _ = self.turn(self.decode(prefix) + 4 * context.unsqueeze(1))
        return 7 * self.end(h)


SEQUENCES = {"text": {"longest": 80, "mask": "real"}}


def test_sequences(tmp_path: Path) -> None:
    """Classes of lists of different lengths."""
    torch.manual_seed(0)
    words = {"features": ["text"], "sample": texts(40, 2).select(["text"]).to_pandas(), "sequences": SEQUENCES}
    compare(save(tmp_path / "b", _Mean().eval(), **words), texts(ROWS))


@pytest.mark.parametrize("beams", [1, 3])
def test_generation(tmp_path: Path, beams: int) -> None:
    """Texts, greedily and with beams."""
    torch.manual_seed(0)
    words = {"features": ["text"], "sample": texts(40, 2).select(["text"]).to_pandas(), "sequences": SEQUENCES}
    head = {"start": "<s>", "end": "</s>", "steps": 8, "beams": beams}
    labels = ["<s>", "</s>", "p", "q", "r"]
    save(tmp_path / "b", _Writer().eval(), task="generation", labels=labels, generate=head, **words)
    compare(tmp_path / "b", texts(24))


def test_frames_and_bench(bundle: Path) -> None:
    """`score_frame`, and the measurements of `bench`."""
    got, wanted = (Scorer.load(bundle, device=device).score_frame(rows(700)) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(got["probability_a"], wanted["probability_a"], atol=1e-5)
    pq.write_table(pa.Table.from_pandas(rows(), preserve_index=False), bundle.parent / "in.parquet")
    job = ScoreJob(
        bundle=str(bundle), input=str(bundle.parent / "in.parquet"), output="", run_id="r", device="cuda",
        columns=ColumnOptions(), max_rejects=RejectBudget(count=None, share=Fraction(1)), batch_rows=BLOCK,
    )  # fmt: skip
    assert bench(job, rounds=1).forward_rows_per_s["inference_mode"] > 0

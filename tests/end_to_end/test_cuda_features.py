"""Every feature on a GPU gives the values of the CPU, and, on the emulated GPU, nothing races (`fakecuda`)."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from scoreline.pipeline.evaluation.bench import bench
from scoreline.pipeline.options import ColumnOptions, RejectBudget, ScoreJob
from scoreline.pipeline.records import Sent, Sequences
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import compose, execute
from torch import Tensor, nn

from both_devices import BLOCK, FEATURES, ROWS, compare, explaining, network, rows, save, small_bundle
from described import save_described
from fakecuda_clocks import waits
from pictures import picture
from scoreline import Scorer

REAL = torch.cuda.is_available()
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


@pytest.mark.parametrize(("members", "width"), [(1, 3), (1, 40), (2, 3)])
def test_few_outputs_are_transposed_on_the_device(tmp_path: Path, members: int, width: int) -> None:
    """Decoding goes column by column; those of many labels, or of several members, are decoded by row."""
    torch.manual_seed(0)
    models = [network(width) for _ in range(members)]
    save(tmp_path / "b", models if members > 1 else models[0], labels=[f"l{n}" for n in range(width)])
    scorer = Scorer.load(tmp_path / "b", device="cuda", batch_rows=100)
    line = compose(scorer.loaded)
    batch = pa.RecordBatch.from_pandas(rows(350)[FEATURES], preserve_index=False)
    raw = line.score(line.load(Block(batch=batch))).need_raw().heads["output"]
    assert isinstance(raw, Tensor)
    assert raw.T.is_contiguous() == (members == 1 and width == 3)
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


class _Tags(nn.Module):
    """Labels for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.out((self.table(tokens) * mask.unsqueeze(-1).float()).cumsum(1))


@pytest.mark.skipif(REAL, reason="the waits of a real GPU are not counted")
@pytest.mark.parametrize("task", ["multiclass", "tagging"])
@pytest.mark.parametrize("rows", [None, np.arange(3, 299, 2)])
def test_a_pass_of_sequences_waits_only_at_its_end(tmp_path: Path, task: str, rows: NDArray[np.int64] | None) -> None:
    """The lengths are known on the host, also of some rows: several passes of several widths."""
    torch.manual_seed(0)
    model = _Mean() if task == "multiclass" else _Tags()
    sample = texts(40, 2).select(["text"]).to_pandas()
    more = {} if task == "multiclass" else {"task": task, "labels": list("abcd")}
    save(tmp_path / "b", model.eval(), features=["text"], sample=sample, sequences=SEQUENCES, **more)
    scorer = Scorer.load(tmp_path / "b", device="cuda", batch_rows=10)
    line = compose(scorer.loaded)
    block = line.load(Block(batch=texts(300).to_batches()[0].select(["text"])))
    sent = execute(line.score_until("transfer"), block).need_sent()
    waits.clear()
    found = scorer.loaded.run(sent, rows)
    assert waits == {"event": 1}
    wanted = Scorer.load(tmp_path / "b", device="cpu").loaded.run(Sent(tensors=block.need_features().inputs), rows)
    for name, got in found.heads.items():
        both = (got, wanted.heads[name])
        pair = [(one.values, one.offsets) if isinstance(one, Sequences) else (one,) for one in both]
        for left, right in zip(*pair, strict=True):
            torch.testing.assert_close(left, right)


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

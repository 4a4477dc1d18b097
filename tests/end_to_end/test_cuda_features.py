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
from scoreline.pipeline.model import onednn
from scoreline.pipeline.options import ColumnOptions, RejectBudget, ScoreJob
from scoreline.pipeline.records import Sent, Sequences
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import compose, execute
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fakecuda
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


#: `test_cuda_failures.py` compares LIME as well.
@pytest.mark.parametrize(
    "method", ["integrated-gradients", "shapley", "occlusion", pytest.param("lime", marks=pytest.mark.long)]
)
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


@pytest.mark.parametrize("normalised", [False, True])
def test_pixels_are_normalised_on_the_device_to_the_same_bits(tmp_path: Path, normalised: bool) -> None:
    """Sent as bytes, from memory that the decoders have filled; also if some pictures are broken."""
    photos = [picture("png", 20 + n % 5, 20, n) for n in range(30)]
    photos[7] = photos[20] = b"broken"
    image = {"size": (16, 12), **({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]} if normalised else {})}
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    sample = pa.table({"photo": photos[:7]})
    save(tmp_path / "b", model, features=["photo"], sample=sample, images={"photo": image})
    batch = pa.record_batch({"photo": photos})
    pixels = {}
    for device in ("cuda", "cpu"):
        loaded = Scorer.load(tmp_path / "b", device=device).loaded
        line = compose(loaded)
        features = line.load(Block(batch=batch)).need_features()
        assert features.num_kept == 28
        assert all(given.is_pinned() for given in features.inputs.values()) == (device == "cuda")
        with loaded.device.using(loaded.device.send(features.inputs)) as sent:
            pixels[device] = torch.cat([one.arguments["photo"].cpu() for one in loaded.members.passes.cut(sent)])
    assert features.inputs["photo"].dtype == torch.float32
    assert torch.equal(pixels["cuda"], pixels["cpu"])


@pytest.mark.skipif(REAL, reason="the allocations of a real GPU are not counted")
@pytest.mark.parametrize("kind", ["table", "images", "sequences"])
@pytest.mark.parametrize("broken", [False, True])
def test_blocks_are_sent_from_where_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, broken: bool
) -> None:
    """Readers fill pinned memory, also without the rows that are rejected, so that sending copies nothing on the
    host."""
    if kind == "table":
        bundle, batch = small_bundle(tmp_path), pa.RecordBatch.from_pandas(rows(50)[FEATURES], preserve_index=False)
        if broken:
            batch = batch.set_column(0, "f0", pa.array([1e300, *range(49)], pa.float64()))
    elif kind == "images":
        photos = [picture("png", 20, 20, n) for n in range(30)]
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
        sample = pa.table({"photo": photos[:7]})
        bundle = save(tmp_path / "b", model, features=["photo"], sample=sample, images={"photo": {"size": (8, 8)}})
        batch = pa.record_batch({"photo": [b"", *photos] if broken else photos})
    else:
        sample = texts(40, 2).select(["text"]).to_pandas()
        bundle = save(tmp_path / "b", _Mean().eval(), features=["text"], sample=sample, sequences=SEQUENCES)
        batch = pa.record_batch({"text": [[1] * (81 if broken else 9), *texts(30)["text"].to_pylist()]})
    line = compose(Scorer.load(bundle, device="cuda").loaded)
    block = line.load(Block(batch=batch))
    assert (block.need_features().num_kept < batch.num_rows) == broken
    calls: list[str] = []
    monkeypatch.setattr(fakecuda.Limits, "fail", lambda name, _: calls.append(name))
    execute(line.score_until("transfer"), block)
    assert set(calls) == {"to_device"}


class _Views(nn.Module):
    """Cannot view pixels that are laid out channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.convolution(x).view(-1, 4 * 6 * 6))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("views", [False, True])
def test_images_in_half_precision_are_channels_last(tmp_path: Path, precision: str, views: bool) -> None:
    """Except for models that cannot view that layout, which the golden rows show."""
    table = pa.table({"id": range(30), "photo": [picture("png", 20, 20, n) for n in range(30)]})
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    model = _Views() if views else pooled
    sample = table.select(["photo"]).slice(0, 12)
    save(tmp_path / "b", model.eval(), features=["photo"], sample=sample, images={"photo": {"size": (8, 8)}})
    scorer = Scorer.load(tmp_path / "b", device="cuda", precision=precision)  # type: ignore[arg-type]
    assert scorer.members.passes.channels_last == (precision == "bf16" and not views)
    got = scorer.score_table(table)["probability_a"].to_numpy()
    wanted = Scorer.load(tmp_path / "b", device="cpu").score_table(table)["probability_a"].to_numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5 if precision == "fp32" else 0.02)


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


class _Packed(nn.Module):
    """The last state of an LSTM over packed rows, whose lengths are packed on the host, beside a mean over them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.turn = nn.Embedding(50, 16), nn.LSTM(16, 8, batch_first=True, bidirectional=True)
        self.out = nn.Linear(32, 3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.table(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        steps, (last, _) = self.turn(packed)
        padded, there = pad_packed_sequence(steps, batch_first=True)
        return self.out(torch.cat([last[-2], last[-1], padded.sum(1) / there.unsqueeze(1)], 1))


def test_packed_sequences(tmp_path: Path) -> None:
    """Rows of all lengths in any order."""
    torch.manual_seed(0)
    sample = texts(40, 2).select(["text"]).to_pandas()
    lists = {"text": {"longest": 80, "mask": "lengths"}}
    bundle = save(tmp_path / "b", _Packed().eval(), features=["text"], sample=sample, sequences=lists)
    compare(bundle, texts(300))


class _Tags(nn.Module):
    """Labels for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.out((self.table(tokens) * mask.unsqueeze(-1).float()).cumsum(1))


class _Encoder(nn.Module):
    """Three tokens of two numbers."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.widen = nn.Linear(2, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, activation=activation, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.widen(x.reshape(-1, 3, 2))).mean(1))


@pytest.mark.parametrize(("activation", "fast"), [("gelu", 0), ("relu", 1)])
def test_gelu_is_not_approximated(tmp_path: Path, activation: str, fast: int) -> None:
    """A GPU's fast path of an encoder layer takes the approximation by tanh, which is 10⁻⁴ off, so it is left; that of
    ReLU is exact, and so are both of a CPU, which leaves them where oneDNN multiplies. The emulation has no fast
    path."""
    torch.manual_seed(0)
    which = save(tmp_path / "b", _Encoder(activation).eval())
    scorers = [Scorer.load(which, device=device) for device in ("cuda", "cpu")]
    layers = [module for one in scorers for module in one.loaded.members.models[0].modules()]
    found = [layer.activation_relu_or_gelu for layer in layers if isinstance(layer, nn.TransformerEncoderLayer)]
    assert found == [fast, 0 if onednn.is_available() else fast or 2]
    got, wanted = (scorer.score_frame(rows(50))["probability_a"] for scorer in scorers)
    np.testing.assert_allclose(got, wanted, atol=2e-6)


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
    assert all(one.values.is_pinned() and one.offsets.is_pinned() for one in block.need_features().inputs.values())
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
    words = {"features": ["text"], "sample": texts(6, 2).select(["text"]).to_pandas(), "sequences": SEQUENCES}
    head = {"start": "<s>", "end": "</s>", "steps": 4, "beams": beams}
    labels = ["<s>", "</s>", "p", "q", "r"]
    save(tmp_path / "b", _Writer().eval(), task="generation", labels=labels, generate=head, **words)
    compare(tmp_path / "b", texts(16))


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

"""Lists end to end: tagging, classification and generation, against bare torch, each row alone and unpadded."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError, ColumnError, UsageError
from scoreline.pipeline.model.precision import reduced
from scoreline.pipeline.options import ColumnOptions
from torch import Tensor, nn

from conftest import Result
from scoreline import Scorer, save_bundle

Command = Callable[..., Result]
Rows = Sequence[Any]
WORDS = ["<pad>", "<unk>", *(f"wörd {n}" for n in range(30))]
TAGS = ["O", "B", "I", "X"]
TOKENS = ["<s>", "</s>", "a", "b", "c"]
CLOSE = 1e-5


pytestmark = pytest.mark.usefixtures("one_core")


def kept(mask: str, x: Tensor, given: Tensor) -> Tensor:
    """bool `[rows, steps]`, true where a step is. `x`: something of each step."""
    if mask == "lengths":
        return torch.ones_like(x).cumsum(1) <= given.unsqueeze(1)
    return given if mask == "real" else ~given


class Net(nn.Module):
    """Attention over the steps that are there; a score for each, or the mean of them."""

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
    """A GRU in both directions, which takes no padding."""

    def __init__(self, width: int, *, columns: int = 0, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.begin = nn.Linear(columns, 16) if columns else nn.Embedding(len(WORDS), 16)
        self.turn = nn.GRU(16, 12, batch_first=True, bidirectional=True)
        self.end = nn.Linear(24, width)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.turn(self.begin(x))
        return 5 * self.end(h.mean(1) if self.pooled else h)


class Deaf(nn.Module):
    """Takes a mask, and lets the padding in."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.end = nn.Embedding(len(WORDS), 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        return self.end(self.begin(x).mean(1) + 0.0 * given.sum())


def net(mask: str | None, width: int, *, seed: int = 0, **details: Any) -> nn.Module:
    torch.manual_seed(seed)
    return (Both(width, **details) if mask is None else Net(mask, width, **details)).eval()


def with_mask(mask: str | None, x: Tensor) -> tuple[Tensor, ...]:
    """One row alone, `[1, steps]`, and that all of its steps are there."""
    whole = torch.ones(x.shape[:2], dtype=torch.bool)
    return {None: (x,), "real": (x, whole), "padding": (x, ~whole), "lengths": (x, torch.tensor([x.shape[1]]))}[mask]


def tensor(kind: str, row: Any) -> Tensor:
    """A row as a user would make a tensor of it: words, their numbers, or lists of floats side by side."""
    if kind == "floats":
        return torch.tensor(list(zip(*row, strict=True)), dtype=torch.float32)[None]
    return torch.tensor([[WORDS.index(w) if w in WORDS else 1 for w in row] if kind == "words" else list(row)])


def alone(model: nn.Module, mask: str | None, kind: str, rows: Rows) -> list[np.ndarray]:
    """The model's own outputs, row by row."""
    with torch.no_grad():
        return [model(*with_mask(mask, tensor(kind, row)))[0].double().numpy() for row in rows]


def log_softmax(raw: np.ndarray) -> np.ndarray:
    raw = raw - raw.max(axis=-1, keepdims=True)
    return np.asarray(raw - np.log(np.exp(raw).sum(axis=-1, keepdims=True)))


def drawn(kind: str, lengths: Sequence[int], *, seed: int = 0, strange: bool = False) -> list[Any]:
    """Rows of these lengths. `strange`: some words that no vocabulary has."""
    rng = np.random.default_rng(seed)
    if kind == "floats":
        return [rng.normal(size=(2, n)).tolist() for n in lengths]
    if kind == "ints":
        return [rng.integers(0, len(WORDS), n).tolist() for n in lengths]
    known = [*WORDS, "never seen", ""] if strange else WORDS
    return [[known[at] for at in rng.integers(0, len(known), n)] for n in lengths]


def table(kind: str, rows: Rows) -> pa.Table:
    """The rows with a key."""
    ids = pa.array(np.arange(len(rows)) * 7)
    if kind == "floats":
        named = {f"x{at}": pa.array([row[at] for row in rows], pa.list_(pa.float64())) for at in (0, 1)}
        return pa.table({"id": ids, **named})
    return pa.table({"id": ids, "x": pa.array(rows, pa.list_(pa.string() if kind == "words" else pa.int64()))})


LENGTHS = [1, 2, 1, 9, 40, 3, 8, 10, 17, 9, 33, 1, 5, 23, 9, 39, 11, 2, 40, 13, 7, 31, 16, 25]


def saved(folder: Path, model: Any, kind: str, mask: str | None, *, longest: int = 40, **described: Any) -> Path:
    """A bundle of a model of lists."""
    said: dict[str, Any] = {"longest": longest, **({} if mask is None else {"mask": mask})}
    if kind == "floats":
        described |= {"features": ["x0", "x1"], "inputs": {"x": ["x0", "x1"]}}
    else:
        described |= {"features": ["x"]}
    unknown = described.pop("unknown", None)
    if kind == "words":
        described |= {"vocabularies": {"x": WORDS}}
        said["unknown"] = unknown
    sample = table(kind, drawn(kind, [*LENGTHS, *LENGTHS[::-1]], seed=9))
    save_bundle(folder, model, sequences={"x": said}, sample=sample, **described)
    return folder


def load(folder: Path, rows: int | None = None) -> Scorer:
    return Scorer.load(folder, device="cpu", batch_rows=rows)


def check_tags(got: pa.Table, raw: list[np.ndarray], labels: Sequence[Any] = TAGS) -> None:
    """Labels of every step, and the log-probability of each, in the rows' own order."""
    assert got["id"].to_pylist() == [7 * at for at in range(len(raw))]
    for row, outputs in zip(got.to_pylist(), raw, strict=True):
        places = outputs.argmax(axis=1)
        assert row["prediction"] == [labels[at] for at in places]
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(outputs).max(axis=1), atol=CLOSE)


MASKS = ["real", "padding", "lengths", None]


@pytest.mark.parametrize("kind", ["words", "ints", "floats"])
@pytest.mark.parametrize("mask", MASKS)
def test_tags_of_every_step(tmp_path: Path, mask: str | None, kind: str) -> None:
    """Whatever the mask and the lists hold, one row at a time or all together."""
    model = net(mask, 4, columns=2 if kind == "floats" else 0)
    saved(tmp_path / "b", model, kind, mask, task="tagging", labels=TAGS, unknown="<unk>")
    rows = drawn(kind, LENGTHS, seed=3, strange=True)
    raw = alone(model, mask, kind, rows)
    assert len({at for outputs in raw for at in outputs.argmax(axis=1)}) > 2
    for batch in (None, 1, 2, 7):
        check_tags(load(tmp_path / "b", batch).score_table(table(kind, rows)), raw)


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("mask", MASKS)
def test_one_prediction_for_a_list(tmp_path: Path, mask: str | None, task: str) -> None:
    """Classes, a yes or no, and a number."""
    width = {"multiclass": 3, "binary": 1, "regression": 1}[task]
    labels = {"multiclass": ["x", "y", "z"], "binary": ["no", "yes"], "regression": None}[task]
    model = net(mask, width, pooled=True)
    saved(tmp_path / "b", model, "words", mask, task=task, labels=labels)
    rows = drawn("words", LENGTHS, seed=4)
    raw = np.stack(alone(model, mask, "words", rows))
    for batch in (None, 1, 5):
        got = load(tmp_path / "b", batch).score_table(table("words", rows)).to_pandas()
        assert got["id"].tolist() == [7 * at for at in range(len(rows))]
        if task == "regression":
            np.testing.assert_allclose(got["prediction"], raw[:, 0], atol=CLOSE, rtol=CLOSE)
        elif task == "binary":
            assert got["prediction"].tolist() == [["no", "yes"][int(z > 0)] for z in raw[:, 0]]
            np.testing.assert_allclose(np.log(got["probability"]), -np.logaddexp(0, -raw[:, 0]), atol=CLOSE)
        else:
            assert got["prediction"].tolist() == ["xyz"[at] for at in raw.argmax(axis=1)]
            names = [f"probability_{label}" for label in "xyz"]
            np.testing.assert_allclose(np.log(got[names]), log_softmax(raw), atol=CLOSE)


@dataclass(frozen=True)
class Kept:
    """A saved model, to be asked many times."""

    model: nn.Module
    mask: str | None
    scorers: dict[int | None, Scorer]


@pytest.fixture(scope="module")
def taggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Kept]:
    """With a mask and without, at several batch sizes."""
    found = {}
    for mask in ("padding", None):
        model, folder = net(mask, 4, seed=5), tmp_path_factory.mktemp("tagger") / "b"
        saved(folder, model, "ints", mask, longest=70, task="tagging", labels=TAGS)
        found[mask] = Kept(model, mask, {rows: load(folder, rows) for rows in (None, 1, 2, 3, 5, 8, 13, 64)})
    return found


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_the_lengths_and_batches(taggers: dict[str | None, Kept], data: st.DataObject) -> None:
    """Blocks of any size, read in pieces of any size."""
    lengths = data.draw(st.lists(st.integers(1, 20) | st.integers(1, 70), max_size=14))
    one = taggers[data.draw(st.sampled_from(["padding", None]))]
    scorer = one.scorers[data.draw(st.sampled_from(list(one.scorers)))]
    rows = drawn("ints", lengths, seed=data.draw(st.integers(0, 1 << 30)))
    batches = table("ints", rows).to_batches(max_chunksize=data.draw(st.integers(1, 15)))
    scored = list(scorer.score_batches(batches or [pa.RecordBatch.from_pylist([], table("ints", []).schema)]))
    assert sum(part.rejects.num_rows for part in scored) == 0
    got = pa.Table.from_batches([part.rows for part in scored])
    assert got["id"].to_pylist() == [7 * at for at in range(len(rows))]
    for row, outputs in zip(got.to_pylist(), alone(one.model, one.mask, "ints", rows), strict=True):
        near = log_softmax(outputs)
        places = [TAGS.index(label) for label in row["prediction"]]
        assert len(places) == len(near)
        assert (near.max(axis=1) - near[np.arange(len(near)), places]).max() < 1e-6  # the label, or one as good
        np.testing.assert_allclose(np.log(row["probability"]), near.max(axis=1), atol=CLOSE)


@settings(max_examples=30)
@given(data=st.data())
def test_rejects_leave_the_others_as_they_are(taggers: dict[str | None, Kept], data: st.DataObject) -> None:
    """Bad rows anywhere, up to all of them."""
    bad = {
        "is null": None,
        "has no steps": [],
        "step 1 is null": [3, None],
        "holds what is no index of the model's embedding, which has 0 to 31": [31, 32],
        "has 71 steps, and the bundle takes 70 at most": [0] * 71,
    }
    good = st.lists(st.integers(0, 31), min_size=1, max_size=12)
    rows = data.draw(st.lists(good | st.sampled_from(list(bad.values())), max_size=12))
    one = taggers[data.draw(st.sampled_from(["padding", None]))]
    scorer = one.scorers[data.draw(st.sampled_from(list(one.scorers)))]
    fine = [at for at, row in enumerate(rows) if row not in bad.values()]
    got, rejects = scorer.score_table(table("ints", rows), with_rejects=True)
    assert got["id"].to_pylist() == [7 * at for at in fine]
    for row, outputs in zip(
        got.to_pylist(), alone(one.model, one.mask, "ints", [rows[at] for at in fine]), strict=True
    ):
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(outputs).max(axis=1), atol=CLOSE)
    said = {one["row_number"]: one["reason"] for one in rejects["reject"].to_pylist()}
    assert said == {at: why for at, row in enumerate(rows) for why, lists in bad.items() if row == lists}
    assert rejects["x"].to_pylist() == [rows[at] for at in said]


def test_an_ensemble_of_taggers(tmp_path: Path) -> None:
    """The mean of the members' probabilities, step by step."""
    models = [net("real", 4, seed=seed) for seed in (1, 2)]
    saved(tmp_path / "b", models, "ints", "real", task="tagging", labels=TAGS)
    rows = drawn("ints", LENGTHS, seed=6)
    got = list(
        load(tmp_path / "b").score_batches(
            table("ints", rows).to_batches(), options=ColumnOptions(probabilities="list")
        )
    )
    each = [alone(model, "real", "ints", rows) for model in models]
    for row, one, two in zip(got[0].rows.to_pylist(), *each, strict=True):
        mean = (np.exp(log_softmax(one)) + np.exp(log_softmax(two))) / 2
        np.testing.assert_allclose(row["probabilities"], mean, atol=1e-6)
        assert row["prediction"] == [TAGS[at] for at in mean.argmax(axis=1)]


@pytest.mark.parametrize("labels", [[3, 1, 2, 9], [0.5, 1.5, -1.0, 2.0], ["", "é", "a b", "\n"]])
def test_tags_of_any_type(tmp_path: Path, labels: list[Any]) -> None:
    """Numbers stay numbers, odd words stay as they are."""
    model = net(None, 4)
    saved(tmp_path / "b", model, "ints", None, task="tagging", labels=labels)
    rows = drawn("ints", LENGTHS)
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, None, "ints", rows), labels)


def test_tags_that_are_true_or_false(tmp_path: Path) -> None:
    """Booleans of each step."""
    model = net("lengths", 2)
    saved(tmp_path / "b", model, "ints", "lengths", task="tagging", labels=[False, True])
    rows = drawn("ints", LENGTHS)
    got = load(tmp_path / "b").score_table(table("ints", rows))
    check_tags(got, alone(model, "lengths", "ints", rows), [False, True])
    assert got.schema.field("prediction").type == pa.list_(pa.bool_())


def test_lengths_far_apart(tmp_path: Path) -> None:
    """One step beside thousands."""
    model = net(None, 4)
    saved(tmp_path / "b", model, "ints", None, longest=5000, task="tagging", labels=TAGS)
    rows = drawn("ints", [1, 5000, 1, 2, 4999, 1, 17, 900])
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, None, "ints", rows))


class Slots(nn.Module):
    """An intent for the row and a slot for each step, of a list, another of another length, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.other, self.row = Both(16), nn.Embedding(len(WORDS), 16), nn.Linear(2, 16)
        self.intent, self.slot = nn.Linear(16, 3), nn.Linear(16, 4)

    def join(self, numbers: Tensor, x: Tensor, y: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        share = there.unsqueeze(-1).float()
        whole = self.row(numbers) + (self.other(y) * share).sum(1) / share.sum(1)
        h = self.tags(x) + whole.unsqueeze(1)
        return self.intent(h.mean(1)), self.slot(h)

    def forward(self, numbers: Tensor, x: Tensor, y: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        return self.join(numbers, x, y, there)


class AsDict(Slots):
    """The same, of one dict."""

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.join(given["features"], given["x"], given["y"], given["y_mask"])


def slots_table(rows: int = 60) -> pa.Table:
    rng = np.random.default_rng(0)
    lists = {name: drawn("ints", rng.integers(1, 30, rows).tolist(), seed=at) for at, name in enumerate("xy")}
    numbers = {name: rng.normal(size=rows).astype(np.float32).astype(float) for name in "ab"}
    return pa.table({"id": np.arange(rows) * 7, "a": numbers["a"], **lists, "b": numbers["b"]})


@pytest.mark.parametrize("call", ["arguments", "dict"])
def test_a_table_and_two_lists_of_other_lengths(tmp_path: Path, call: Any) -> None:
    """Two heads, of the row and of the steps of the first list."""
    torch.manual_seed(0)
    model, given = (Slots() if call == "arguments" else AsDict()).eval(), slots_table()
    heads = {
        "intent": {"task": "multiclass", "labels": ["p", "q", "r"], "output": 0},
        "slot": {"task": "tagging", "labels": TAGS, "output": 1},
    }
    sequences = {"x": {"longest": 40}, "y": {"longest": 40, "mask": "real"}}
    save_bundle(
        tmp_path / "b", model, features=["a", "x", "y", "b"], sample=given, heads=heads, sequences=sequences, call=call
    )
    got = load(tmp_path / "b", 17).score_table(given).to_pylist()
    for row, had in zip(got, given.to_pylist(), strict=True):
        x, y = torch.tensor([had["x"]]), torch.tensor([had["y"]])
        parts = torch.tensor([[had["a"], had["b"]]], dtype=torch.float32), x, y, torch.ones_like(y, dtype=torch.bool)
        with torch.no_grad():
            intent, slot = (out[0].double().numpy() for out in model.join(*parts))
        assert row["id"] == had["id"]
        assert row["intent_prediction"] == "pqr"[intent.argmax()]
        assert row["slot_prediction"] == [TAGS[at] for at in slot.argmax(axis=1)]
        np.testing.assert_allclose(np.log(row["slot_probability"]), log_softmax(slot).max(axis=1), atol=CLOSE)


class Transformer(nn.Module):
    """A layer of torch's own, with its key padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.end = nn.Embedding(len(WORDS), 16), nn.Linear(16, 4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return 2 * self.end(self.layer(self.begin(x), src_key_padding_mask=hidden))


def test_a_transformer_layer(tmp_path: Path) -> None:
    """Its fast path and its padding."""
    torch.manual_seed(0)
    model = Transformer().eval()
    saved(tmp_path / "b", model, "ints", "padding", task="tagging", labels=TAGS)
    rows = drawn("ints", LENGTHS, seed=8)
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, "padding", "ints", rows))


def test_an_onnx_file(tmp_path: Path) -> None:
    """Rows and steps of any number."""
    pytest.importorskip("onnxscript")
    model = net("real", 4)
    shown = torch.randint(0, 32, (3, 10)), torch.ones(3, 10, dtype=torch.bool)
    free = {0: "rows", 1: "steps"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the two exporters the old one takes a tenth of the time
        torch.onnx.export(
            model, shown, str(tmp_path / "m.onnx"), input_names=["x", "m"], output_names=["y"], dynamo=False,
            dynamic_axes={"x": free, "m": free, "y": free},
        )  # fmt: skip
    saved(tmp_path / "b", str(tmp_path / "m.onnx"), "ints", "real", task="tagging", labels=TAGS)
    rows = drawn("ints", LENGTHS, seed=8)
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, "real", "ints", rows))


class Writer(nn.Module):
    """An encoder's mean beside what has been written so far."""

    def __init__(self, vocabulary: int = 5) -> None:
        super().__init__()
        self.encode, self.decode = nn.Embedding(len(WORDS), 16), nn.Embedding(vocabulary, 16)
        self.turn, self.end = nn.GRU(16, 16, batch_first=True), nn.Linear(16, vocabulary)

    def forward(self, x: Tensor, there: Tensor, prefix: Tensor) -> Tensor:
        share = there.unsqueeze(-1).float()
        context = (self.encode(x) * share).sum(1) / share.sum(1)
        h, _ = self.turn(self.decode(prefix) + 4 * context.unsqueeze(1))
        return 7 * self.end(h)


class LastOnly(Writer):
    """The same, scores of the next token alone."""

    def forward(self, x: Tensor, there: Tensor, prefix: Tensor) -> Tensor:
        return super().forward(x, there, prefix)[:, -1]


class Goes(nn.Module):
    """Goes on where a prompt ends."""

    def __init__(self, vocabulary: int = 5) -> None:
        super().__init__()
        self.begin, self.end = nn.Embedding(vocabulary, 16), nn.Linear(16, vocabulary)
        self.turn = nn.GRU(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.turn(self.begin(x))
        return 5 * self.end(h)


class GoesMasked(Goes):
    """The same from a mask, by the mean of what is there up to each step."""

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        h = self.begin(x).masked_fill(hidden.unsqueeze(-1), 0.0)
        count = (~hidden).float().cumsum(1).unsqueeze(-1)
        return 8 * self.end(h.cumsum(1) / count + h)


Next = Callable[[list[int]], list[float]]


def nexts(model: nn.Module, row: list[int], *, start: int | None, mask: str | None) -> Next:
    """Log-probabilities of what comes after some tokens, by the model alone with one row."""

    def step(tokens: list[int]) -> list[float]:
        with torch.no_grad():
            if start is None:
                raw = model(*with_mask(mask, torch.tensor([row + tokens])))
            else:
                raw = model(*with_mask(mask, torch.tensor([row])), torch.tensor([[start, *tokens]]))
        raw = raw[0] if raw.ndim == 2 else raw[0, -1]
        return log_softmax(raw.double().numpy()).tolist()

    return step


def likeliest(step: Next, *, end: int, steps: int, length_penalty: float) -> tuple[float, float, list[int]]:
    """Of every text there is the best: its score, its log-probability and its tokens."""

    def texts(tokens: list[int], total: float) -> Iterator[tuple[float, float, list[int]]]:
        for token, log in enumerate(step(tokens)):
            text = [*tokens, token]
            if token == end or len(text) == steps:
                yield (total + log) / len(text) ** length_penalty, total + log, text
            else:
                yield from texts(text, total + log)

    return max(texts([], 0.0))


def greedy(step: Next, *, end: int, steps: int) -> tuple[float, float, list[int]]:
    """An argmax loop."""
    tokens: list[int] = []
    total = 0.0
    while len(tokens) < steps and tokens[-1:] != [end]:
        logs = step(tokens)
        tokens.append(int(np.argmax(logs)))
        total += logs[tokens[-1]]
    return total, total, tokens


def check_texts(got: pa.Table, wanted: list[tuple[float, float, list[int]]], labels: Sequence[Any], end: int) -> None:
    """Words, both numbers, and whether the end was reached, which is no word."""
    assert got["id"].to_pylist() == [7 * at for at in range(len(wanted))]
    for row, (score, total, tokens) in zip(got.to_pylist(), wanted, strict=True):
        assert row["prediction"] == [labels[token] for token in tokens if token != end]
        assert row["ended"] == (tokens[-1] == end)
        assert labels[end] not in row["prediction"]
        assert row["log_probability"] == pytest.approx(total, abs=CLOSE)
        assert row["score"] == pytest.approx(score, abs=CLOSE)


def lists_of_tokens(number: int = 18, *, seed: int = 1) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 5, n).tolist() for n in rng.integers(1, 20, number)]


SAID = [(4, 125, 0.0), (3, 64, 0.6), (3, 1024, 1.0), (4, 125, 2.0), (1, 7, 1.0)]


@pytest.mark.parametrize("made", [Writer, LastOnly])
@pytest.mark.parametrize(("steps", "beams", "penalty"), SAID)
def test_wide_beams_find_the_likeliest_text(tmp_path: Path, made: Any, steps: int, beams: int, penalty: float) -> None:
    """Of all texts there are, by plain Python."""
    torch.manual_seed(1)
    model, rows = made().eval(), drawn("ints", LENGTHS[:12], seed=2)
    generate = {"start": "<s>", "end": "</s>", "steps": steps, "beams": beams, "length_penalty": penalty}
    saved(tmp_path / "b", model, "ints", "real", task="generation", labels=TOKENS, generate=generate)
    wanted = [
        likeliest(nexts(model, row, start=0, mask="real"), end=1, steps=steps, length_penalty=penalty) for row in rows
    ]
    assert len({tuple(text[2]) for text in wanted}) > 1
    check_texts(load(tmp_path / "b", 5).score_table(table("ints", rows)), wanted, TOKENS, 1)
    check_texts(load(tmp_path / "b").score_table(table("ints", rows)), wanted, TOKENS, 1)


@pytest.mark.parametrize(("made", "mask"), [(Goes, None), (GoesMasked, "padding")])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(("steps", "beams", "penalty"), [(4, 125, 0.7), (3, 64, 0.0)])
def test_prompts_of_any_length_go_on(
    tmp_path: Path, made: Any, mask: str | None, words: bool, steps: int, beams: int, penalty: float
) -> None:
    """Where each of them ends, padded or not, prompts of words or of their numbers."""
    torch.manual_seed(2)
    model, rows = made().eval(), lists_of_tokens()
    given = pa.table(
        {
            "id": np.arange(len(rows)) * 7,
            "x": pa.array([[TOKENS[token] for token in row] for row in rows] if words else rows),
        }
    )
    save_bundle(
        tmp_path / "b",
        model,
        features=["x"],
        sample=given,
        task="generation",
        labels=TOKENS,
        sequences={"x": {"longest": 20, "mask": mask}},
        vocabularies={"x": TOKENS} if words else None,
        generate={"end": "</s>", "steps": steps, "beams": beams, "length_penalty": penalty},
    )
    wanted = [
        likeliest(nexts(model, row, start=None, mask=mask), end=1, steps=steps, length_penalty=penalty) for row in rows
    ]
    check_texts(load(tmp_path / "b").score_table(given), wanted, TOKENS, 1)


@pytest.mark.parametrize("start", [0, None])
def test_greedy_is_an_argmax_loop(tmp_path: Path, start: int | None) -> None:
    """Many words, of which the first and the last are numbers that end and begin a text."""
    torch.manual_seed(3)
    model = (Writer(17) if start is not None else Goes(17)).eval()
    labels, mask = [n * 10 for n in range(17)], "real" if start is not None else None
    rows = [[token % 17 for token in row] for row in drawn("ints", LENGTHS, seed=5)]
    given = table("ints", rows)
    generate = {"end": 160, "steps": 9, **({} if start is None else {"start": 0})}
    save_bundle(
        tmp_path / "b", model, features=["x"], sample=given, task="generation", labels=labels, generate=generate,
        sequences={"x": {"longest": 40, "mask": mask}},
    )  # fmt: skip
    wanted = [greedy(nexts(model, row, start=start, mask=mask), end=16, steps=9) for row in rows]
    check_texts(load(tmp_path / "b").score_table(given), wanted, labels, 16)
    check_texts(load(tmp_path / "b", 1).score_table(given), wanted, labels, 16)


class FromTable(nn.Module):
    """Words for the numbers of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(2, 16), nn.Embedding(5, 16)
        self.turn, self.end = nn.GRU(16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor, prefix: Tensor) -> Tensor:
        h, _ = self.turn(self.decode(prefix) + self.encode(x).unsqueeze(1))
        return 4 * self.end(h)[:, -1]


def test_words_for_the_numbers_of_a_row(tmp_path: Path) -> None:
    """An encoder of a table; so it would be with images."""
    torch.manual_seed(4)
    model = FromTable().eval()
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32), columns=["a", "b"])
    generate = {"start": "<s>", "end": "</s>", "steps": 5}
    save_bundle(
        tmp_path / "b", model, features=["a", "b"], sample=frame, task="generation", labels=TOKENS, generate=generate
    )
    got = load(tmp_path / "b").score_frame(frame)
    for row, numbers in zip(got.to_dict("records"), frame.to_numpy(), strict=True):

        def step(tokens: list[int], numbers: np.ndarray = numbers) -> list[float]:
            with torch.no_grad():
                raw = model(torch.from_numpy(numbers.copy())[None], torch.tensor([[0, *tokens]]))
            return log_softmax(raw[0].double().numpy()).tolist()

        _, total, tokens = greedy(step, end=1, steps=5)
        assert list(row["prediction"]) == [TOKENS[token] for token in tokens if token != 1]
        assert row["log_probability"] == pytest.approx(total, abs=CLOSE)


@pytest.fixture(scope="module")
def words_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A tagger of words that takes no unknown ones."""
    model = net("real", 4, seed=7)
    return saved(tmp_path_factory.mktemp("words") / "b", model, "words", "real", task="tagging", labels=TAGS), model


@pytest.fixture(scope="module")
def floats_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of two lists side by side."""
    model = net("lengths", 4, columns=2)
    return saved(tmp_path_factory.mktemp("floats") / "b", model, "floats", "lengths", task="tagging", labels=TAGS)


def score(scoreline: Command, bundle: Path, folder: Path, *words: object) -> Result:
    return scoreline("score", "--bundle", bundle, "--input", folder / "in", "--output", folder / "out", *words)


def write(given: pa.Table, folder: Path, name: str = "a.parquet", **said: Any) -> None:
    (folder / "in").mkdir(exist_ok=True)
    pq.write_table(given, folder / "in" / name, **said)


def read(folder: Path, name: str = "a.parquet") -> pa.Table:
    return pq.read_table(folder / "out" / name)


def rejected(folder: Path, name: str = "a.arrow") -> dict[int, tuple[str, str]]:
    with pa.ipc.open_file(folder / "out" / "_rejects" / name) as reader:
        rejects = reader.read_all()["reject"].to_pylist()
    return {one["row_number"]: (one["column"], one["reason"]) for one in rejects}


TEXT = pa.string()
KINDS = {
    "list": pa.list_(TEXT),
    "large_list": pa.large_list(pa.large_string()),
    "fixed": pa.list_(TEXT, 9),
    "dictionary": pa.list_(pa.dictionary(pa.int32(), TEXT)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_that_parquet_has_lists(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], kind: str
) -> None:
    """In many row groups, with nulls between."""
    bundle, model = words_bundle
    rows = drawn("words", [9] * 24 if kind == "fixed" else LENGTHS, seed=2)
    holes: list[Any] = list(rows)
    holes[5] = holes[17] = None
    given = pa.table({"id": np.arange(24) * 7, "x": pa.array(holes, KINDS[kind])})
    write(given, tmp_path, row_group_size=24 if kind == "dictionary" else 5)  # Arrow reads no such list across groups
    done = score(scoreline, bundle, tmp_path, "--max-rejects", 2)
    assert done.code == 0, done.err
    assert scoreline("verify", tmp_path / "out").code == 0
    assert rejected(tmp_path) == {5: ("x", "is null"), 17: ("x", "is null")}
    raw = {7 * at: outputs for at, outputs in enumerate(alone(model, "real", "words", rows)) if at not in (5, 17)}
    got = read(tmp_path)
    assert got.schema.names == ["id", "prediction", "probability"]
    assert got["id"].to_pylist() == list(raw)
    for row in got.to_pylist():
        assert row["prediction"] == [TAGS[at] for at in raw[row["id"]].argmax(axis=1)]
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(raw[row["id"]]).max(axis=1), atol=CLOSE)


def test_why_words_are_rejected(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """Every reason, and the rows beside them."""
    word = WORDS[2]
    rows = [
        [word], None, [], [word, None], [word, "never seen"], [word] * 41, [word] * 40, [""], ["<PAD>"], ["<pad>"],
    ]  # fmt: skip
    write(table("words", rows), tmp_path)
    assert score(scoreline, words_bundle[0], tmp_path, "--max-rejects", 6).code == 65
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", 7)
    assert done.code == 0, done.err
    found = rejected(tmp_path)
    strange = "has a step that is a category that was not there in training"
    assert found == {
        1: ("x", "is null"),
        2: ("x", "has no steps"),
        3: ("x", "step 1 is null"),
        4: ("x", strange),
        5: ("x", "has 41 steps, and the bundle takes 40 at most"),
        7: ("x", strange),
        8: ("x", strange),
    }
    assert read(tmp_path)["id"].to_pylist() == [0, 42, 63]
    assert scoreline("verify", tmp_path / "out").code == 0


def test_why_numbers_are_rejected(scoreline: Command, tmp_path: Path, floats_bundle: Path) -> None:
    """Of two lists side by side."""
    rows = [
        ([1.0, 2.0], [3.0, 4.0]), ([1.0, 2.0], [3.0]), ([1.0, float("nan")], [3.0, 4.0]), ([1.0], [float("inf")]),
        ([float("-inf")], [1.0]), (None, [1.0]), ([], []), ([1.0], []), ([1e300], [1.0]), ([1.0], [None]),
        ([0.5] * 41, [0.5] * 41), ([1.0], [2.0]),
    ]  # fmt: skip
    write(table("floats", rows), tmp_path)
    done = score(scoreline, floats_bundle, tmp_path, "--max-rejects", "90%")
    assert done.code == 0, done.err
    assert rejected(tmp_path) == {
        1: ("x1", "has another number of steps than 'x0'"),
        2: ("x0", "step 1 is NaN"),
        3: ("x1", "step 0 is infinite"),
        4: ("x0", "step 0 is minus infinite"),
        5: ("x0", "is null"),
        6: ("x0", "has no steps"),
        7: ("x1", "has no steps"),
        8: ("x0", "is not finite as float32 after preparation"),
        9: ("x1", "step 0 is null"),
        10: ("x0", "has 41 steps, and the bundle takes 40 at most"),
    }
    assert read(tmp_path)["id"].to_pylist() == [0, 77]


def test_the_list_that_does_not_fit_is_named(floats_bundle: Path) -> None:
    """The second of two."""
    _, rejects = load(floats_bundle).score_table(table("floats", [([1.0], [1e300])]), with_rejects=True)
    assert rejects["reject"][0].as_py()["column"] == "x1"


def test_why_tokens_are_rejected(taggers: dict[str | None, Kept]) -> None:
    """Fractions, and what no embedding has."""
    rows = [[31.0], [1.5], [32.0], [-1.0], [-0.5], [1e300], [2.0**63], [float("nan")], [0.0, 1.0]]
    given = pa.table({"id": np.arange(len(rows)), "x": pa.array(rows, pa.list_(pa.float64()))})
    got, rejects = taggers[None].scorers[None].score_table(given, with_rejects=True)
    assert got["id"].to_pylist() == [0, 8]
    fraction = "holds what is no whole number, and the model takes tokens"
    beyond = "holds what is no index of the model's embedding, which has 0 to 31"
    said = {one["row_number"]: one["reason"] for one in rejects["reject"].to_pylist()}
    assert said == {1: fraction, 2: beyond, 3: beyond, 4: fraction, 5: said[5], 6: said[6], 7: "step 0 is NaN"}
    assert {said[5], said[6]} <= {fraction, beyond}


def test_rejects_among_views_of_text(words_bundle: tuple[Path, nn.Module]) -> None:
    """Lists of string views, as polars hands them out."""
    given = pa.table({"id": [1, 2], "x": pa.array([[WORDS[3]], None], pa.list_(pa.string_view()))})
    got, rejects = load(words_bundle[0]).score_table(given, with_rejects=True)
    assert got["id"].to_pylist() == [1]
    assert rejects["id"].to_pylist() == [2]


@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.float16(), pa.bool_(), pa.decimal128(6, 2)])
@pytest.mark.parametrize("shape", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2), pa.list_view])
def test_lists_in_memory(taggers: dict[str | None, Kept], kind: pa.DataType, shape: Any) -> None:
    """No rows, nulls alone, and slices, of every type of list and number."""
    scorer, whole = taggers[None].scorers[None], shape(kind)
    assert scorer.score_table(pa.table({"x": pa.array([], whole)})).num_rows == 0
    got, rejects = scorer.score_table(pa.table({"x": pa.nulls(3, whole)}), with_rejects=True)
    assert (got.num_rows, rejects.num_rows) == (0, 3)
    rows = [[0, 1], [1, 0], None, [1, 1], [0, None]]
    cells = [None if row is None else [None if value is None else _as(kind, value) for value in row] for row in rows]
    got, rejects = scorer.score_table(pa.table({"x": pa.array(cells, whole).slice(1)}), with_rejects=True)
    assert [one["reason"] for one in rejects["reject"].to_pylist()] == ["is null", "step 1 is null"]
    plain = scorer.score_table(pa.table({"x": [[1, 0], [1, 1]]}))
    assert got["prediction"].to_pylist() == plain["prediction"].to_pylist()


def _as(kind: pa.DataType, value: int) -> Any:
    return bool(value) if pa.types.is_boolean(kind) else np.float16(value) if kind == pa.float16() else value


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["wörd 1"]), "string, and the bundle takes lists of words"),
        (pa.array([3]), "int64, and the bundle takes lists of words"),
        (pa.array([[3]]), "int64>, and the bundle takes lists of words"),
        (pa.array([[["wörd 1"]]]), "string>>, and the bundle takes lists of words"),
        (pa.array([[{"a": "wörd 1"}]]), "struct<a: string>>, and the bundle takes lists of words"),
        (pa.array([{"a": ["wörd 1"]}]), "struct<a: list"),
        (pa.array([[b"x"]]), "binary>, and the bundle takes lists of words"),
    ],
)
def test_other_columns_are_refused(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], column: pa.Array, said: str
) -> None:
    """In one line that names the column, before the first row."""
    write(pa.table({"id": [1], "x": column}), tmp_path)
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", "100%")
    assert done.code == 65
    assert "feature column 'x' is" in done.message
    assert said in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_words_are_no_numbers(scoreline: Command, tmp_path: Path, floats_bundle: Path) -> None:
    """The other way round."""
    write(pa.table({"id": [1], "x0": [["1.0"]], "x1": [["1.0"]]}), tmp_path)
    done = score(scoreline, floats_bundle, tmp_path)
    assert done.code == 65
    assert "the bundle takes lists of numbers" in done.message


def test_a_csv_holds_no_lists(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """Nor does a folder's name."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,x\n1,['w']\n")
    done = score(scoreline, words_bundle[0], tmp_path)
    assert done.code == 65
    assert "'x' is to hold lists of words, and a CSV or a path holds none; write Parquet" in done.message
    (tmp_path / "in" / "a.csv").unlink()
    (tmp_path / "in" / "x=w").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "in" / "x=w" / "a.parquet")
    done = score(scoreline, words_bundle[0], tmp_path)
    assert done.code == 65
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dedupe"], "--dedupe is for tables, and 'x' is of sequences"),
        (["--explain", "occlusion"], "--explain is for features of a table, and input 'x' is of sequences"),
        (["--top-k", "2"], "--top-k is for multiclass, and the bundle's task is tagging"),
        (["--threshold", "0.4"], "--threshold is for binary and multilabel, and the bundle's task is tagging"),
        (["--hidden", "end"], "a sequence's are as long as it is"),
    ],
)
def test_what_does_not_go_with_lists(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], words: list[str], said: str
) -> None:
    """One line, exit 2, and no output."""
    write(table("words", drawn("words", LENGTHS)), tmp_path)
    done = score(scoreline, words_bundle[0], tmp_path, *words)
    assert done.code == 2
    assert said in done.message
    assert len([event for event in done.events if event["event"] == "command_failed"]) <= 1
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_how_tags_are_laid_out(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """All probabilities, none, a prefix; labels stay whatever the batch is."""
    bundle, model = words_bundle
    rows = drawn("words", LENGTHS, seed=12)
    write(table("words", rows), tmp_path)
    raw = alone(model, "real", "words", rows)
    labels = [[TAGS[at] for at in outputs.argmax(axis=1)] for outputs in raw]
    assert score(scoreline, bundle, tmp_path, "--probabilities", "list", "--prefix", "p_").code == 0
    got = read(tmp_path)
    assert got.schema.names == ["id", "p_prediction", "p_probabilities"]
    assert got.schema.field("p_probabilities").type == pa.list_(pa.list_(pa.float32(), 4))
    assert got["p_prediction"].to_pylist() == labels
    for found, outputs in zip(got["p_probabilities"].to_pylist(), raw, strict=True):
        np.testing.assert_allclose(np.log(found), log_softmax(outputs), atol=CLOSE)
    for number, words in enumerate((["none"], ["none", "--batch-size", 1], ["none", "--batch-size", 5])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "in").symlink_to(tmp_path / "in")
        assert score(scoreline, bundle, tmp_path / str(number), "--probabilities", *words).code == 0
        got = read(tmp_path / str(number))
        assert got.schema.names == ["id", "prediction"]
        assert got["prediction"].to_pylist() == labels


def test_a_part_that_went_comes_back_the_same(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]
) -> None:
    """Byte for byte, and only that one is made."""
    rows = drawn("words", LENGTHS * 5, seed=13)
    rows[8] = None
    write(table("words", rows), tmp_path, row_group_size=17)
    words = ["--split-rows", 50, "--batch-size", 16, "--max-rejects", 1]
    assert score(scoreline, words_bundle[0], tmp_path, *words).code == 0
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(parts) == 3
    before = [part.read_bytes() for part in parts]
    parts[1].unlink()
    again = score(scoreline, words_bundle[0], tmp_path, *words)
    assert again.code == 0
    assert again.event("run_started")["to_score"] == {"missing": 1}
    assert [part.read_bytes() for part in parts] == before
    assert scoreline("verify", tmp_path / "out").code == 0
    parts[2].write_bytes(before[0])
    assert scoreline("verify", tmp_path / "out").code != 0


def test_nothing_and_nothing_good(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """A file without rows, and one whose rows are all rejected."""
    write(table("words", []), tmp_path, "none.parquet")
    write(table("words", [None, [], ["never seen"]]), tmp_path, "bad.parquet")
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", "100%")
    assert done.code == 0, done.err
    for name in ("none.parquet", "bad.parquet"):
        got = read(tmp_path, name)
        assert (got.num_rows, got.schema.field("prediction").type) == (0, pa.list_(TEXT))
    assert len(rejected(tmp_path, "bad.arrow")) == 3
    assert scoreline("verify", tmp_path / "out").code == 0


def test_texts_through_the_command(scoreline: Command, tmp_path: Path) -> None:
    """A generating bundle writes words, numbers and whether they ended; the empty text is a text."""
    torch.manual_seed(2)
    model, rows = Goes().eval(), lists_of_tokens(40, seed=3)
    write(table("ints", rows), tmp_path)
    save_bundle(
        tmp_path / "b", model, features=["x"], sample=table("ints", rows), task="generation", labels=TOKENS,
        sequences={"x": {"longest": 20}}, generate={"end": "</s>", "steps": 3, "beams": 64},
    )  # fmt: skip
    done = score(scoreline, tmp_path / "b", tmp_path, "--batch-size", 7)
    assert done.code == 0, done.err
    got = read(tmp_path)
    assert got.schema.names == ["id", "prediction", "log_probability", "score", "ended"]
    step = [nexts(model, row, start=None, mask=None) for row in rows]
    check_texts(got, [likeliest(one, end=1, steps=3, length_penalty=0.0) for one in step], TOKENS, 1)
    assert scoreline("verify", tmp_path / "out").code == 0


def refused(tmp_path: Path, model: Any, **described: Any) -> str:
    """What save_bundle says, in one line, without leaving a bundle."""
    given = {"sample": table("words", drawn("words", LENGTHS)), "features": ["x"], "vocabularies": {"x": WORDS}}
    with pytest.raises((BundleError, ColumnError, UsageError)) as caught:
        save_bundle(tmp_path / "b", model, **{"sequences": {"x": {"longest": 40}}, **given, **described})
    assert not (tmp_path / "b").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


TAGGING: dict[str, Any] = {"task": "tagging", "labels": TAGS}


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"sequences": None}, "holds lists; say how long they may be: sequences={'x': {'longest': 64}}"),
        ({"sequences": {"x": {}}}, "longest"),
        ({"sequences": {"x": {"longest": 0}}}, "longest"),
        ({"sequences": {"x": {"longest": 40, "width": 3}}}, "a mapping of longest, mask, pad, dtype, unknown"),
        ({"sequences": {"x": {"longest": 40}, "z": {"longest": 4}}}, "sequences names 'z'; features are x"),
        ({"sequences": {"x": {"longest": 40, "unknown": "hm"}}}, "unknown word 'hm' of 'x' is not in its vocabulary"),
        ({"sequences": {"x": {"longest": 40, "mask": "some"}}}, "'real', 'padding' or 'lengths'"),
        ({"sequences": {"x": {"longest": 40, "mask": "real"}}}, "forward takes 1 tensors"),
        ({"sequences": {"x": {"longest": 40, "dtype": "float32"}}}, "the model fails on the sample, float32"),
        ({"vocabularies": None}, "is a list of words; give vocabularies={'x': [...]}"),
        ({"vocabularies": {"x": [*WORDS, "<pad>"]}}, "stands twice"),
        ({"labels": TAGS[:3]}, "tagging takes [rows, steps, labels], of 3 labels"),
        ({"labels": [*TAGS, "more"]}, "tagging takes [rows, steps, labels], of 5 labels"),
        ({"task": "multiclass"}, "it must return one row for each"),
        ({"threshold": 0.3}, "threshold is for binary or multilabel, and the task is tagging"),
        ({"generate": {"end": "O", "steps": 3}}, "generate is for generation"),
        ({"scaler": nn.Identity()}, "scaler= is for features of a table"),
    ],
)
def test_taggers_that_are_refused(tmp_path: Path, described: dict[str, Any], said: str) -> None:
    """Each with the line that says what to do."""
    assert said in refused(tmp_path, net(None, 4), **{**TAGGING, **described})


def test_a_sample_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """With the length of one of them."""
    sample = table("words", drawn("words", [12, 9, 20]))
    said = refused(tmp_path, net(None, 4), **TAGGING, sample=sample, sequences={"x": {"longest": 8}})
    assert "none of the sample's rows can be scored" in said
    assert "steps, and the bundle takes 8 at most" in said


def test_tags_without_a_sequence_are_refused(tmp_path: Path) -> None:
    """A table has no steps, a text column is no list."""
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5]})
    said = refused(tmp_path, nn.Linear(1, 4), **TAGGING, sample=frame, sequences=None, vocabularies=None)
    assert "tagging gives a label for each step of a sequence, and there is none" in said
    texts = pa.table({"x": ["wörd 1", "wörd 2"]})
    assert "is text, and sequences= are lists" in refused(tmp_path, net(None, 4), **TAGGING, sample=texts)


class Shifted(nn.Module):
    """A score for a mark in front of the steps too, or for none of the last."""

    def __init__(self, more: bool) -> None:
        super().__init__()
        self.net, self.more = Both(4), more

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return torch.cat([h[:, :1], h], dim=1) if self.more else h[:, 1:]


@pytest.mark.parametrize("more", [True, False])
def test_another_number_of_steps_is_refused(tmp_path: Path, more: bool) -> None:
    """As many scores as steps, neither more nor fewer."""
    refused(tmp_path, Shifted(more), **TAGGING)


@pytest.mark.parametrize(
    "lengths",
    [
        LENGTHS,
        [16] * 20,
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32],
    ],
)
def test_a_model_that_sees_its_padding_is_refused(tmp_path: Path, lengths: list[int]) -> None:
    """Whatever the lengths of the sample."""
    said = refused(
        tmp_path, Deaf(), task="multiclass", labels=["x", "y", "z"], sample=table("words", drawn("words", lengths)),
        sequences={"x": {"longest": 40, "mask": "real"}},
    )  # fmt: skip
    assert "changes with the padding behind it; let it use its mask wherever steps meet" in said


def generating(tmp_path: Path, model: Any, **described: Any) -> str:
    rows = lists_of_tokens()
    return refused(
        tmp_path,
        model,
        **{
            "task": "generation",
            "labels": TOKENS,
            "sample": table("ints", rows),
            "vocabularies": None,
            "sequences": {"x": {"longest": 20}},
            "generate": {"end": "</s>", "steps": 3},
            **described,
        },
    )


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"generate": None}, "generation takes generate={'start': '<s>'"),
        ({"generate": {"end": "</s>"}}, "end and steps are needed"),
        ({"generate": {"steps": 3}}, "end and steps are needed"),
        ({"generate": {"end": "hm", "steps": 3}}, "generate's end 'hm' is none of the labels"),
        ({"generate": {"end": "</s>", "steps": 3, "start": "hm"}}, "generate's start 'hm' is none of the labels"),
        ({"generate": {"end": "</s>", "steps": 3, "start": "<s>"}}, "forward takes 1 tensors"),
        ({"generate": {"end": "</s>", "steps": 0}}, "steps"),
        ({"generate": {"end": "</s>", "steps": 3, "beams": 0}}, "beams"),
        ({"generate": {"end": "</s>", "steps": 3, "length_penalty": -1}}, "length_penalty"),
        ({"generate": {"end": "</s>", "steps": 3, "heat": 1}}, "a mapping of start, end, steps, beams, length_penalty"),
        ({"labels": TOKENS[:4]}, "the step model returns (2, 5) for 2 rows and 4 tokens"),
        ({"labels": [*TOKENS, "d"]}, "the step model returns (2, 5) for 2 rows and 6 tokens"),
        (
            {"sequences": {"x": {"longest": 20, "dtype": "float32"}}},
            "without a start, generation goes on with the one sequence of tokens",
        ),
        ({"outputs": "log_probabilities"}, "logits"),
        ({"outputs": "probabilities"}, "do not sum to 1"),
    ],
)
def test_generators_that_are_refused(tmp_path: Path, described: dict[str, Any], said: str) -> None:
    """Each with the line that says what to do."""
    assert said in generating(tmp_path, Goes().eval(), **described)


def test_several_generators_are_refused(tmp_path: Path) -> None:
    """Texts have no mean."""
    assert "generation is the one head of one model" in generating(tmp_path, [Goes().eval(), Goes().eval()])


def test_a_prompt_of_other_words_is_refused(tmp_path: Path) -> None:
    """Without a start, tokens of both are places in one list."""
    sample = pa.table({"x": [[TOKENS[token] for token in row] for row in lists_of_tokens()]})
    generating(tmp_path, Goes().eval(), sample=sample, vocabularies={"x": TOKENS[::-1]})


def test_a_first_step_of_its_own_embedding(tmp_path: Path) -> None:
    """A language that stands before the words."""

    class Tongue(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tongue, self.begin, self.end = nn.Embedding(4, 8), nn.Embedding(len(WORDS), 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(self.tongue(x[:, 0]) + self.begin(x).mean(1))

    torch.manual_seed(0)
    model = Tongue().eval()
    rows = [[row[0] % 4, *row] for row in drawn("ints", LENGTHS)]
    save_bundle(
        tmp_path / "b", model, features=["x"], sample=table("ints", rows), task="multiclass", labels=["x", "y", "z"],
        sequences={"x": {"longest": 64}},
    )  # fmt: skip
    got = load(tmp_path / "b").score_table(table("ints", rows))
    raw = alone(model, None, "ints", rows)
    assert got["prediction"].to_pylist() == ["xyz"[outputs.argmax()] for outputs in raw]


def test_a_list_with_the_name_of_a_mask(tmp_path: Path) -> None:
    """Is refused, or kept apart."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.begin = Net("real", 3, pooled=True), nn.Embedding(len(WORDS), 3)

        def forward(self, x: Tensor, there: Tensor, y: Tensor) -> Tensor:
            return self.net(x, there) + self.begin(y).mean(1)

    given = pa.table({"x": drawn("ints", LENGTHS), "x_mask": drawn("ints", LENGTHS[::-1])})
    described: dict[str, Any] = {"features": ["x", "x_mask"], "sample": given, "task": "multiclass"}
    try:
        save_bundle(
            tmp_path / "b", Two(), labels=["p", "q", "r"], **described,
            sequences={"x": {"longest": 40, "mask": "real"}, "x_mask": {"longest": 40}},
        )  # fmt: skip
    except BundleError as error:
        assert "x_mask" in str(error)  # noqa: PT017 - either way is right


def test_the_spread_of_an_ensemble_of_taggers(tmp_path: Path) -> None:
    """Is written, or refused."""
    try:
        saved(tmp_path / "b", [net(None, 4), net(None, 4, seed=1)], "ints", None, **TAGGING, std=True)
    except BundleError as error:
        assert "std" in str(error)  # noqa: PT017 - either way is right
    else:
        assert "prediction_std" in load(tmp_path / "b").score_table(table("ints", [[1, 2]])).schema.names


def test_two_heads_in_half_precision(tmp_path: Path) -> None:
    """Labels that nearly tie pass; what does not is a mismatch, and no fault of ours."""
    torch.manual_seed(0)

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.intent = Both(4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.net(x) / 50
            return self.intent(h.mean(1)), h

    heads = {
        "intent": {"task": "multiclass", "labels": ["p", "q", "r"], "output": 0},
        "slot": {"task": "tagging", "labels": TAGS, "output": 1},
    }
    saved(tmp_path / "b", Heads(), "ints", None, heads=heads)
    try:
        Scorer.load(tmp_path / "b", device="cpu", precision="bf16")
    except BundleError as error:
        assert "golden rows" in str(error)  # noqa: PT017 - either way is right


def test_a_transformer_layer_of_int8(tmp_path: Path) -> None:
    """Runs, whatever of it stays float32."""
    torch.manual_seed(0)
    model = Transformer().eval()
    tokens, mask = torch.tensor([[1, 2, 3]]), torch.zeros((1, 3), dtype=torch.bool)
    with torch.no_grad():
        wanted = model(tokens, mask)
        np.testing.assert_allclose(reduced(model, "int8")(tokens, mask), wanted, atol=0.05)


class Quiet(Both):
    """Outputs that are not large."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 20


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits(tmp_path: Path, precision: Any) -> None:
    """Near what float32 gives."""
    torch.manual_seed(0)
    model = Quiet(4, columns=2).eval()
    saved(tmp_path / "b", model, "floats", None, **TAGGING)
    rows = drawn("floats", LENGTHS)
    got = Scorer.load(tmp_path / "b", device="cpu", precision=precision).score_table(table("floats", rows))
    for row, outputs in zip(got.to_pylist(), alone(model, None, "floats", rows), strict=True):
        np.testing.assert_allclose(row["probability"], np.exp(log_softmax(outputs)).max(axis=1), atol=0.05)


def test_blocks_of_many_tags_stay_small(tmp_path: Path) -> None:
    """The raw outputs of a block, a number for each tag of each step, stay within reason."""
    model = nn.Sequential(nn.Embedding(len(WORDS), 8), nn.Linear(8, 400))
    saved(tmp_path / "b", model, "ints", None, longest=512, task="tagging", labels=list(range(400)))
    assert load(tmp_path / "b").block_rows * 512 * 400 * 4 <= 256 << 20


def test_tags_that_were_expected_are_held_to(tmp_path: Path) -> None:
    """Another label in one row, and another number of them."""
    model, rows = net(None, 4), drawn("ints", LENGTHS)
    wanted = [[TAGS[at] for at in outputs.argmax(axis=1)] for outputs in alone(model, None, "ints", rows)]
    described: dict[str, Any] = {
        **TAGGING,
        "sample": table("ints", rows),
        "vocabularies": None,
        "sequences": {"x": {"longest": 40}},
    }
    save_bundle(tmp_path / "good", model, features=["x"], expected=pa.table({"prediction": wanted}), **described)
    other = [["X" if wanted[0][0] != "X" else "O"], *wanted[1:]]
    said = refused(tmp_path, model, **described, expected=pa.table({"prediction": other}))
    assert "column 'prediction' at row 0" in said
    refused(tmp_path, model, **described, expected=pa.table({"prediction": [["X", "X", "X"], *wanted[1:]]}))


def test_a_bundle_that_was_moved(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """Replays its golden rows wherever it stands, and gives the same."""
    rows = drawn("words", LENGTHS, seed=14)
    before = load(words_bundle[0]).score_table(table("words", rows))
    shutil.copytree(words_bundle[0], tmp_path / "elsewhere" / "ß")
    scorer = load(tmp_path / "elsewhere" / "ß")
    assert scorer.golden is not None
    assert scorer.golden.rows == 2 * len(LENGTHS)
    assert scorer.golden.largest_difference < CLOSE
    assert scorer.score_table(table("words", rows)).equals(before)


def test_golden_rows_hold_what_bare_torch_gives(words_bundle: tuple[Path, nn.Module]) -> None:
    """The lists themselves, and their outputs, padded by nothing."""
    folder, model = words_bundle
    golden = pq.read_table(folder / "golden.parquet").to_pylist()
    rows = [row["feature:x"] for row in golden]
    assert len(rows) == 2 * len(LENGTHS)
    for row, outputs in zip(golden, alone(model, "real", "words", rows), strict=True):
        np.testing.assert_allclose(row["raw:output"], outputs, atol=CLOSE)
        assert row["column:prediction"] == [TAGS[at] for at in outputs.argmax(axis=1)]


@pytest.mark.parametrize("harm", ["vocabulary", "unknown", "longest", "mask", "pad", "labels", "weights"])
def test_harm_is_noticed(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], harm: str) -> None:
    """Two words that changed places, another label, other weights: nothing is scored. What no golden row tells, such as
    a word that there was not, rejects what it cannot be right for."""
    shutil.copytree(words_bundle[0], tmp_path / "b")
    described = json.loads((tmp_path / "b" / "bundle.json").read_text())
    encoding, entry = described["steps"][0]["encodings"][0], described["inputs"][0]
    if harm == "vocabulary":
        words = encoding["categories"]
        words[3], words[4] = words[4], words[3]
    elif harm == "unknown":
        encoding["unknown"] = 99.0
    elif harm == "longest":
        entry["longest"] = 5
    elif harm == "mask":
        entry["mask"] = "padding"
    elif harm == "pad":
        entry["pad"] = 99
    elif harm == "labels":
        described["heads"][0]["labels"] = TAGS[::-1]
    else:
        (weights,) = (tmp_path / "b").glob("*.safetensors")
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(bytes(data))
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(described))
    write(table("words", [["never seen"]] if harm == "unknown" else drawn("words", LENGTHS)), tmp_path)
    assert score(scoreline, tmp_path / "b", tmp_path).code == (65 if harm == "unknown" else 78)
    assert not list((tmp_path / "out").rglob("*.parquet"))

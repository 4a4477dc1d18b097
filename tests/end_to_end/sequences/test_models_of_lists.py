"""Models that take lists: several heads, transformer layers, ONNX files, fewer bits."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.model.precision import reduced
from torch import Tensor, nn

from described import save_described
from scoreline import Scorer
from sequence_models import (
    CLOSE,
    LENGTHS,
    TAGGING,
    TAGS,
    WORDS,
    Both,
    Net,
    alone,
    check_tags,
    drawn,
    load,
    log_softmax,
    net,
    saved,
    table,
)

pytestmark = pytest.mark.usefixtures("one_core")


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
    save_described(
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
    save_described(
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
        save_described(
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

"""Packed sequences: recurrent layers see each row's steps alone, and nothing else reads the packed form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.audit import audit
from scoreline.pipeline.graph.capture import capture
from scoreline.pipeline.graph.example import Example
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.packing import PACK, PAD
from scoreline.pipeline.model.precision import reduced
from scoreline.schemas.graph import Graph
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.nn.utils.rnn import pad_packed_sequence as pad_again

from packing_helper import last_states
from scoreline import Regression, Scorer, TokenSequence, save_bundle
from sequence_models import CLOSE, LENGTHS, WORDS, alone, drawn, table

WIDTH = 3


class Packed(nn.Module):
    """Classes of a list by a recurrent layer over packed rows, as tutorials write it."""

    def __init__(self, kind: str, use: str, **options: Any) -> None:
        super().__init__()
        self.use, self.first = use, options.get("batch_first", False)
        self.begin = nn.Embedding(len(WORDS), 8)
        self.turn = getattr(nn, kind)(8, 6, **options)
        self.ways = 2 if options.get("bidirectional") else 1
        out = options.get("proj_size", 6) * self.ways
        self.weigh, self.end = nn.Linear(out, 1), nn.Linear(out, WIDTH)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = self.begin(x) if self.first else self.begin(x).transpose(0, 1)
        if self.use == "helped":
            return self.end(last_states(self.turn, h, lengths))
        if self.use == "sorted":
            ordered, order = lengths.cpu().sort(descending=True)
            _, back = order.sort()
            packed = rnn.pack_padded_sequence(h[order], ordered, batch_first=True)
            _, last = self.turn(packed)
            return self.end(last[-1][back])
        on_host = lengths.tolist() if self.use == "last" else lengths.to("cpu")
        packed = pack_padded_sequence(h, on_host, batch_first=self.first, enforce_sorted=False)
        steps, last = self.turn(packed)
        if self.use == "last":
            state = last[0] if isinstance(self.turn, nn.LSTM) else last
            return self.end(torch.cat([state[-2], state[-1]], dim=1) if self.ways == 2 else state[-1])
        if self.use == "cell":
            return self.end(last[1].sum(0))
        total = x.size(1) if self.use == "total" else None
        out, there = pad_again(steps, batch_first=True, total_length=total)
        if self.use == "total":
            return self.end(out.sum(1) / there.unsqueeze(1))
        real = torch.arange(out.shape[1], device=x.device).unsqueeze(0) < lengths.unsqueeze(1)
        share = self.weigh(out).squeeze(-1).masked_fill(~real, -1e9).softmax(1)
        return self.end((share.unsqueeze(-1) * out).sum(1))


MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "an LSTM's last states, both ways": (
        "LSTM", "last", {"bidirectional": True, "num_layers": 2, "dropout": 0.3, "batch_first": True},
    ),
    "an LSTM's cell, steps first": ("LSTM", "cell", {}),
    "an LSTM with projections": ("LSTM", "attended", {"proj_size": 4, "batch_first": True}),
    "a GRU's attended steps": ("GRU", "attended", {"bidirectional": True, "batch_first": True}),
    "a GRU's mean of all steps": ("GRU", "total", {"num_layers": 2}),
    "a GRU over rows that the model sorts": ("GRU", "sorted", {"batch_first": True}),
    "a GRU in a helper of another module": ("GRU", "helped", {"batch_first": True}),
    "an RNN's attended steps": ("RNN", "attended", {"nonlinearity": "relu"}),
}  # fmt: skip


def packed(name: str) -> Packed:
    torch.manual_seed(0)
    kind, use, options = MODELS[name]
    return Packed(kind, use, **options).eval()


def logits(model: nn.Module, rows: list[Any]) -> np.ndarray:
    return np.stack(alone(model, "lengths", "ints", rows))


def rows(seed: int) -> list[Any]:
    return drawn("ints", LENGTHS, seed=seed)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_each_row_alone(tmp_path: Path, name: str) -> None:
    """In batches of several sizes, with rows of all lengths in any order; the model itself runs row by row."""
    model = packed(name)
    tokens = TokenSequence("x", longest=70, mask="lengths")
    save_bundle(tmp_path / "b", model, inputs=tokens, task=Regression(list("abc")), sample=table("ints", rows(1)))
    wanted = logits(model, rows(2))
    for batch_rows in (None, 1, 3, 64):
        scorer = Scorer.load(tmp_path / "b", device="cpu", batch_rows=batch_rows)
        found = scorer.score_table(table("ints", rows(2)))
        got = np.stack([found[f"prediction_{target}"].to_numpy() for target in "abc"], axis=1)
        np.testing.assert_allclose(got, wanted, atol=CLOSE)


def captured(model: nn.Module) -> nn.Module:
    example = Example(
        arguments={"x": torch.zeros(3, 5, dtype=torch.int64), "n": torch.full((3,), 5)},
        dynamic={"x": {0: "rows", 1: "steps"}, "n": {0: "rows"}},
    )
    found = capture(model, [example])
    assert found.example is None, "traced"
    return build(found.graph, found.tensors)


class Fixed(nn.Module):
    """Lengths of its own, and an assignment that torch.fx cannot trace."""

    def __init__(self, *, assigns: bool = False) -> None:
        super().__init__()
        self.turn, self.end, self.assigns = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1), assigns

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = pad_again(self.turn(pack_padded_sequence(x.unsqueeze(2), [4, 2], True))[0], batch_first=True)
        if self.assigns:
            steps[:, 0] = 0
        return self.end(steps.sum(1))


def fixed_example() -> Example:
    return Example(arguments={"x": torch.zeros(2, 4)}, dynamic={"x": {}})


def test_lengths_as_a_list() -> None:
    """As torch takes them."""
    torch.manual_seed(0)
    model, x = Fixed().eval(), torch.randn(2, 4)
    found = capture(model, [fixed_example()])
    with torch.inference_mode():
        torch.testing.assert_close(build(found.graph, found.tensors)(x), model(x))


def test_the_line_that_cannot_be_traced_is_named() -> None:
    """Not that of the packing, at which torch.export stops."""
    with pytest.raises(BundleError, match=r"steps\[:, 0\] = 0"):
        capture(Fixed(assigns=True).eval(), [fixed_example()])


def test_the_functions_are_torchs_own_again_after_tracing() -> None:
    """In torch's module and in that of the model, though one of them has another name there."""
    captured(packed("a GRU's attended steps"))
    assert pack_padded_sequence is rnn.pack_padded_sequence
    assert pad_again is rnn.pad_packed_sequence
    assert rnn.pack_padded_sequence.__module__ == "torch.nn.utils.rnn"


def test_half_precision() -> None:
    """Packed steps that are made in float32 follow the weights."""

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn, self.end = nn.GRU(1, 6, batch_first=True), nn.Linear(6, 1)

        def forward(self, x: Tensor, n: Tensor) -> Tensor:
            return self.end(self.turn(pack_padded_sequence(x.float().unsqueeze(2) / 30, n, True, False))[1][0])

    torch.manual_seed(0)
    model = Counted().eval()
    x, n = torch.randint(0, 30, (6, 9)), torch.tensor([9, 1, 4, 9, 2, 3])
    with torch.inference_mode():
        half = reduced(captured(model), "bf16")(x, n)
        torch.testing.assert_close(half, model(x, n), atol=0.02, rtol=0.02)
        assert not torch.equal(half, model(x, n))


def graph(*nodes: dict[str, Any], output: str = "y") -> Graph:
    layers = {"turn": {"type": "GRU", "args": {"input_size": 4, "hidden_size": 2, "batch_first": True}}}
    called = {one["target"] for one in nodes if one["op"] == "layer"}
    return Graph.model_validate(
        {
            "inputs": ["x", "n"],
            "layers": {path: layer for path, layer in layers.items() if path in called},
            "nodes": list(nodes),
            "output": {"node": output},
        }
    )


def node(name: str, op: str, target: str, *args: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "target": target, "args": [_ref(arg) for arg in args]}


def _ref(value: Any) -> Any:
    return {"node": value[1:]} if isinstance(value, str) else value


PACKS = node("p", "function", PACK, "@x", "@n", True)
TURNS = node("t", "layer", "turn", "@p")


@pytest.mark.parametrize(
    "nodes",
    [
        [PACKS, node("y", "function", "operator.getitem", "@p", 1)],
        [PACKS, node("y", "method", "float", "@p")],
        [PACKS, node("y", "function", PACK, "@p", "@n")],
        [PACKS, node("y", "function", PAD, "@x")],
        [PACKS, node("y", "function", PAD, "@p", True, 0.0, "@p")],
        [PACKS, TURNS, node("y", "function", PAD, "@t")],
        [PACKS, TURNS, node("s", "function", "operator.getitem", "@t", 0), node("y", "method", "float", "@s")],
        [PACKS, TURNS, node("s", "function", "operator.getitem", "@t", -2), node("y", "function", "torch.abs", "@s")],
        [PACKS, TURNS, node("y", "function", "operator.getitem", "@t", {"slice": [0, 1, None]})],
        [PACKS, TURNS, node("y", "layer", "turn", "@t")],
        [PACKS, node("y", "layer", "turn", "@x", "@p")],
        [node("y", "function", PACK, "@x", "@n", True)],
        [PACKS, node("y", "layer", "turn", "@p")],
    ],
)
def test_what_else_reads_a_packed_sequence_is_refused(nodes: list[dict[str, Any]]) -> None:
    """Its fields, other operations, and the output: torch does not check what is in it."""
    with pytest.raises(BundleError, match=r"uses the packed sequence|pads what is not a packed sequence"):
        audit(graph(*nodes))


def test_lengths_that_do_not_fit_fail() -> None:
    """Too long, zero or negative, too few: an error, where torch would read other memory."""
    nodes = [PACKS, TURNS, node("s", "function", "operator.getitem", "@t", 0)]
    nodes += [node("u", "function", PAD, "@s", True), node("y", "function", "operator.getitem", "@u", 0)]
    torch.manual_seed(0)
    turn = nn.GRU(4, 2, batch_first=True)
    model = build(graph(*nodes), {f"turn.{name}": value.detach() for name, value in turn.state_dict().items()})
    x = torch.randn(3, 5, 4)
    with torch.inference_mode():
        assert model(x, torch.tensor([2, 5, 1])).shape == (3, 5, 2)
        for lengths in ([2, 6, 1], [2, 0, 1], [2, -1, 1], [2, 1], [2, 1, 1, 1], [10**12, 1, 1]):
            with pytest.raises((RuntimeError, ValueError, IndexError)):
                model(x, torch.tensor(lengths))

"""The limit on a pass: it is halved until it fits, and large real models fit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scoreline.pipeline.graph import sizes
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph, Node, NodeRef, TupleArg
from torch import Tensor, nn

from scoreline import Regression, Scorer, save_bundle

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), columns=list("abcd"))


class Rows(nn.Module):
    """Makes rows × rows intermediate numbers, or a thousand for every input."""

    def __init__(self, *, squared: bool) -> None:
        super().__init__()
        self.squared = squared
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = (x @ x.T * 0).sum(1, keepdim=True) if self.squared else x.repeat(1, 1000).reshape(-1, 1000, 4).mean(1)
        return self.out(x + wide if self.squared else wide)


@pytest.mark.parametrize("squared", [False, True])
def test_a_pass_is_halved_until_it_fits(squared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are those of plain torch, and no pass exceeds the limit."""
    model = Rows(squared=squared).eval()
    save_bundle(tmp_path / "b", model, features=list("abcd"), task=Regression(), sample=FRAME)
    many = pd.concat([FRAME] * 20, ignore_index=True)
    monkeypatch.setitem(sizes.MOST_NUMBERS, "cpu", 1 << 17)
    monkeypatch.setattr(sizes, "TIMES_INPUT", 1)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    got = scorer.score_frame(many)["prediction"].to_numpy()
    assert scorer.members.max_rows_in_memory is not None
    with torch.no_grad():
        np.testing.assert_allclose(got, model(torch.tensor(many.to_numpy(), dtype=torch.float32))[:, 0], atol=1e-5)


def trace_on_meta(model: nn.Module) -> tuple[Graph, dict[str, Tensor]]:
    """`trace` without the copy to the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "cpu", lambda tensor: tensor)
        return trace(model)


class Net(nn.Module):
    """A few blocks of real architectures, larger than those that score tables."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "table":
            self.body = nn.Sequential(nn.Linear(100_000, 8192), nn.ReLU(), nn.BatchNorm1d(8192), nn.Linear(8192, 8192))
        elif kind == "photos":
            self.body = nn.Sequential(
                nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                *[nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)], nn.Conv2d(64, 2048, 3, 8),
            )  # fmt: skip
        elif kind == "hourglass":
            self.body = nn.Sequential(
                nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1), nn.MaxPool2d(2),
                nn.Conv2d(64, 512, 3, padding=1), nn.ConvTranspose2d(512, 64, 2, 2), nn.Conv2d(64, 64, 3, padding=1),
            )  # fmt: skip
        elif kind == "steps":
            self.body = nn.LSTM(64, 1024, 4, batch_first=True, bidirectional=True)
        else:
            self.body = nn.Sequential(*[nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True)] * 3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.body(x)
        return (made[0] if self.kind == "steps" else made).flatten(1).mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("table", (1024, 100_000)),
        ("photos", (64, 3, 224, 224)),
        ("photos", (2, 3, 2048, 2048)),
        ("hourglass", (2, 3, 1024, 1024)),
        ("steps", (64, 6, 64)),
        ("tokens", (8, 512, 1024)),
        ("tokens", (2, 4096, 1024)),
    ],
)
def test_large_real_models_are_within_the_limit(kind: str, shape: tuple[int, ...]) -> None:
    """On the meta device, which allocates no memory: nothing is refused."""
    with torch.device("meta"):
        model = Net(kind).eval()
    graph, tensors = trace_on_meta(model)
    again = build(graph, tensors)
    again._sizes.of_lists = kind in ("steps", "tokens")
    with torch.no_grad():
        assert again(torch.empty(shape, device="meta")).shape == (shape[0], 1)


def number_of(*nodes: Node) -> Graph:
    """A graph that makes as many zeros as the last of these nodes says; the first is the sum of the inputs."""
    first = Node(name="s", op="method", target="sum", args=[NodeRef(node="x")])
    last = Node(name="y", op="function", target="torch.zeros", args=[NodeRef(node=nodes[-1].name)])
    return Graph(inputs=["x"], nodes=[first, *nodes, last], output=NodeRef(node="y"))


SUM = NodeRef(node="s")
BY_VALUES = {
    "an integer tensor": [Node(name="n", op="method", target="long", args=[SUM])],
    "a Python number": [
        Node(name="f", op="function", target="torch.sym_float", args=[SUM]),
        Node(name="n", op="function", target="torch.sym_int", args=[NodeRef(node="f")]),
    ],
    "an entry of a tuple": [
        Node(name="b", op="function", target="torch.gt", args=[SUM, 0]),
        Node(name="i", op="method", target="long", args=[NodeRef(node="b")]),
        Node(name="n", op="function", target="operator.getitem", args=[TupleArg(tuple=[1, 10**10]), NodeRef(node="i")]),
    ],
}


@pytest.mark.parametrize("name", BY_VALUES)
def test_sizes_that_depend_on_values_are_counted_in_every_pass(name: str) -> None:
    """A pass of the same shapes, but of other values, may be far larger."""
    model = build(number_of(*BY_VALUES[name]), {})
    assert model(torch.zeros(3, 4)).numel() <= 1
    with pytest.raises(torch.OutOfMemoryError, match=r"node 'y' \(torch.zeros\) would make up to"):
        model(torch.full((3, 4), 1e9))

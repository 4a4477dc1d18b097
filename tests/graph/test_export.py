"""Modules that torch.export captures: equal to the module itself for every size, refused where that cannot be."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.capture import Captured
from scoreline.pipeline.graph.example import Example
from scoreline.pipeline.graph.export import export
from scoreline.pipeline.graph.interpreter import build, shapes
from scoreline.pipeline.graph.optimise import prepare
from scoreline.schemas.graph import Graph
from torch import Tensor, nn
from torch.nn.modules import rnn

from captured import rows_of

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
ROWS = rows_of("x", torch.zeros(3, 6))


class From(nn.Module):
    """A few layers, and a forward that is given."""

    def __init__(self, then: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.cell, self.table = nn.GRUCell(6, 8), nn.Embedding(9, 6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm.running_mean, self.norm.running_var = torch.randn(8), torch.rand(8) + 0.5
        self.register_buffer("count", torch.zeros(1))
        self.criterion = nn.CrossEntropyLoss()
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self, x)


def zeros(self: Any, x: Tensor) -> Tensor:
    state = torch.zeros(x.size(0), 8, device=x.device)
    state = self.cell(x, state)
    return self.last(self.relu(self.norm(state)))


def positions(self: Any, x: Tensor) -> Tensor:
    return self.last(self.first(x + torch.arange(x.shape[1], device=x.device))) * torch.full((3,), 2.0)


def in_place(self: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] += 1
    x[:, 1:3].mul_(2).clamp_(min=-1)
    F.relu(x, inplace=True)
    return self.last(self.drop(self.first(x)))


def checked(self: Any, x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[-1] != 6 or x.dtype != torch.float32:
        raise ValueError(f"{tuple(x.shape)}")
    assert x.size(0) > 0
    return self.last(self.first(x.to(x.device)))


def looked_up(self: Any, x: Tensor) -> Tensor:
    return self.last(self.first(self.table(torch.isnan(x).long()).sum(dim=1) + torch.roll(x, 1, 1)))


def attended(self: Any, x: Tensor) -> Tensor:
    tokens = x[:, None, :] + torch.ones(x.shape[0], 4, 6)
    h, _ = self.attention(tokens, tokens, tokens)
    return self.last(self.first(h.mean(dim=1)))


def without_gradients(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        start = torch.zeros(x.shape[0], 6) + x.detach()
    with torch.autocast("cpu", enabled=False):
        return self.last(self.first(start))


def folded(self: Any, x: Tensor) -> Tensor:
    return self.last(
        F.batch_norm(self.first(x + x.new_zeros(x.shape[0], 1)), self.norm.running_mean, self.norm.running_var)
    )


def shared(self: Any, x: Tensor) -> Tensor:
    h = self.first(x + torch.zeros(x.shape[0], 1))
    return self.last(self.relu(self.norm(self.norm(h))) + self.norm(h))


def filled(self: Any, x: Tensor) -> Tensor:
    """Memory that nothing has filled, before every value is written."""
    first, second, third = torch.empty(x.shape[0], 8), torch.empty_like(x), x.new_empty(x.shape[0], 2)
    first[:, :3], first[:, 3:] = x[:, :3], 1
    second[:] = x.flip(1)
    third[:, 0], third[:, 1] = x[:, 1], x[:, 0]
    return self.last(first) + self.last(self.norm(self.first(second))) + third.sum(1, keepdim=True)


FORWARDS = [zeros, positions, in_place, checked, looked_up, attended, without_gradients, folded, shared, filled]


def exported(then: Callable[[Any, Tensor], Any]) -> tuple[nn.Module, Captured]:
    """A model, and what is exported of it."""
    model = From(then).eval()
    graph, tensors = export(model, ROWS)
    return model, Captured(graph=graph, tensors=tensors, example=0)


@pytest.mark.parametrize("then", FORWARDS)
def test_an_exported_graph_is_the_module(then: Callable[[Any, Tensor], Any]) -> None:
    """For other numbers of rows than it was exported with, also after a trip through JSON and after folding; the module
    is not changed."""
    model, found = exported(then)
    saved = Graph.model_validate_json(found.graph.model_dump_json())
    assert saved == found.graph
    rebuilt, ready = build(saved, found.tensors), prepare(saved, found.tensors, frozenset())
    for rows in (2, 3, 9):
        with torch.inference_mode():
            wanted = model(X[:rows].clone())
            torch.testing.assert_close(rebuilt(X[:rows].clone()), wanted, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(
                build(ready.graph, ready.tensors)(X[:rows].clone()), wanted, rtol=1e-5, atol=1e-6
            )


def test_calls_of_simple_layers_are_layers() -> None:
    """With their paths, so that BatchNorm is folded and results have names; one may be called several times."""
    _, found = exported(zeros)
    assert {path: layer.type for path, layer in found.graph.layers.items()} == {
        "norm": "BatchNorm1d", "relu": "ReLU", "last": "Linear",
    }  # fmt: skip
    assert "inplace" not in found.graph.layers["relu"].args
    names = {calls: shape for _, calls, shape in shapes(build(found.graph, found.tensors), X)}
    assert names["cell"] == (9, 8)
    assert names["last"] == (9, 3)
    _, found = exported(shared)
    assert [node.target for node in found.graph.nodes if node.op == "layer"].count("norm") == 3


def test_batch_norm_is_folded_in_an_exported_graph() -> None:
    """As in a traced one."""

    def normed(self: Any, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x + torch.zeros(x.shape[0], 1))))  # type: ignore[no-any-return]

    model, found = exported(normed)
    flat = frozenset(name for name, _, shape in shapes(build(found.graph, found.tensors), X) if len(shape) == 2)
    ready = prepare(found.graph, found.tensors, flat)
    assert ready.folded == 1
    with torch.inference_mode():
        torch.testing.assert_close(build(ready.graph, ready.tensors)(X), model(X), rtol=1e-5, atol=1e-6)


def test_several_inputs_outputs_and_steps() -> None:
    """A dict in, a dict out; None is left out; steps vary, also to a single one."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.head = nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, given: dict[str, Tensor]) -> dict[str, Any]:
            x, mask = given["x"], given["mask"]
            if x.size(1) != mask.size(1):
                raise ValueError("other steps")
            places = torch.arange(x.size(1), device=x.device)[None, :, None]
            steps = torch.tanh(self.inside(x + places))
            weights = mask.unsqueeze(-1).float()
            mean = (steps * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
            return {"loss": None, "logits": self.head(mean), "states": (mean, steps)}

    model = Model().eval()
    example = Example(
        arguments={"x": torch.zeros(3, 5, 2), "mask": torch.zeros(3, 5, dtype=torch.bool)},
        dynamic={"x": {0: "rows", 1: "steps"}, "mask": {0: "rows", 1: "steps"}},
        as_dict=True,
    )
    rebuilt = build(*export(model, example))
    for rows, steps in ((2, 1), (4, 3), (3, 12)):
        given = {"x": torch.randn(rows, steps, 2), "mask": torch.rand(rows, steps) > 0.3}
        with torch.inference_mode():
            wanted, made = model(dict(given)), rebuilt(dict(given))
        assert set(made) == {"logits", "states"}
        torch.testing.assert_close(made["logits"], wanted["logits"])
        torch.testing.assert_close(made["states"], wanted["states"])


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "rows of the example": (
        lambda self, x: self.last(self.first(x + torch.zeros(3, 6)[: x.shape[0]].clone().add_(x))),
        r"accepts only some numbers of rows or steps, or decides by them",
    ),
    "an if on rows": (
        lambda self, x: self.last(self.first(x + x.new_zeros(x.shape[0], 1))) * (2 if x.shape[0] > 4 else 1),
        r"accepts only some numbers of rows or steps, or decides by them",
    ),
    "an if on values": (
        lambda self, x: self.last(self.first(x + torch.zeros(x.shape[0], 1))) * (2 if x.sum() > 4 else 1),
        r"an `if`, loop or size depends on values at .*test_export.py:\d+ .*torch.where",
    ),
    "rows by a mask": (
        lambda self, x: self.last(self.first(x[x[:, 0] > 0] + torch.zeros(1, 6))).sum(0) + x.new_zeros(x.shape[0], 3),
        r"size depends on values|depends on values",
    ),
    "random numbers": (
        lambda self, x: self.last(self.first(x + torch.rand(x.shape[0], 1))),
        r"draws random numbers \(aten\.rand\.default\) at .*test_export.py:\d+ .*same score twice",
    ),
    "an operator that is not on the list": (
        lambda self, x: self.last(self.first(torch.linalg.svd(x + torch.zeros(x.shape[0], 1))[0][:, :1] + x)),
        r"calls aten\._linalg_svd\.default at .*test_export.py:\d+ ",
    ),
    "a buffer that counts rows": (
        lambda self, x: self.last(self.first(x)) + self.count.add_(1),
        "changes its buffer 'count' in eval mode",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_data_is_refused(name: str) -> None:
    """With the reason, and the user's own line where there is one."""
    then, message = REFUSED[name]
    with pytest.raises(BundleError, match=message):
        exported(then)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """torch prints graphs after some errors."""
    for name in ("an if on values", "rows by a mask"):
        with pytest.raises(BundleError):
            exported(REFUSED[name][0])
    assert capfd.readouterr() == ("", "")


#: Each kind, and each number of directions; all of both are long tests.
SHORT = (("lstm", True), ("gru", False), ("rnn_tanh", True))


@pytest.mark.parametrize(
    ("kind", "bidirectional"),
    [
        pytest.param(*pair, marks=() if pair in SHORT else pytest.mark.long)
        for pair in product(("lstm", "gru", "rnn_tanh", "rnn_relu"), (False, True))
    ],
)
def test_recurrent_layers_take_any_number_of_steps(kind: str, bidirectional: bool) -> None:
    """As one operator, with a state of zeros made from the number of rows; torch's own functions are restored."""
    functions = rnn._VF

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            options: dict[str, Any] = {"num_layers": 2, "batch_first": True, "bidirectional": bidirectional}
            if kind.startswith("rnn"):
                options["nonlinearity"] = kind[4:]
            self.layer = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind, nn.RNN)(2, 4, **options)

        def forward(self, x: Tensor) -> Tensor:
            if x.ndim != 3:
                raise ValueError(x.ndim)
            start = torch.zeros(4 if bidirectional else 2, x.size(0), 4)
            steps, _ = self.layer(x, (start, start) if kind == "lstm" else start)
            return steps[:, -1]  # type: ignore[no-any-return]

    model = Recurrent().eval()
    example = Example(arguments={"x": torch.zeros(3, 5, 2)}, dynamic={"x": {0: "rows", 1: "steps"}}, most={"steps": 40})
    graph, tensors = export(model, example)
    assert [node.target for node in graph.nodes if kind in node.target] == [f"aten.{kind}.input"]
    rebuilt = build(graph, tensors)
    for rows, steps in ((2, 1), (4, 3), (3, 40)):
        given = torch.randn(rows, steps, 2)
        with torch.inference_mode():
            torch.testing.assert_close(rebuilt(given.clone()), model(given.clone()))
    assert rnn._VF is functions


def test_a_size_may_have_a_maximum() -> None:
    """Such as the number of positions that a transformer has embeddings for, if lists are never longer."""

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            if x.size(1) > 16:
                raise ValueError("too long")
            return (x + self.table(torch.arange(x.size(1), device=x.device))).mean(dim=1)

    example = Example(arguments={"x": torch.zeros(3, 5, 2)}, dynamic={"x": {0: "rows", 1: "steps"}}, most={"steps": 16})
    rebuilt, given = build(*export(Positions().eval(), example)), torch.randn(2, 16, 2)
    assert rebuilt(given).shape == (2, 2)
    with pytest.raises(BundleError, match="accepts only some numbers of rows or steps"):
        export(Positions().eval(), Example(arguments=example.arguments, dynamic=example.dynamic))

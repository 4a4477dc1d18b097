"""Graphs in half precision, whose nodes make float32 tensors of their own."""

from functools import cache

import pytest
import torch
from scoreline.pipeline.graph.capture import Captured, capture
from scoreline.pipeline.graph.interpreter import GraphModel, build
from scoreline.pipeline.model.precision import reduced
from torch import Tensor, nn

from captured import rows_of


class Recurrent(nn.Module):
    """An LSTM with initial states of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.end = nn.LSTM(2, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        states = torch.zeros(1, x.size(0), 8), torch.full((1, x.size(0), 8), 0.5)
        return self.end(self.steps(x.view(x.size(0), -1, 2), states)[0][:, -1])


class Created(nn.Module):
    """Tensors of every creator, and a product with one."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.size(0)
        places = torch.linspace(0, 1, 4).expand(rows, 4) + torch.arange(rows, dtype=torch.float32)[:, None] * 0.0
        made = torch.ones(rows, 8, dtype=torch.float32) + x.new_full((rows, 8), 0.5, dtype=torch.float32)
        return self.end(self.start(x + places) + made) @ torch.eye(2) + torch.zeros_like(x[:, :2], dtype=torch.float32)


class Cast(nn.Module):
    """Casts its input, a mask, and results of layers to float32."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.norm, self.end = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        given = x.float() * (x > 0).float() + (x > 1) * 1.0
        hidden = self.norm(self.start(given).double().float()).to(torch.float32)
        return self.end(torch.where(hidden > 0, 1.0, 0.0)) + torch.matmul(hidden, self.end.weight.T)


class Exported(nn.Module):
    """Decides by a shape, so that torch.fx cannot trace it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inner(x)
        if len(made.shape) != 2:
            raise ValueError("not of rows")
        return made


X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


@cache
def saved(model: type[nn.Module], exported: bool) -> tuple[nn.Module, Captured]:
    """A model and its graph, which takes a second to capture."""
    torch.manual_seed(0)
    own = Exported(model()).eval() if exported else model().eval()
    return own, capture(own, [rows_of("x", X)])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("model", [Recurrent, Created, Cast])
def test_made_tensors_follow_the_precision(model: type[nn.Module], exported: bool, precision: str) -> None:
    """The graph runs, and is as close to the model as the precision allows."""
    own, captured = saved(model, exported)
    assert not exported or any(node.op == "operator" for node in captured.graph.nodes)
    half = reduced(build(captured.graph, captured.tensors), precision)  # type: ignore[arg-type]
    with torch.inference_mode():
        torch.testing.assert_close(half(X), own(X), rtol=0.05, atol=0.05)


def test_a_cast_of_a_result_is_kept() -> None:
    """A softmax in float32 is meant, and more exact."""

    class Softmax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.end = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(x).float().softmax(1)

    own = Softmax().eval()
    captured = capture(own, [rows_of("x", torch.zeros(3, 4))])
    graph = build(captured.graph, captured.tensors)
    assert isinstance(graph, GraphModel)
    reduced(graph, "bf16")
    with torch.inference_mode():
        assert graph(torch.ones(3, 4, dtype=torch.bfloat16)).dtype == torch.float32

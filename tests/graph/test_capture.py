"""Which modules are traced and which exported, and what is said of those that are neither."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.capture import Captured, capture
from scoreline.pipeline.graph.example import Example
from scoreline.pipeline.graph.interpreter import build
from torch import Tensor, nn

from captured import rows_of

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
ROWS = rows_of("x", torch.zeros(3, 6))
INDICES = rows_of("x", torch.zeros(3, 6, dtype=torch.int64))


class From(nn.Module):
    """Two layers, and a forward that is given."""

    def __init__(self, then: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.table = nn.Linear(6, 8), nn.Linear(8, 3), nn.Embedding(9, 8)
        self.criterion = nn.CrossEntropyLoss()
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self, x)


def captured(then: Callable[[Any, Tensor], Any], *examples: Example) -> tuple[nn.Module, Captured]:
    model = From(then).eval()
    return model, capture(model, examples or [ROWS])


def plain(self: Any, x: Tensor) -> Tensor:
    return self.last(self.first(x))  # type: ignore[no-any-return]


def test_a_traced_module_is_not_exported() -> None:
    """Tracing is faster, and holds for any dtypes; layers that forward never reaches do not matter."""
    _, found = captured(plain)
    assert found.example is None
    assert list(found.graph.layers) == ["first", "last"]


def test_a_traced_module_that_differs_is_exported() -> None:
    """`+=` on another name changes the tensor, but torch.fx records a sum that nobody uses."""

    def added(self: Any, x: Tensor) -> Tensor:
        h = self.first(x)
        same = h
        same += 1
        return self.last(h)  # type: ignore[no-any-return]

    model, found = captured(added)
    assert found.example == 0
    with torch.inference_mode():
        torch.testing.assert_close(build(found.graph, found.tensors)(X), model(X))


def test_integers_are_compared_too() -> None:
    """Twice zero is zero: a traced graph that omits the product differs for other numbers."""

    def doubled(self: Any, x: Tensor) -> Tensor:
        same = x
        same *= 2
        return self.last(self.table(x).sum(dim=1))  # type: ignore[no-any-return]

    model, found = captured(doubled, INDICES)
    assert found.example == 0
    given = torch.arange(24).reshape(4, 6) % 4
    with torch.inference_mode():
        torch.testing.assert_close(build(found.graph, found.tensors)(given.clone()), model(given.clone()))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_masks_without_padding_are_compared() -> None:
    """TransformerEncoder removes steps that are padded in every row, which no batch has."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            if x.ndim != 3:
                raise ValueError(x.ndim)
            hidden = self.encoder(x, src_key_padding_mask=padding).masked_fill(padding[..., None], 0.0)
            return hidden.sum(dim=1) / (~padding).sum(dim=1, keepdim=True)  # type: ignore[no-any-return]

    steps = {0: "rows", 1: "steps"}
    arguments = {"x": torch.zeros(3, 5, 8), "padding": torch.zeros(3, 5, dtype=torch.bool)}
    example = Example(arguments=arguments, dynamic={"x": steps, "padding": steps})
    assert capture(Encoder().eval(), [example]).example == 0


def test_a_module_is_exported_with_the_example_that_it_accepts() -> None:
    """Floating-point numbers are no indices."""

    def looked_up(self: Any, x: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ValueError(x.ndim)
        return self.last(self.table(x).sum(dim=1))  # type: ignore[no-any-return]

    _, found = captured(looked_up, ROWS, INDICES)
    assert found.example == 1


def test_tracing_leaves_the_module_as_it_was() -> None:
    """torch.fx would leave its own objects where forward sets attributes; the tensors are shared, not copied."""

    def remembering(self: Any, x: Tensor) -> Tensor:
        self.last_input = self.first(x)
        return self.last(self.last_input)  # type: ignore[no-any-return]

    model, _ = captured(remembering)
    assert isinstance(model.last_input, Tensor)  # of the pass that finds out which example is accepted


def test_code_that_does_one_thing_for_a_single_step_is_refused() -> None:
    """torch.export assumes that no size is 1."""

    class Squeezed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.ndim != 2:
                raise ValueError(x.ndim)
            return x.sum(dim=1) * (2.0 if x.shape[1] == 1 else 1.0)

    example = Example(arguments={"x": torch.zeros(3, 5)}, dynamic={"x": {0: "rows", 1: "steps"}})
    with pytest.raises(BundleError, match=r"not what it does for 2 rows of 1 step; decide by values|by them"):
        capture(Squeezed().eval(), [example])


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (lambda self, x: plain(self, x) * float(x[0, 0].item()), r"makes a Python number of a value at .*:\d+ "),
        (lambda self, x: plain(self, x) if x.sum() > 0 else x, "an `if`, loop or size depends on values at "),
        (lambda self, x: plain(self, x) + torch.rand(x.shape[0], 1), r"calls torch\.rand|draws random numbers"),
        (
            lambda self, x: plain(self, x) * (len(x) and len(repr(x.tolist()))),
            r"torch\.export stops at .*:\d+ `.*tolist",
        ),
        (lambda self, x: plain(self, x if x.shape[0] <= 1000 else -x), r"decides by them \(rows: at most 1,000\)"),
        (lambda _, x: torch.cdist(x, torch.ones(3, 6)), r"at most 25\); torch\.cdist does, unless"),
        (lambda _, x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), r"calls torch\.cond at .*torch\.where"),
    ],
    ids=[
        "Python values",
        "an if on values",
        "random",
        "behind an innocent line",
        "many rows",
        "cdist",
        "cond",
    ],
)
def test_what_is_neither_traced_nor_exported(then: Any, message: str) -> None:
    """The reason is the more specific of both, with the user's own line."""
    with pytest.raises(BundleError, match=message):
        captured(then)

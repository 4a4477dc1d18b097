"""Names in exported graphs: columns as keys of a ModuleDict, and names that the graph itself would use."""

import torch
from scoreline.pipeline.graph.example import Example
from scoreline.pipeline.graph.export import export
from scoreline.pipeline.graph.interpreter import build
from torch import Tensor, nn

from captured import rows_of


class Scaled(nn.Module):
    """Operators and a layer inside a module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.randn(6)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x * self.scale) * 2  # type: ignore[no-any-return]


def test_modules_may_have_any_names() -> None:
    """Names that are not identifiers are replaced, and stay different."""

    class ByColumn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.columns = nn.ModuleDict({name: Scaled() for name in ("sepal-length", "a%b", "a/b", "Größe", "0x")})

        def forward(self, x: Tensor) -> Tensor:
            return sum(column(x) for column in self.columns.values())  # type: ignore[return-value]

    model, given = ByColumn().eval(), torch.randn(4, 6)
    graph, tensors = export(model, rows_of("x", torch.zeros(3, 6)))
    assert "columns.sepal_length" in {node.module for node in graph.nodes}
    torch.testing.assert_close(build(graph, tensors)(given), model(given))


def test_an_input_may_have_the_name_of_the_device() -> None:
    """A graph reads the device of its first input, as a node of its own. The examples may be one tensor."""

    class Two(nn.Module):
        def forward(self, x: Tensor, x_device: Tensor) -> Tensor:
            return x + 2 * x_device + torch.arange(x.shape[0], device=x.device)[:, None]

    one, other = torch.randn(2, 4, 6)
    rebuilt = build(*export(Two(), rows_of(["x", "x_device"], torch.zeros(3, 6))))
    torch.testing.assert_close(rebuilt(one, other), Two()(one, other))


def test_a_layer_may_have_the_name_of_the_inputs() -> None:
    """A graph that takes a dict calls it `inputs`."""

    class OfDict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs = nn.Linear(6, 2)

        def forward(self, given: dict[str, Tensor]) -> Tensor:
            return self.inputs(given["z"]) - given["a"][:, :2]  # type: ignore[no-any-return]

    example = rows_of(["z", "a"], torch.zeros(3, 6))
    model = OfDict().eval()
    rebuilt = build(*export(model, Example(arguments=example.arguments, dynamic=example.dynamic, as_dict=True)))
    given = {"a": torch.randn(4, 6), "z": torch.randn(4, 6)}
    torch.testing.assert_close(rebuilt(given), model(given))

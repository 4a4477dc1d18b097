"""Augmented assignments in a model: they change a tensor under all of its names, as in bare torch."""

from collections.abc import Callable

import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.capture import capture
from scoreline.pipeline.graph.interpreter import build
from torch import Tensor, nn
from torch.nn import functional

from captured import rows_of

Change = Callable[[Tensor, Tensor], Tensor]


def silenced(values: Tensor, where: Tensor) -> None:
    """A helper that changes its argument."""
    values *= ~where


def in_a_helper(h: Tensor, where: Tensor) -> Tensor:
    silenced(h, where)
    return h


def by_another_name(h: Tensor, where: Tensor) -> Tensor:
    other = h
    other *= ~where
    return h


def in_a_slice(h: Tensor, where: Tensor) -> Tensor:
    part = h[:, :4]
    part *= ~where
    return h


def transposed(h: Tensor, where: Tensor) -> Tensor:
    other = h.T
    other *= ~where.T
    return h


def as_an_attribute(h: Tensor, where: Tensor) -> Tensor:
    other = h.mT
    other *= ~where.mT
    return h


def in_a_view(h: Tensor, where: Tensor) -> Tensor:
    other = h.view(-1, 2, 4)
    other += where[:, None, :]
    return h


def in_a_chunk(h: Tensor, where: Tensor) -> Tensor:
    part = h.chunk(2, 1)[0]
    part -= where.float()
    return h


def several(h: Tensor, where: Tensor) -> Tensor:
    other = h
    other += where.float()
    other **= 2
    other /= 3
    return h + other


def of_another_type(h: Tensor, where: Tensor) -> Tensor:
    h += where.double() / 3  # stays float32
    return h


def of_what_was_changed(h: Tensor, where: Tensor) -> Tensor:
    other = h
    other += 1
    h *= ~where  # the result is not used, but the change is
    return other


def of_a_changed_view(h: Tensor, where: Tensor) -> Tensor:
    other = h.view(-1, 2, 4)
    other *= 2
    silenced(h, where)
    return other.flatten(1)


def after_dropout(h: Tensor, where: Tensor) -> Tensor:
    other = functional.dropout(h, 0.5, training=False)  # in eval mode, its argument
    other *= ~where
    return h


def after_dropout_by_index(h: Tensor, where: Tensor) -> Tensor:
    other = functional.feature_alpha_dropout(h, 0.5, training=False)
    other[where[:, 0]] = 0
    return h


def in_part_of_what_is_used(h: Tensor, where: Tensor) -> Tensor:
    part, other = h[:, :5], h[:, 4:]
    part *= ~where
    return torch.cat([part, other[:, 1:]], dim=1)


SHARED = [
    in_a_helper, by_another_name, in_a_slice, transposed, as_an_attribute, in_a_view, in_a_chunk, several,
    of_another_type, of_what_was_changed, of_a_changed_view, after_dropout, after_dropout_by_index,
    in_part_of_what_is_used,
]  # fmt: skip


def of_its_only_name(h: Tensor, where: Tensor) -> Tensor:
    h *= ~where
    h += 1
    return h


def residual(h: Tensor, _: Tensor) -> Tensor:
    before = h
    h = torch.relu(h - 1)
    h += before
    return h


def of_a_size(h: Tensor, _: Tensor) -> Tensor:
    steps = h.shape[1]
    steps += 1
    return h * steps


def of_a_copy(h: Tensor, where: Tensor) -> Tensor:
    other = h.double()
    other *= ~where
    return h + other.float()


def of_a_part_that_nothing_else_reads(h: Tensor, where: Tensor) -> Tensor:
    part, other = h[:, :4], h[:, 4:]
    part *= torch.sigmoid(other) * ~where
    return torch.cat([part, other], dim=1)


def of_no_operator_of_torch(h: Tensor, where: Tensor) -> Tensor:
    other = h
    other @= torch.eye(8) * 2  # binds a new tensor, in torch as well
    return h + other * where


ALONE = [
    of_its_only_name, residual, of_a_size, of_a_copy, of_a_part_that_nothing_else_reads, of_no_operator_of_torch,
]  # fmt: skip


class Guarded(nn.Module):
    """Rows with large values are treated differently."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.change = nn.Linear(3, 8), nn.Linear(8, 1), change

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.body(x))
        return self.head(self.change(hidden, x.abs().amax(1, keepdim=True) > 5))


@pytest.mark.parametrize("change", [*SHARED, *ALONE], ids=lambda change: change.__name__)
def test_what_is_changed(change: Change) -> None:
    """The same values as bare torch, of rows that differ from the example; traced where no other name is used."""
    model = Guarded(change).eval()
    captured = capture(model, [rows_of("x", torch.zeros(4, 3))])
    assert (captured.example is None) == (change in ALONE)
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * 4
    graph = build(captured.graph, captured.tensors)
    with torch.inference_mode():
        torch.testing.assert_close(graph(rows), model(rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["data", "grad", "requires_grad"])
def test_assigned_attributes_are_refused(name: str) -> None:
    """torch.fx sets them on the traced value, and torch.export does not follow `data` either."""

    def change(h: Tensor, where: Tensor) -> Tensor:
        setattr(h, name, h * ~where)
        return h

    with pytest.raises(BundleError, match=f"the model assigns '{name}' of a tensor at .*test_assignments.py:"):
        capture(Guarded(change).eval(), [rows_of("x", torch.zeros(4, 3))])


def test_a_parameter_is_not_changed() -> None:
    """Rows would depend on those before them."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 1)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            seen = self.seen
            seen += x.abs().max()
            return self.linear(x) + seen

    with pytest.raises(BundleError):
        capture(Counting().eval(), [rows_of("x", torch.zeros(4, 3))])


def test_a_model_that_accepts_no_example() -> None:
    """What is known without a run: whether the name itself is used later."""

    class Picky(nn.Module):
        def __init__(self, change: Change) -> None:
            super().__init__()
            self.guarded = Guarded(change)

        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(x, torch.fx.Proxy), "no tensor is accepted"
            return self.guarded(x)

    example = [rows_of("x", torch.zeros(4, 3))]
    assert capture(Picky(of_its_only_name).eval(), example).example is None
    with pytest.raises(BundleError, match="changes a tensor that has another name"):
        capture(Picky(by_another_name).eval(), example)

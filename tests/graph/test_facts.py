"""Facts from a graph: indices into embeddings, the last activation, and whether a model overwrites its inputs."""

import pytest
import torch
from scoreline.pipeline.graph.export import export
from scoreline.pipeline.graph.facts import indices_of, last_activation, overwrites
from scoreline.pipeline.graph.trace import trace
from scoreline.schemas.graph import Graph
from torch import Tensor, nn

from captured import rows_of


class Selecting(nn.Module):
    """Columns 1 and 3 index an embedding of 5 rows, column 3 another of 9, the others none."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large, self.rest = nn.Embedding(5, 2), nn.Embedding(9, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        codes = x[:, 1::2].long()
        return self.small(codes).sum(1) + self.large(x[:, -1].long()) + self.rest(x[:, [0, 2]])


class Uncast(nn.Module):
    """Takes indices without a cast."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.words(x).flatten(1)


class Reshaped(nn.Module):
    """After a reshape dimension 1 is no longer the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.words(x.reshape(-1, 2, 2)[:, 0].long()).flatten(1)


class Ends(nn.Module):
    """Two outputs, each with its own last activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(self.a(x)).squeeze(-1), torch.softmax(self.b(x), dim=1)


def graph_of(model: nn.Module) -> Graph:
    return trace(model.eval())[0]


def test_columns_that_index_an_embedding_are_limited_to_its_rows() -> None:
    """To those of the smallest embedding where there are several; a cast is noticed."""
    found = indices_of(graph_of(Selecting()), "arguments", 0, "x", 4)
    assert found.limits == {1: 5, 3: 5}
    assert not found.uncast


def test_an_embedding_without_a_cast_needs_int64() -> None:
    """`uncast` says so."""
    found = indices_of(graph_of(Uncast()), "arguments", 0, "x", 2)
    assert found.limits == {0: 7, 1: 7}
    assert found.uncast


def test_a_selection_after_a_reshape_is_not_followed() -> None:
    """No limit is better than the limit of another column."""
    assert indices_of(graph_of(Reshaped()), "arguments", 0, "x", 4).limits == {}


@pytest.mark.parametrize(
    ("model", "ending"),
    [
        (nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1)), "Softmax"),
        (nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Flatten(0)), "Sigmoid"),
        (nn.Sequential(nn.Linear(4, 1), nn.LogSigmoid()), "LogSigmoid"),
        (nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Linear(1, 1)), None),
        (nn.Sequential(nn.Linear(4, 2), nn.Tanh()), None),
        (nn.Linear(4, 2), None),
    ],
)
def test_the_last_activation_of_a_model(model: nn.Module, ending: str | None) -> None:
    """Found before changes of shape, but not before another layer."""
    assert last_activation(graph_of(model), 0) == ending


def test_each_output_has_its_own_last_activation() -> None:
    """By its index in the tuple; None where there is no such output."""
    graph = graph_of(Ends())
    assert [last_activation(graph, at) for at in range(3)] == ["Sigmoid", "Softmax", None]


@pytest.mark.parametrize(
    ("model", "writes"),
    [(nn.Sequential(nn.Linear(4, 2), nn.ReLU(inplace=True)), True), (nn.Sequential(nn.Linear(4, 2), nn.ReLU()), False)],
)
def test_a_model_that_may_overwrite_its_inputs_is_found(model: nn.Module, writes: bool) -> None:
    """By its layers that work in place."""
    assert overwrites(graph_of(model)) == writes


class Exported(nn.Module):
    """Columns that are looked up and an activation, as ATen operators."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.wide, self.out = nn.Embedding(5, 2), nn.Embedding(9, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor | None]:
        ends = self.wide(x[:, 2:4].to(torch.int64)).sum(dim=1)
        h = torch.cat([self.small(x[:, 1].long()), ends], dim=1)
        return {"loss": None, "logits": torch.softmax(self.out(h), dim=-1).squeeze(-1)}


def test_an_exported_graph_has_the_same_facts() -> None:
    """The limits of selected columns, through casts and slices; `logits` is the default output of a dict."""
    graph, _ = export(Exported().eval(), rows_of("x", torch.zeros(3, 4)))
    found = indices_of(graph, "arguments", 0, "x", 4)
    assert found.limits == {1: 5, 2: 9, 3: 9}
    assert not found.uncast
    assert last_activation(graph, 0) == last_activation(graph, "logits") == "Softmax"
    assert last_activation(graph, "loss") is None
    assert not overwrites(graph)


def test_an_exported_embedding_without_a_cast_needs_int64() -> None:
    """As a traced one does."""
    graph, _ = export(nn.Sequential(nn.Embedding(5, 2)).eval(), rows_of("x", torch.zeros(3, 4, dtype=torch.int64)))
    found = indices_of(graph, "arguments", 0, "input", 4)
    assert found.limits == dict.fromkeys(range(4), 5)
    assert found.uncast

"""A watcher runs the nodes of the graphs that its thread runs."""

from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.watch import watcher_of_thread, watching
from scoreline.schemas.graph import Graph, Node, NodeRef


def twice(run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run a node and double its result."""
    return 2 * run(*args, **kwargs)


def test_the_graph_returns_what_the_watcher_returns() -> None:
    """Of every node: |x| and −|x|, each doubled."""
    nodes = [
        Node(name="a", op="method", target="abs", args=[NodeRef(node="x")]),
        Node(name="b", op="method", target="neg", args=[NodeRef(node="a")]),
    ]
    model = build(Graph(inputs=["x"], nodes=nodes, output=NodeRef(node="b")), {})
    x = torch.tensor([-1.0, 3.0])
    with watching(twice):
        assert model(x).tolist() == [-4, -12]
    assert model(x).tolist() == [-1, -3]


def test_only_in_its_thread() -> None:
    """Other threads run their graphs themselves."""
    found: list[Any] = []
    with watching(twice):
        assert watcher_of_thread() is twice
        thread = Thread(target=lambda: found.append(watcher_of_thread()))
        thread.start()
        thread.join()
    assert found == [None]


def test_not_after_the_block() -> None:
    """Even if it raises."""
    with pytest.raises(ValueError, match="broken"), watching(twice):
        raise ValueError("broken")
    assert watcher_of_thread() is None

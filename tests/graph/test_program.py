"""Arguments of a graph as Python values, and when each result is freed."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scoreline.pipeline.graph.program import decoded, referenced, resolved, with_frees
from scoreline.schemas.graph import Arg, Graph

ARG: TypeAdapter[Any] = TypeAdapter(Arg)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("same", "same"),
        ([1, [2]], [1, [2]]),
        ({"tuple": [1, {"tuple": []}]}, (1, ())),
        ({"mapping": {"a": {"tuple": [1]}}}, {"a": (1,)}),
        ({"slice": [0, None, 2]}, slice(0, None, 2)),
        ({"dtype": "float16"}, torch.float16),
        ({"float": "-inf"}, -math.inf),
        ({"ellipsis": True}, ...),
        ({"tuple": [{"ellipsis": True}, {"slice": [None, None, None]}]}, (..., slice(None))),
    ],
)
def test_arguments_as_python_values(written: Any, value: Any) -> None:
    """Of the same type, also within others; nothing in them is a reference."""
    argument = ARG.validate_python(written)
    found = decoded(argument)
    assert (found, type(found)) == (value, type(value))
    assert referenced(argument) == []
    assert resolved(found, {}) == value


def test_nan() -> None:
    assert math.isnan(decoded(ARG.validate_python({"float": "nan"})))


NESTED = {"mapping": {"a": [{"node": "x"}, 1], "b": {"tuple": [{"node": "y"}, {"slice": [0, {"node": "x"}, None]}]}}}


def test_references() -> None:
    """Listed once per reference, at any depth, and replaced by their results; other values stay."""
    argument = ARG.validate_python(NESTED)
    assert referenced(argument) == ["x", "y", "x"]
    assert referenced({"k": argument}) == referenced((argument,)) == referenced(argument)
    assert resolved(decoded(argument), {"x": 7, "y": 8, "z": 9}) == {"a": [7, 1], "b": (8, slice(0, 7, None))}
    with pytest.raises(KeyError):
        resolved(decoded(argument), {"x": 7})


def graph_of(uses: list[list[str]], output: list[str]) -> Graph:
    """A graph with nodes n0, n1 …, each of which uses the named results."""
    nodes = [
        {"name": f"n{i}", "op": "function", "target": "torch.stack", "args": [[{"node": name} for name in names]]}
        for i, names in enumerate(uses)
    ]
    return Graph.model_validate({"inputs": ["x"], "nodes": nodes, "output": [{"node": name} for name in output]})


def test_results_are_freed_after_their_last_use() -> None:
    """Once, though a node uses a result twice; an unused result right after it is computed; the output never."""
    graph = graph_of([["x", "x"], ["n0"], ["n0", "x"], ["n1"]], ["n2"])
    assert [(node.name, set(frees)) for node, frees in with_frees(graph)] == [
        ("n0", set()),
        ("n1", set()),
        ("n2", {"n0", "x"}),
        ("n3", {"n1", "n3"}),
    ]
    assert with_frees(graph_of([], ["x"])) == []


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph in which nodes use earlier results."""
    names = ["x"]
    uses = []
    for index in range(draw(st.integers(0, 8))):
        uses.append(draw(st.lists(st.sampled_from(names), max_size=4)))
        names.append(f"n{index}")
    return graph_of(uses, draw(st.lists(st.sampled_from(names), max_size=3)))


@hypothesis_settings(max_examples=40)
@given(graphs())
def test_no_result_is_freed_too_early_or_kept_too_long(graph: Graph) -> None:
    """At the end, only the output and inputs that no node uses are left."""
    outputs, alive = set(referenced(graph.output)), {"x"}
    for node, frees in with_frees(graph):
        assert set(referenced(node.args)) <= alive
        alive.add(node.name)
        assert len(set(frees)) == len(frees)
        assert set(frees) <= alive
        alive -= set(frees)
    assert outputs <= alive
    used = {name for node in graph.nodes for name in referenced(node.args)}
    assert alive <= outputs | ({"x"} - used)

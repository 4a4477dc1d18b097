"""Lets the caller of a graph run its nodes, for example to measure each of them. Independent of graphs and of torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any

#: Runs a node, given as a function with its arguments, and returns its result.
Watcher = Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]

_thread = local()


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` run the nodes of the graphs that this thread runs meanwhile."""
    _thread.watcher = watcher
    try:
        yield
    finally:
        _thread.watcher = None


def watcher_of_thread() -> Watcher | None:
    """Who runs the nodes in this thread; None for the graph itself."""
    found: Watcher | None = getattr(_thread, "watcher", None)
    return found

"""Operators of torch that do not check their arguments before they read memory, with these checks. Independent of
graphs."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from torch import Tensor

from .operators import operators, short_name


def embedding_bag(operator: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Sums, means or maxima of the rows of a table, by lists of indices.

    Indices beyond the table, and lists that do not lie one after the other, make torch read other memory or end the
    process (torch 2.13, on a CPU).

    Raises:
        ValueError: such indices or lists.
    """
    schema: Any = operator._schema  # type: ignore[attr-defined]
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    table, indices, offsets = given["weight"], given["indices"], given["offsets"]
    if (table.ndim, indices.ndim, offsets.ndim) != (2, 1, 1):
        raise ValueError("embedding_bag takes a table, one row of indices and one row of offsets")
    if len(offsets) <= bool(given.get("include_last_offset")):
        raise ValueError("embedding_bag: the offsets are empty")
    if not _within(indices, 0, len(table) - 1):
        raise ValueError(f"embedding_bag: an index is not from 0 to {len(table) - 1}")
    if int(offsets[0]) or bool((offsets.diff() < 0).any()) or not _within(offsets, 0, len(indices)):
        raise ValueError(f"embedding_bag: the offsets do not ascend from 0 to at most {len(indices)}")
    return operator(*args, **kwargs)


def _within(values: Tensor, low: int, high: int) -> bool:
    return not len(values) or (int(values.min()) >= low and int(values.max()) <= high)


@cache
def checked() -> Mapping[str, Callable[..., Any]]:
    """The checked form of every such overload, by its full name."""
    return {
        name: partial(embedding_bag, operator)
        for name, operator in operators().items()
        if short_name(name) == "embedding_bag"
    }

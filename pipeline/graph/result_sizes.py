"""Sizes of results, computed from shapes; shared by the bounds of functions and of layers."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor

Kwargs = Mapping[str, Any]


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from tensors_of(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors_of(entry)


def argument(args: Sequence[Any], kwargs: Kwargs, at: int, name: str, default: Any) -> Any:
    """An argument by its position or name."""
    return args[at] if at < len(args) else kwargs.get(name, default)


def broadcast_size(shapes: Sequence[Sequence[int]]) -> int:
    """The product of the largest size of each dimension, counted from the last."""
    most = max(map(len, shapes), default=0)
    if not most:
        return min(1, len(shapes))
    return prod(max(shape[-at] for shape in shapes if len(shape) >= at) for at in range(1, most + 1))


def padded_size(given: Tensor, pad: Any) -> int:
    """The size after padding. `pad`: two numbers per dimension, beginning with the last."""
    pad = [int(number) for number in pad]
    sizes = list(given.shape)
    for at in range(len(pad) // 2):
        sizes[-1 - at] += max(0, pad[2 * at]) + max(0, pad[2 * at + 1])
    return prod(sizes)


def resized_size(given: Tensor, size: Any, scale: Any) -> int:
    """The size after resizing to `size`, or by the factor `scale`."""
    dims = given.ndim - 2
    sizes = [int(one) for one in for_each_dim(size, dims)] if size is not None else None
    if sizes is None:
        factors = [float(one) for one in for_each_dim(scale if scale is not None else 1, dims)]
        sizes = [int(there * factor) + 1 for there, factor in zip(given.shape[2:], factors, strict=True)]
    return max(given.numel(), prod(given.shape[:2]) * prod(sizes))


def for_each_dim(value: Any, dims: int) -> list[Any]:
    """One value for each dimension."""
    return list(value) if isinstance(value, list | tuple) else [value] * dims


def pooled_to_size(given: Tensor, size: Sequence[Any]) -> int:
    """The larger of the sizes before and after pooling. `size`: the last dimensions afterwards; None keeps one."""
    ends = given.shape[given.ndim - len(size) :]
    sizes = [there if one is None else int(one) for one, there in zip(size, ends, strict=True)]
    return max(given.numel(), prod(given.shape[: given.ndim - len(size)]) * prod(sizes))


def pooled_size(given: Tensor, padding: Any, dims: int) -> int:
    """The size with padding, which is at least the size after pooling."""
    wide = [there + 2 * int(pad) for there, pad in zip(given.shape[-dims:], for_each_dim(padding, dims), strict=True)]
    return prod(given.shape[:-dims]) * prod(wide)


def convolved_size(given: Tensor, weight: Tensor, stride: Any, padding: Any, dims: int) -> int:
    """The larger of the sizes before and after a convolution."""
    if isinstance(padding, str):  # the size stays, or shrinks
        padding = list(weight.shape[-dims:])
    sizes = given.shape[-dims:]
    wide = [size + 2 * int(pad) for size, pad in zip(sizes, for_each_dim(padding, dims), strict=True)]
    made = [size // max(1, int(step)) + 1 for size, step in zip(wide, for_each_dim(stride, dims), strict=True)]
    rows = prod(given.shape[:-dims]) // max(1, given.shape[-dims - 1])
    return rows * max(weight.shape[0] * prod(made), given.shape[-dims - 1] * prod(sizes))

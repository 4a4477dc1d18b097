"""Upper bounds on how many numbers a function or method makes, computed from the shapes of its arguments before it
runs. Independent of graphs.

Most operations make no more than their operands broadcast to. An operation that can make more has its own rule below,
by the name of the function or method. A rule also counts the largest intermediate result, such as the weights of
attention.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from torch import Tensor

from .result_sizes import (
    Kwargs,
    argument,
    broadcast_size,
    convolved_size,
    for_each_dim,
    padded_size,
    pooled_size,
    pooled_to_size,
    resized_size,
    tensors_of,
)

#: Operations whose result is never larger than their first tensor; the other tensors are weights.
_AS_FIRST = {
    *("batch_norm", "group_norm", "layer_norm", "rms_norm", "prelu", "dropout", "normalize", "threshold"),
    *("flatten", "reshape", "view", "view_as", "contiguous", "clone", "detach", "type_as", "to"),
}
#: Functions that take sizes only, and those that take sizes after a tensor.
_OF_SIZES = {"arange", "eye", "full", "linspace", "ones", "zeros"}
_WITH_SIZES = {
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "expand", "interpolate", "new_full"),
    *("new_ones", "new_zeros", "one_hot", "pad", "repeat"),
}


def most_numbers(name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for a function or method by the last part of its name, as in `repeat`; a method's tensor is the first
    argument."""
    if name in _RULES:
        return _RULES[name](args, kwargs)
    tensors = list(tensors_of([*args, *kwargs.values()]))
    if name in _AS_FIRST:
        return tensors[0].numel() if tensors else 0
    # over an empty dimension, a sum has results where it has no operands
    return broadcast_size([[max(1, size) for size in tensor.shape] for tensor in tensors])


def depends_on_values(name: str, args: Sequence[Any], kwargs: Kwargs) -> bool:
    """Whether the size of the result depends on values, not on shapes alone: sizes may be tensors."""
    if name in ("pack_padded_sequence", "pad_packed_sequence"):
        return True
    if name == "one_hot" and int(argument(args, kwargs, 1, "num_classes", -1)) < 0:
        return True
    sizes = args if name in _OF_SIZES else args[1:] if name in _WITH_SIZES else ()
    return any(True for _ in tensors_of([*sizes, *(kwargs.values() if sizes else ())]))


def pieces(name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """How many tensors an operation splits its tensor into; each takes memory, even an empty one."""
    if name == "split_with_sizes":
        return len(argument(args, kwargs, 1, "split_sizes", ()))
    if name not in ("split", "chunk", "unbind"):
        return 1
    tensor = next(tensors_of([*args, *kwargs.values()]))
    if name == "unbind":
        return int(tensor.shape[int(argument(args, kwargs, 1, "dim", 0))])
    number = argument(args, kwargs, 1, "split_size_or_sections" if name == "split" else "chunks", 1)
    if isinstance(number, list | tuple):
        return len(number)
    size = int(tensor.shape[int(argument(args, kwargs, 2, "dim", 0))])
    return min(size, int(number)) if name == "chunk" else size // max(1, int(number))


def _sizes(args: Sequence[Any], kwargs: Kwargs, name: str) -> list[Any]:
    """Sizes passed one by one, as a list, or by name."""
    given = args[1:] or (kwargs.get(name, kwargs.get("size", ())),)
    return list(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else list(given)


def _repeat(args: Sequence[Any], kwargs: Kwargs) -> int:
    return int(args[0].numel()) * prod(int(size) for size in _sizes(args, kwargs, "repeats"))


def _expand(args: Sequence[Any], kwargs: Kwargs) -> int:
    sizes, shape = [int(size) for size in _sizes(args, kwargs, "size")], args[0].shape
    own = [1] * (len(sizes) - len(shape)) + list(shape)
    return int(prod(there if size < 0 else size for size, there in zip(sizes, own, strict=False)))


def _made(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The product of sizes that are passed one by one or as a list, after a tensor or not; twice that, since integers
    have eight bytes."""
    given = [value for value in (*args, *(kwargs.get(name) for name in ("size", "n", "m"))) if value is not None]
    lists = [value for value in given if isinstance(value, list | tuple)]
    sizes = lists[0] if lists else [value for value in given if not isinstance(value, Tensor) or _is_size(value)]
    if not lists and "n" not in kwargs and len(sizes) == 1:
        sizes = [*sizes, *sizes]  # eye makes a square
    return 2 * prod(max(1, abs(int(size))) for size in sizes)


def _is_size(tensor: Tensor) -> bool:
    """Whether torch would take a tensor as a single size."""
    return tensor.numel() == 1 and not tensor.is_floating_point()


def _arange(args: Sequence[Any], kwargs: Kwargs) -> int:
    ends = [*args[:2], *(kwargs[name] for name in ("start", "end") if name in kwargs), 0]
    step = argument(args, kwargs, 2, "step", 1)
    return 2 * (int((max(ends) - min(ends)) / max(abs(step), 1e-9)) + 1)


def _linspace(args: Sequence[Any], kwargs: Kwargs) -> int:
    return 2 * int(argument(args, kwargs, 2, "steps", 1))


def _all(args: Sequence[Any], kwargs: Kwargs) -> int:
    return sum(tensor.numel() for tensor in tensors_of([*args, *kwargs.values()]))


def _product(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for a matrix product of the last two tensors, with broadcast copies and added tensors."""
    *added, one, other = tensors_of([*args, *kwargs.values()])
    batch = broadcast_size([one.shape[:-2], other.shape[:-2]])
    batch = max(1, batch) if one.ndim > 2 or other.ndim > 2 else 1
    n, k = (one.shape[-2] if one.ndim > 1 else 1), one.shape[-1] if one.ndim else 1
    m = other.shape[-1] if other.ndim > 1 else 1
    return int(max(batch * max(n * m, n * k, k * m), *(tensor.numel() for tensor in added), 0))


def _linear(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, weight = argument(args, kwargs, 0, "input", None), argument(args, kwargs, 1, "weight", None)
    return int(max(given.numel(), given.numel() // max(1, weight.shape[-1]) * weight.shape[0]))


def _bilinear(args: Sequence[Any], kwargs: Kwargs) -> int:
    one, other, weight = (
        argument(args, kwargs, at, name, None) for at, name in enumerate(("input1", "input2", "weight"))
    )
    return int(prod(one.shape[:-1]) * max(weight.shape[0], one.shape[-1], other.shape[-1]))


def _outer(args: Sequence[Any], kwargs: Kwargs) -> int:
    return prod(tensor.numel() for tensor in tensors_of([*args, *kwargs.values()]))


def _einsum(args: Sequence[Any], kwargs: Kwargs) -> int:
    """Operands are multiplied in pairs: one after the other, or in the order of a path. A letter that no other operand
    and no result has is summed."""
    equation = argument(args, kwargs, 0, "equation", None)
    operands: list[Any] = list(tensors_of([*args[1:], *kwargs.values()]))
    if not isinstance(equation, str):  # alternately an operand and its dimensions as integers, then those of the result
        operands, letters = list(args[::2]), [_letters(one) for one in args[1::2]]
        made = [_letters(operands.pop())] if len(args) % 2 else []
        equation = "->".join([",".join(letters), *made])
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    sizes: dict[str, int] = {}
    between: list[Sequence[int]] = []
    for term, tensor in zip(terms, operands, strict=True):
        head, dots, tail = term.partition("...")
        for letter, size in [
            *zip(head, tensor.shape, strict=False),
            *zip(reversed(tail), reversed(tensor.shape), strict=False),
        ]:
            sizes[letter] = max(size, sizes.get(letter, 1))
        if dots:
            between.append(tensor.shape[len(head) : tensor.ndim - len(tail)])
    most, shared = 0, max(1, broadcast_size(between)) if any(between) else 1
    result = result if "->" in equation else "".join(sizes)
    left_over = [set(term) & set(sizes) for term in terms]
    for pair in _pairs(kwargs.get("path"), len(left_over)):
        product = set[str]().union(*(left_over[at] for at in pair))
        left_over = [letters for at, letters in enumerate(left_over) if at not in pair]
        product &= set(result).union(*left_over)
        left_over.append(product)
        most = max(most, shared * prod(sizes[letter] for letter in product))
    return int(max(most, *(tensor.numel() for tensor in operands)))


def _pairs(path: Sequence[int] | None, operands: int) -> list[tuple[int, ...]]:
    """The operands that are multiplied, by their indices among those that are left; a product comes last."""
    if path is not None:
        return [(first, second) for first, second in zip(path[::2], path[1::2], strict=True)]
    return [(0,)] + [(0, left - 1) for left in range(operands, 1, -1)]


def _letters(dims: Sequence[Any]) -> str:
    return "".join("..." if dim is Ellipsis else chr(0x100 + int(dim)) for dim in dims)


def _attention(args: Sequence[Any], kwargs: Kwargs) -> int:
    query, key, value = (argument(args, kwargs, at, name, None) for at, name in enumerate(("query", "key", "value")))
    batch = max(1, broadcast_size([query.shape[:-2], key.shape[:-2]]))
    return int(batch * max(query.shape[-2] * max(key.shape[-2], query.shape[-1], value.shape[-1]), key.shape[-2]))


def _one_hot(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, classes = argument(args, kwargs, 0, "tensor", None), int(argument(args, kwargs, 1, "num_classes", -1))
    if classes < 0:
        classes = int(given.max()) + 1 if given.numel() else 1
    return int(given.numel()) * max(1, classes)


def _embedding(args: Sequence[Any], kwargs: Kwargs) -> int:
    return int(argument(args, kwargs, 0, "input", None).numel() * argument(args, kwargs, 1, "weight", None).shape[-1])


def _index_select(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, index = argument(args, kwargs, 0, "input", None), argument(args, kwargs, 2, "index", None)
    size = given.shape[int(argument(args, kwargs, 1, "dim", 0))]
    return int(max(given.numel() // max(1, size) * index.numel(), index.numel()))


def _getitem(args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001 - every rule has one signature
    given, index = args[0], args[1]
    if not isinstance(given, Tensor):
        return 0
    entries = list(index) if isinstance(index, tuple) else [index]
    arrays: list[Sequence[int]] = []
    taken = sum(_dims(entry) for entry in entries)
    rest, dim = 1, 0
    for entry in entries:
        if entry is Ellipsis:
            after = dim + given.ndim - taken
            rest, dim = rest * prod(given.shape[dim:after]), after
        elif isinstance(entry, list | Tensor):
            many = _is_mask(entry)
            arrays.append((prod(_shape(entry)),) if many else _shape(entry))
            dim += _dims(entry)
        elif entry is not None and not isinstance(entry, bool):
            rest, dim = rest * (prod(given.shape[dim : dim + 1]) if isinstance(entry, slice) else 1), dim + 1
    picked = broadcast_size(arrays) if arrays else 1
    return max(1, picked) * rest * prod(given.shape[dim:])


def _dims(entry: Any) -> int:
    """How many dimensions an index consumes."""
    if entry is None or entry is Ellipsis or isinstance(entry, bool):
        return 0
    return len(_shape(entry)) if _is_mask(entry) else 1


def _is_mask(entry: Any) -> bool:
    while isinstance(entry, list) and entry:
        entry = entry[0]
    return isinstance(entry, bool) or (isinstance(entry, Tensor) and str(entry.dtype) in ("torch.bool", "torch.uint8"))


def _shape(entry: Any) -> tuple[int, ...]:
    if isinstance(entry, Tensor):
        return tuple(entry.shape)
    found: tuple[int, ...] = ()
    while isinstance(entry, list):
        found, entry = (*found, len(entry)), entry[0] if entry else None
    return found


def _pad(args: Sequence[Any], kwargs: Kwargs) -> int:
    return padded_size(argument(args, kwargs, 0, "input", None), argument(args, kwargs, 1, "pad", ()))


def _interpolate(args: Sequence[Any], kwargs: Kwargs) -> int:
    given = argument(args, kwargs, 0, "input", None)
    return resized_size(given, argument(args, kwargs, 1, "size", None), argument(args, kwargs, 2, "scale_factor", None))


def _pack_padded(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The steps, their numbers, and the order of the rows and back, in integers of eight bytes."""
    given = argument(args, kwargs, 0, "input", None)
    return int(given.numel() + 4 * sum(given.shape[:2]))


def _pad_packed(args: Sequence[Any], kwargs: Kwargs) -> int:
    """The steps of all rows, padded to those of the longest or to `total_length`, and the lengths."""
    packed, total = argument(args, kwargs, 0, "sequence", None), argument(args, kwargs, 3, "total_length", None)
    rows, steps = int(packed.batch_sizes[0]), len(packed.batch_sizes)
    return rows * max(steps, int(total or 0)) * int(prod(packed.data.shape[1:])) + 2 * rows


def _adaptive(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        size = argument(args, kwargs, 1, "output_size", 1)
        return pooled_to_size(argument(args, kwargs, 0, "input", None), for_each_dim(size, dims))

    return rule


def _pool(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        return pooled_size(argument(args, kwargs, 0, "input", None), argument(args, kwargs, 3, "padding", 0), dims)

    return rule


def _conv(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        given, weight = argument(args, kwargs, 0, "input", None), argument(args, kwargs, 1, "weight", None)
        stride, padding = argument(args, kwargs, 3, "stride", 1), argument(args, kwargs, 4, "padding", 0)
        return convolved_size(given, weight, stride, padding, dims)

    return rule


_RULES: dict[str, Callable[[Sequence[Any], Kwargs], int]] = {
    "repeat": _repeat,
    **dict.fromkeys(("zeros", "ones", "full", "eye", "new_zeros", "new_ones", "new_full"), _made),
    "arange": _arange,
    "linspace": _linspace,
    "expand": _expand,
    **dict.fromkeys(("cat", "concat", "stack", "hstack", "vstack"), _all),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "addmm", "baddbmm", "dot"), _product),
    "linear": _linear,
    "bilinear": _bilinear,
    "outer": _outer,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "one_hot": _one_hot,
    "embedding": _embedding,
    "index_select": _index_select,
    "getitem": _getitem,
    "pad": _pad,
    "pack_padded_sequence": _pack_padded,
    "pad_packed_sequence": _pad_packed,
    "interpolate": _interpolate,
    "adaptive_avg_pool1d": _adaptive(1),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive(2)),
    **{f"{kind}_pool{dims}d": _pool(dims) for kind in ("avg", "max") for dims in (1, 2)},
    "conv1d": _conv(1),
    "conv2d": _conv(2),
}

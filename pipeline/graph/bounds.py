"""How many numbers a node makes at most, from the shapes that it is given: arithmetic, before it runs. Independent of
graphs.

Most operations make no more than their operands broadcast to. What can make more has a rule of its own below, by the
name of the function, method or layer. A rule counts the largest result inside the operation, too: attention has its
weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

Kwargs = Mapping[str, Any]
#: Operations whose further tensors are weights, which never make the result larger.
_AS_FIRST = {
    *("batch_norm", "group_norm", "layer_norm", "rms_norm", "prelu", "dropout", "normalize", "threshold"),
    *("flatten", "reshape", "view", "view_as", "contiguous", "clone", "detach", "type_as", "to"),
}
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


def most_numbers(name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """Of a function or method by its last name, as in `repeat`; a method's tensor is the first argument."""
    if name in _RULES:
        return _RULES[name](args, kwargs)
    tensors = list(tensors_of([*args, *kwargs.values()]))
    if name in _AS_FIRST:
        return tensors[0].numel() if tensors else 0
    return _broadcast([tensor.shape for tensor in tensors])


def most_numbers_of_layer(layer: nn.Module, args: Sequence[Any], kwargs: Kwargs) -> int:
    """Of a layer, looked up by its class."""
    for kind in type(layer).__mro__:
        if kind in _LAYERS:
            return _LAYERS[kind](layer, args[0] if args else next(iter(kwargs.values())), args, kwargs)
    return _broadcast([tensor.shape for tensor in tensors_of([*args, *kwargs.values()])])


def depends_on_values(name: str, args: Sequence[Any], kwargs: Kwargs) -> bool:
    """Whether what an operation makes is known by its shapes alone."""
    if name == "one_hot":
        return int(_given(args, kwargs, 1, "num_classes", -1)) < 0
    return name in ("repeat", "expand") and any(isinstance(size, Tensor) for size in _sizes(args, kwargs, "repeats"))


def pieces(name: str, args: Sequence[Any], kwargs: Kwargs) -> int:
    """How many tensors an operation cuts its tensor into: each takes memory, whatever its shape."""
    if name not in ("split", "chunk", "unbind"):
        return 1
    tensor = next(tensors_of([*args, *kwargs.values()]))
    if name == "unbind":
        return int(tensor.shape[int(_given(args, kwargs, 1, "dim", 0))])
    number = _given(args, kwargs, 1, "split_size_or_sections" if name == "split" else "chunks", 1)
    if isinstance(number, list | tuple):
        return len(number)
    size = int(tensor.shape[int(_given(args, kwargs, 2, "dim", 0))])
    return min(size, int(number)) if name == "chunk" else size // max(1, int(number))


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


def _given(args: Sequence[Any], kwargs: Kwargs, at: int, name: str, usual: Any) -> Any:
    return args[at] if at < len(args) else kwargs.get(name, usual)


def _broadcast(shapes: Sequence[Sequence[int]]) -> int:
    """The product of the largest size of each dimension, counted from the last."""
    most = max(map(len, shapes), default=0)
    if not most:
        return min(1, len(shapes))
    return prod(max(shape[-at] for shape in shapes if len(shape) >= at) for at in range(1, most + 1))


def _sizes(args: Sequence[Any], kwargs: Kwargs, name: str) -> list[Any]:
    """Sizes given one by one, as a list, or by name."""
    given = args[1:] or (kwargs.get(name, kwargs.get("size", ())),)
    return list(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else list(given)


def _repeat(args: Sequence[Any], kwargs: Kwargs) -> int:
    return int(args[0].numel()) * prod(int(size) for size in _sizes(args, kwargs, "repeats"))


def _expand(args: Sequence[Any], kwargs: Kwargs) -> int:
    sizes, shape = [int(size) for size in _sizes(args, kwargs, "size")], args[0].shape
    own = [1] * (len(sizes) - len(shape)) + list(shape)
    return int(prod(there if size < 0 else size for size, there in zip(sizes, own, strict=False)))


def _all(args: Sequence[Any], kwargs: Kwargs) -> int:
    return sum(tensor.numel() for tensor in tensors_of([*args, *kwargs.values()]))


def _product(args: Sequence[Any], kwargs: Kwargs) -> int:
    """Of a matrix product of the last two tensors, with what broadcasting copies, and what is added to it."""
    *added, one, other = tensors_of([*args, *kwargs.values()])
    batch = _broadcast([one.shape[:-2], other.shape[:-2]])
    batch = max(1, batch) if one.ndim > 2 or other.ndim > 2 else 1
    n, k = (one.shape[-2] if one.ndim > 1 else 1), one.shape[-1] if one.ndim else 1
    m = other.shape[-1] if other.ndim > 1 else 1
    return int(max(batch * max(n * m, n * k, k * m), *(tensor.numel() for tensor in added), 0))


def _linear(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, weight = _given(args, kwargs, 0, "input", None), _given(args, kwargs, 1, "weight", None)
    return int(max(given.numel(), given.numel() // max(1, weight.shape[-1]) * weight.shape[0]))


def _bilinear(args: Sequence[Any], kwargs: Kwargs) -> int:
    one, other, weight = (
        _given(args, kwargs, at, name, None) for at, name in enumerate(("input1", "input2", "weight"))
    )
    return int(prod(one.shape[:-1]) * max(weight.shape[0], one.shape[-1], other.shape[-1]))


def _outer(args: Sequence[Any], kwargs: Kwargs) -> int:
    return prod(tensor.numel() for tensor in tensors_of([*args, *kwargs.values()]))


def _einsum(args: Sequence[Any], kwargs: Kwargs) -> int:
    """Operands are taken together one after the other; a letter that no later operand or result has is summed."""
    equation = _given(args, kwargs, 0, "equation", None)
    operands: list[Any] = list(tensors_of([*args[1:], *kwargs.values()]))
    if not isinstance(equation, str):  # an operand and the numbers of its dimensions in turn, then those of the result
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
    most, shared = 0, max(1, _broadcast(between)) if any(between) else 1
    for number in range(1, len(terms) + 1):
        there = set("".join(terms[:number])) & set(sizes)
        later = set("".join(terms[number:])) | set(result if "->" in equation else sizes)
        most = max(most, shared * prod(sizes[letter] for letter in there & later))
    return int(max(most, *(tensor.numel() for tensor in operands)))


def _letters(dims: Sequence[Any]) -> str:
    return "".join("..." if dim is Ellipsis else chr(0x100 + int(dim)) for dim in dims)


def _attention(args: Sequence[Any], kwargs: Kwargs) -> int:
    query, key, value = (_given(args, kwargs, at, name, None) for at, name in enumerate(("query", "key", "value")))
    batch = max(1, _broadcast([query.shape[:-2], key.shape[:-2]]))
    return int(batch * max(query.shape[-2] * max(key.shape[-2], query.shape[-1], value.shape[-1]), key.shape[-2]))


def _one_hot(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, classes = _given(args, kwargs, 0, "tensor", None), int(_given(args, kwargs, 1, "num_classes", -1))
    if classes < 0:
        classes = int(given.max()) + 1 if given.numel() else 1
    return int(given.numel()) * max(1, classes)


def _embedding(args: Sequence[Any], kwargs: Kwargs) -> int:
    return int(_given(args, kwargs, 0, "input", None).numel() * _given(args, kwargs, 1, "weight", None).shape[-1])


def _index_select(args: Sequence[Any], kwargs: Kwargs) -> int:
    given, index = _given(args, kwargs, 0, "input", None), _given(args, kwargs, 2, "index", None)
    size = given.shape[int(_given(args, kwargs, 1, "dim", 0))]
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
    picked = _broadcast(arrays) if arrays else 1
    return max(1, picked) * rest * prod(given.shape[dim:])


def _dims(entry: Any) -> int:
    """How many dimensions one index is of."""
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
    return _padded(_given(args, kwargs, 0, "input", None), _given(args, kwargs, 1, "pad", ()))


def _padded(given: Tensor, pad: Any) -> int:
    """`pad`: two numbers a dimension, from the last."""
    pad = [int(number) for number in pad]
    sizes = list(given.shape)
    for at in range(len(pad) // 2):
        sizes[-1 - at] += max(0, pad[2 * at]) + max(0, pad[2 * at + 1])
    return prod(sizes)


def _interpolate(args: Sequence[Any], kwargs: Kwargs) -> int:
    given = _given(args, kwargs, 0, "input", None)
    return _resized(given, _given(args, kwargs, 1, "size", None), _given(args, kwargs, 2, "scale_factor", None))


def _resized(given: Tensor, size: Any, scale: Any) -> int:
    dims = given.ndim - 2
    sizes = [int(one) for one in _each(size, dims)] if size is not None else None
    if sizes is None:
        factors = [float(one) for one in _each(scale if scale is not None else 1, dims)]
        sizes = [int(there * factor) + 1 for there, factor in zip(given.shape[2:], factors, strict=True)]
    return max(given.numel(), prod(given.shape[:2]) * prod(sizes))


def _each(value: Any, dims: int) -> list[Any]:
    """One value for each dimension."""
    return list(value) if isinstance(value, list | tuple) else [value] * dims


def _adaptive(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        size = _given(args, kwargs, 1, "output_size", 1)
        return _to_size(_given(args, kwargs, 0, "input", None), _each(size, dims))

    return rule


def _to_size(given: Tensor, size: Sequence[Any]) -> int:
    """`size`: what the last dimensions are pooled to, None where one stays."""
    ends = given.shape[given.ndim - len(size) :]
    sizes = [there if one is None else int(one) for one, there in zip(size, ends, strict=True)]
    return max(given.numel(), prod(given.shape[: given.ndim - len(size)]) * prod(sizes))


def _pooled(given: Tensor, padding: Any, dims: int) -> int:
    wide = [there + 2 * int(pad) for there, pad in zip(given.shape[-dims:], _each(padding, dims), strict=True)]
    return prod(given.shape[:-dims]) * prod(wide)


def _pool(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        return _pooled(_given(args, kwargs, 0, "input", None), _given(args, kwargs, 3, "padding", 0), dims)

    return rule


def _conv(dims: int) -> Callable[[Sequence[Any], Kwargs], int]:
    def rule(args: Sequence[Any], kwargs: Kwargs) -> int:
        given, weight = _given(args, kwargs, 0, "input", None), _given(args, kwargs, 1, "weight", None)
        stride, padding = _given(args, kwargs, 3, "stride", 1), _given(args, kwargs, 4, "padding", 0)
        return _convolved(given, weight, stride, padding, dims)

    return rule


def _convolved(given: Tensor, weight: Tensor, stride: Any, padding: Any, dims: int) -> int:
    if isinstance(padding, str):  # the size stays, or shrinks
        padding = list(weight.shape[-dims:])
    sizes = given.shape[-dims:]
    wide = [size + 2 * int(pad) for size, pad in zip(sizes, _each(padding, dims), strict=True)]
    made = [size // max(1, int(step)) + 1 for size, step in zip(wide, _each(stride, dims), strict=True)]
    rows = prod(given.shape[:-dims]) // max(1, given.shape[-dims - 1])
    return rows * max(weight.shape[0] * prod(made), given.shape[-dims - 1] * prod(sizes))


def _conv_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001
    dims = len(layer.kernel_size)
    made = _convolved(given, layer.weight, layer.stride, layer.padding, dims)
    padded = _padded(given, layer._reversed_padding_repeated_twice) if layer.padding_mode != "zeros" else 0
    return max(made, padded)


def _transposed_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001
    dims = len(layer.kernel_size)
    sizes = [
        (size - 1) * step + hole * (kernel - 1) + more + 1
        for size, step, hole, kernel, more in zip(
            given.shape[-dims:], layer.stride, layer.dilation, layer.kernel_size, layer.output_padding, strict=True
        )
    ]
    rows = prod(given.shape[:-dims]) // max(1, given.shape[-dims - 1])
    return int(max(given.numel(), rows * layer.out_channels * prod(sizes)))


def _recurrent_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001
    rows = given.numel() // max(1, given.shape[-1])
    wide = _GATES[layer.mode] * layer.hidden_size * (1 + layer.bidirectional)
    return int(max(given.numel(), rows * wide))


def _attention_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:
    key = _given(args, kwargs, 1, "key", given)
    rows, length = _rows_and_steps(given, batch_first=layer.batch_first)
    steps = _rows_and_steps(key, batch_first=layer.batch_first)[1] + 2  # add_bias_kv, add_zero_attn
    return int(max(rows * layer.num_heads * length * steps, rows * max(length, steps) * 3 * layer.embed_dim))


def _encoder_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:
    wide = given.numel() // max(1, given.shape[-1]) * layer.linear1.out_features
    return int(max(_attention_layer(layer.self_attn, given, (given, given, *args[2:]), kwargs), wide))


def _rows_and_steps(given: Tensor, *, batch_first: bool) -> tuple[int, int]:
    if given.ndim < 3:
        return 1, given.shape[0]
    return (given.shape[0], given.shape[1]) if batch_first else (given.shape[1], given.shape[0])


_RULES: dict[str, Callable[[Sequence[Any], Kwargs], int]] = {
    "repeat": _repeat,
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
    "interpolate": _interpolate,
    "adaptive_avg_pool1d": _adaptive(1),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive(2)),
    **{f"{kind}_pool{dims}d": _pool(dims) for kind in ("avg", "max") for dims in (1, 2)},
    "conv1d": _conv(1),
    "conv2d": _conv(2),
}
LayerBound = Callable[[Any, Tensor, Sequence[Any], Kwargs], int]


def _pool_layer(dims: int) -> LayerBound:
    return lambda layer, given, _args, _kwargs: _pooled(given, layer.padding, dims)


def _adaptive_layer(dims: int) -> LayerBound:
    return lambda layer, given, _args, _kwargs: _to_size(given, _each(layer.output_size, dims))


_LAYERS: dict[type[nn.Module], LayerBound] = {
    nn.Linear: lambda layer, given, _args, _kwargs: max(
        given.numel(), given.numel() // max(1, layer.in_features) * layer.out_features
    ),
    nn.Bilinear: lambda layer, _given, args, kwargs: _bilinear(args, {**kwargs, "weight": layer.weight}),
    nn.Embedding: lambda layer, given, _args, _kwargs: given.numel() * layer.embedding_dim,
    nn.LocalResponseNorm: lambda layer, given, _args, _kwargs: (
        given.numel() // max(1, given.shape[1]) * (given.shape[1] + layer.size)
    ),
    nn.Upsample: lambda layer, given, _args, _kwargs: _resized(given, layer.size, layer.scale_factor),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d), _conv_layer),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d), _transposed_layer),
    **{
        kind: _pool_layer(dims)
        for kind, dims in ((nn.MaxPool1d, 1), (nn.MaxPool2d, 2), (nn.AvgPool1d, 1), (nn.AvgPool2d, 2))
    },
    **{
        kind: _adaptive_layer(dims)
        for kind, dims in (
            (nn.AdaptiveAvgPool1d, 1), (nn.AdaptiveMaxPool1d, 1), (nn.AdaptiveAvgPool2d, 2), (nn.AdaptiveMaxPool2d, 2),
        )
    },
    **dict.fromkeys(
        (nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d),
        lambda layer, given, _args, _kwargs: _padded(given, layer.padding),
    ),
    nn.RNNBase: _recurrent_layer,
    nn.MultiheadAttention: _attention_layer,
    nn.TransformerEncoderLayer: _encoder_layer,
}  # fmt: skip

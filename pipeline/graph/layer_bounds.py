"""Upper bounds on how many numbers a layer makes, looked up by its class."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .bounds import most_numbers
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

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}
LayerBound = Callable[[Any, Tensor, Sequence[Any], Kwargs], int]


def most_numbers_of_layer(layer: nn.Module, args: Sequence[Any], kwargs: Kwargs) -> int:
    """The bound for one call of a layer."""
    for kind in type(layer).__mro__:
        if kind in _LAYERS:
            return _LAYERS[kind](layer, args[0] if args else next(iter(kwargs.values())), args, kwargs)
    return broadcast_size([tensor.shape for tensor in tensors_of([*args, *kwargs.values()])])


def _conv_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001
    dims = len(layer.kernel_size)
    made = convolved_size(given, layer.weight, layer.stride, layer.padding, dims)
    padded = padded_size(given, layer._reversed_padding_repeated_twice) if layer.padding_mode != "zeros" else 0
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


def _recurrent_layer(layer: Any, given: Any, args: Sequence[Any], kwargs: Kwargs) -> int:  # noqa: ARG001
    if isinstance(given, PackedSequence):
        given = given.data
    rows = given.numel() // max(1, given.shape[-1])
    wide = _GATES[layer.mode] * layer.hidden_size * (1 + layer.bidirectional)
    return int(max(given.numel(), rows * wide))


def _attention_layer(layer: Any, given: Tensor, args: Sequence[Any], kwargs: Kwargs) -> int:
    key = argument(args, kwargs, 1, "key", given)
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


def _pool_layer(dims: int) -> LayerBound:
    return lambda layer, given, _args, _kwargs: pooled_size(given, layer.padding, dims)


def _adaptive_layer(dims: int) -> LayerBound:
    return lambda layer, given, _args, _kwargs: pooled_to_size(given, for_each_dim(layer.output_size, dims))


_LAYERS: dict[type[nn.Module], LayerBound] = {
    nn.Linear: lambda layer, given, _args, _kwargs: max(
        given.numel(), given.numel() // max(1, layer.in_features) * layer.out_features
    ),
    nn.Bilinear: lambda layer, _given, args, kwargs: most_numbers("bilinear", args, {**kwargs, "weight": layer.weight}),
    nn.Embedding: lambda layer, given, _args, _kwargs: given.numel() * layer.embedding_dim,
    nn.LocalResponseNorm: lambda layer, given, _args, _kwargs: (
        given.numel() // max(1, given.shape[1]) * (given.shape[1] + layer.size)
    ),
    nn.Upsample: lambda layer, given, _args, _kwargs: resized_size(given, layer.size, layer.scale_factor),
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
        lambda layer, given, _args, _kwargs: padded_size(given, layer.padding),
    ),
    nn.RNNBase: _recurrent_layer,
    nn.MultiheadAttention: _attention_layer,
    nn.TransformerEncoderLayer: _encoder_layer,
}  # fmt: skip

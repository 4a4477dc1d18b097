"""The ATen operators that a captured graph may call, by the full name of an overload, as in `aten.add.Tensor`.

The list names operators that compute from their arguments alone. Of each, the overloads that are functional are
allowed: those whose schema writes to no argument and takes no random generator. Not on the list are operators that draw
random numbers (`rand`, `dropout`), read memory that nothing has filled (`empty`, `as_strided`), or whose result has a
size that depends on values (`nonzero`, `masked_select`, `item`). Independent of graphs.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

_ELEMENTWISE = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clamp", "clamp_max",
    "clamp_min", "clip", "copysign", "cos", "cosh", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp",
    "exp2", "expm1", "floor", "fmod", "frac", "hypot", "isfinite", "isinf", "isnan", "lerp", "lgamma", "log",
    "log10", "log1p", "log2", "logit", "nan_to_num", "neg", "pow", "rad2deg", "reciprocal", "remainder",
    "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
    "xlogy", "add", "sub", "rsub", "mul", "div", "floor_divide", "true_divide", "addcdiv", "addcmul", "maximum",
    "minimum", "fmax", "fmin", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_not", "logical_or",
    "logical_xor", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__",
    "where", "masked_fill", "bucketize", "searchsorted", "one_hot",
)  # fmt: skip
_ACTIVATIONS = (
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "_log_softmax", "mish", "prelu", "_prelu_kernel", "relu", "relu6", "selu",
    "silu", "softmax", "_softmax", "softplus", "softshrink", "threshold",
)  # fmt: skip
_REDUCTIONS = (
    "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "count_nonzero", "cummax", "cummin", "cumprod",
    "cumsum", "linalg_vector_norm", "logcumsumexp", "logsumexp", "max", "mean", "median", "min", "norm", "prod",
    "sort", "std", "std_mean", "sum", "topk", "var", "var_mean",
)  # fmt: skip
_MATRICES = (
    "addbmm", "addmm", "addmv", "baddbmm", "bilinear", "bmm", "cdist", "_cdist_forward", "cosine_similarity",
    "diag_embed", "diagonal", "dot", "einsum", "linalg_cross", "linear", "matmul", "mm", "mv", "outer",
    "pairwise_distance", "scaled_dot_product_attention", "tril", "triu",
)  # fmt: skip
_SHAPES = (
    "alias", "cat", "chunk", "clone", "contiguous", "detach", "expand", "expand_as", "flatten", "flip",
    "gather", "index", "index_add", "index_copy", "index_put", "index_select", "movedim", "narrow", "permute",
    "repeat", "repeat_interleave", "reshape", "roll", "scatter", "scatter_add", "scatter_reduce", "select",
    "select_scatter", "slice", "slice_scatter", "split", "split_with_sizes", "squeeze", "stack", "swapaxes",
    "t", "take_along_dim", "tile", "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view",
    "sym_size", "copy", "fill", "to", "_to_copy", "type_as", "arange", "eye", "full", "full_like", "linspace",
    "new_full", "new_ones", "new_zeros", "ones", "ones_like", "scalar_tensor", "zeros", "zero", "zeros_like",
)  # fmt: skip
_LAYERS = (
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm",
    "channel_shuffle", "col2im", "constant_pad_nd", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "embedding", "embedding_bag",
    "grid_sampler", "group_norm", "gru", "gru_cell", "im2col", "instance_norm", "layer_norm", "lstm",
    "lstm_cell", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d",
    "pad", "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d",
    "replication_pad1d", "replication_pad2d", "rms_norm", "rnn_relu", "rnn_relu_cell", "rnn_tanh",
    "rnn_tanh_cell", "upsample_bicubic2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa", "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
NAMES = (*_ELEMENTWISE, *_ACTIVATIONS, *_REDUCTIONS, *_MATRICES, *_SHAPES, *_LAYERS)

#: Arguments that decide where or how a result is stored. A graph does not set them, but for the device of an input.
_STORAGE = {"device", "layout", "memory_format", "non_blocking", "out", "pin_memory"}
_REFUSED_TYPES = ("Dict[", "Dimname", "Generator", "Storage", "Stream")
#: Overloads whose result has a size that depends on values.
_BY_VALUES = {
    *("aten.repeat_interleave.Tensor", "aten.repeat_interleave.self_Tensor"),
    *("aten.gru.data", "aten.lstm.data", "aten.rnn_relu.data", "aten.rnn_tanh.data", "aten.where.default"),
}


@cache
def operators() -> Mapping[str, Any]:
    """Every allowed overload by its full name."""
    found: dict[str, Any] = {}
    for name in NAMES:
        packet = getattr(torch.ops.aten, name, None)
        for overload in packet.overloads() if packet is not None else ():  # some are newer than the oldest torch
            operator = getattr(packet, overload)
            full = f"aten.{name}.{overload}"
            untyped = overload.startswith("prim_")  # takes any integer as a dtype
            if full not in _BY_VALUES and not untyped and _is_functional(operator._schema):
                found[full] = operator
    return found


def _is_functional(schema: Any) -> bool:
    for argument in schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            return False
        if any(kind in str(argument.real_type) for kind in _REFUSED_TYPES):
            return False
        if argument.name in _STORAGE and not (argument.kwarg_only or argument.has_default_value()):
            return False
    return "Tensor" in str(schema) and not any(argument.is_out for argument in schema.arguments)


def short_name(full: str) -> str:
    """`add` of `aten.add.Tensor`; of any other name its last part."""
    parts = full.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) == 3 else parts[-1]


def argument_types(full: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Each argument of a call with its name and its type in the schema.

    Raises:
        ValueError: there are more arguments than the operator takes, or one of another name.
    """
    schema = operators()[full]._schema
    known = {argument.name: str(argument.real_type) for argument in schema.arguments}
    positional = [argument.name for argument in schema.arguments if not argument.kwarg_only]
    if len(args) > len(positional):
        raise ValueError(f"{full} takes {len(positional)} arguments, not {len(args)}")
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise ValueError(f"{full} has no argument {unknown[0]!r}")
    given = {**dict(zip(positional, args, strict=False)), **kwargs}
    return [(name, known[name], value) for name, value in given.items()]


def sets_storage(name: str) -> bool:
    """Whether an argument of this name decides where or how a result is stored."""
    return name in _STORAGE

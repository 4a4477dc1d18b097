"""What a graph may contain: the allow-lists of layers, functions, methods, attributes and dtypes.

A graph file names operations; the names are keys of the dictionaries here and nothing else. No name in a
file is looked up as an attribute, imported or evaluated. To allow an operation, add it here: it must compute
from its arguments alone, without drawing random numbers and without access to files, code or other devices.
Independent of graphs.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from . import packing

LAYERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        nn.Linear, nn.Bilinear, nn.Embedding, nn.Identity, nn.Flatten, nn.Unflatten,
        nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.RMSNorm, nn.LocalResponseNorm,
        nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout,
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.GLU,
        nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
        nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Threshold,
        nn.Softmax, nn.Softmin, nn.LogSoftmax, nn.CosineSimilarity,
        nn.Conv1d, nn.Conv2d, nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
        nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
        nn.ConvTranspose1d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.Upsample, nn.PixelShuffle, nn.Softmax2d,
        nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
        nn.RNN, nn.GRU, nn.LSTM, nn.MultiheadAttention,
        nn.TransformerEncoderLayer,
    )
}  # fmt: skip

_TENSOR_FUNCTIONS = (
    "abs", "add", "addcmul", "addmm", "amax", "amin", "argmax", "argmin", "baddbmm", "bmm", "cat", "ceil", "chunk",
    "clamp", "clip", "concat", "cos", "cosh", "cumsum", "div", "divide", "dot", "einsum", "eq", "erf", "exp",
    "expm1", "flatten", "flip", "floor", "full_like", "ge", "gt", "hstack", "index_select", "isfinite", "isinf",
    "isnan", "le", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or", "logsumexp", "lt",
    "matmul", "max", "maximum", "mean", "min", "minimum", "mm", "movedim", "mul", "multiply", "mv", "narrow", "ne",
    "neg", "norm", "ones_like", "outer", "permute", "pow", "prod", "reciprocal", "relu", "reshape", "roll", "round",
    "rsqrt", "select", "selu", "sigmoid", "sign", "sin", "sinh", "softmax", "sort", "log_softmax", "split", "sqrt",
    "square", "squeeze", "stack", "std", "sub", "subtract", "sum", "swapaxes", "tan", "tanh", "transpose", "unbind",
    "unsqueeze", "var", "vstack", "where", "zeros_like", "gather", "take_along_dim",
)  # fmt: skip

_NN_FUNCTIONS = (
    "batch_norm", "bilinear", "celu", "cosine_similarity", "dropout", "elu", "embedding", "gelu", "glu",
    "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "logsigmoid", "mish", "normalize", "one_hot", "pad", "prelu", "relu", "relu6", "rms_norm",
    "scaled_dot_product_attention", "selu", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "conv1d",
    "conv2d", "interpolate", "max_pool1d", "max_pool2d", "pixel_shuffle",
)  # fmt: skip

_OPERATORS = (
    "abs", "add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "iadd", "imul", "invert", "isub", "itruediv",
    "le", "lt", "matmul", "mod", "mul", "ne", "neg", "or_", "pow", "sub", "truediv",
)  # fmt: skip

#: Operators that could run forever on numbers or text from a file.
_ARITHMETIC = {"add", "floordiv", "iadd", "imul", "isub", "itruediv", "mod", "mul", "pow", "sub", "truediv"}
#: Operators that overwrite their first argument.
IN_PLACE = {f"operator.{name}" for name in ("iadd", "imul", "isub", "itruediv")}
_LARGEST = 2**63
#: The most entries of a shape or list of tensors that is concatenated from others.
_LONGEST = 1 << 12


def _on_tensors_and_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Restrict an operator to what models need: tensors, shapes, and numbers of a reasonable size."""

    @functools.wraps(function)
    def guarded(*args: Any) -> Any:
        if any(isinstance(arg, torch.Tensor) for arg in args):
            if not all(isinstance(arg, torch.Tensor | int | float) for arg in args):
                raise ValueError(f"{function.__name__} of {[type(arg).__name__ for arg in args]}")
            return function(*args)
        if function is operator.add and all(isinstance(arg, tuple | list) for arg in args):
            if sum(map(len, args)) > _LONGEST:
                raise ValueError(f"a list of more than {_LONGEST} entries")
            if any(isinstance(entry, tuple | list) for arg in args for entry in arg):  # they could double at each node
                raise ValueError("lists within lists")
            return function(*args)
        if not all(isinstance(arg, int | float) and abs(arg) < _LARGEST for arg in args):
            raise ValueError(f"{function.__name__} of {[type(arg).__name__ for arg in args]}")
        if function is operator.pow and abs(args[1]) > 64:
            raise ValueError(f"a power of {args[1]}")
        return function(*args)

    return guarded


@functools.wraps(functional.embedding)
def _embedding(indices: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`functional.embedding`. With `max_norm`, it looks up shortened rows in a copy, and not in the weights."""
    max_norm = args[1] if len(args) > 1 else kwargs.get("max_norm")
    return functional.embedding(indices, weight if max_norm is None else weight.clone(), *args, **kwargs)


#: Functions that make a tensor from sizes alone, on the device of the inputs.
CREATORS = ("arange", "eye", "full", "linspace", "ones", "zeros")
#: Python numbers from sizes, in exported graphs.
_SIZES = ("sym_float", "sym_int", "sym_max", "sym_min", "sym_not")

_PLAIN = {
    **{f"torch.{name}": getattr(torch, name) for name in (*_SIZES, *CREATORS)},
    **{f"torch.{name}": getattr(torch, name) for name in _TENSOR_FUNCTIONS},
    **{f"functional.{name}": getattr(functional, name) for name in _NN_FUNCTIONS},
    **{f"operator.{name}": getattr(operator, name) for name in _OPERATORS},
    **packing.FUNCTIONS,
    "math.sqrt": math.sqrt,
    "math.log": math.log,
}
_GUARDED = {f"operator.{name}" for name in _ARITHMETIC} | {f"torch.{name}" for name in _SIZES}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _on_tensors_and_sizes(function) if name in _GUARDED else function for name, function in _PLAIN.items()
} | {"functional.embedding": _embedding}
_METHOD_ONLY = (
    "bool", "clone", "contiguous", "detach", "dim", "double", "expand", "expand_as", "float", "int", "long",
    "masked_fill", "new_full", "new_ones", "new_zeros", "numel", "repeat", "size", "t", "to", "type_as",
    "unflatten", "view", "view_as",
)  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(torch.Tensor, name) for name in (*_TENSOR_FUNCTIONS, *_METHOD_ONLY) if hasattr(torch.Tensor, name)
}

ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "shape": lambda tensor: tensor.shape,
    "dtype": lambda tensor: tensor.dtype,
    "ndim": lambda tensor: tensor.ndim,
    "device": lambda tensor: tensor.device,
    "T": lambda tensor: tensor.T,
    "mT": lambda tensor: tensor.mT,
    # of what torch.max(x, dim=1) and similar functions return
    "values": lambda pair: pair[0],
    "indices": lambda pair: pair[1],
}

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "bool": torch.bool,
}

FUNCTION_NAMES = {function: name for name, function in reversed(_PLAIN.items())}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

#: Parameters of constructors that do not affect what a layer computes, or are saved elsewhere.
_NOT_SAVED = {"self", "device", "dtype", "_weight", "_freeze", "min_value", "max_value", "args", "kwargs"}
#: Parameters that a layer keeps as a tensor or None; recurrent layers keep the flag itself.
_SAVED_AS_FLAG = {"bias"}
#: Layers whose constructor arguments are not all attributes of the same name.
_OWN_ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "MultiheadAttention": lambda layer: {
        "embed_dim": layer.embed_dim,
        "num_heads": layer.num_heads,
        "dropout": layer.dropout,
        "bias": layer.in_proj_bias is not None,
        "add_bias_kv": layer.bias_k is not None,
        "add_zero_attn": layer.add_zero_attn,
        "kdim": layer.kdim,
        "vdim": layer.vdim,
        "batch_first": layer.batch_first,
    },
    "TransformerEncoderLayer": lambda layer: {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": {functional.relu: "relu", functional.gelu: "gelu"}[layer.activation],
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    },
}


def layer_parameters(layer: type[nn.Module]) -> tuple[str, ...]:
    """The constructor arguments of an allow-listed layer that a graph keeps."""
    if layer in (nn.RNN, nn.GRU, nn.LSTM):
        own = {nn.RNN: ("nonlinearity",), nn.LSTM: ("proj_size",)}.get(layer, ())
        return (
            *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"),
            *own,
        )
    return tuple(name for name in inspect.signature(layer.__init__).parameters if name not in _NOT_SAVED)


def layer_arguments(module: nn.Module) -> dict[str, Any]:
    """The constructor arguments that build an equal layer, read from its attributes."""
    if type(module).__name__ in _OWN_ARGUMENTS:
        return _OWN_ARGUMENTS[type(module).__name__](module)
    found = {name: getattr(module, name) for name in layer_parameters(type(module))}
    for name in _SAVED_AS_FLAG & found.keys():
        found[name] = found[name] if isinstance(found[name], bool) else found[name] is not None
    return found

"""Converts a float32 model to a lower precision. TF32 converts nothing: it is a setting of the GPU (`tf32.py`).
Independent of files and columns.

The conversion does not depend on the rows of a block, so that a row's score does not depend on the other rows:
activations are never scaled by values of other rows.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BundleError, GoldenMismatchError, UsageError
from ..graph.interpreter import GraphModel
from ..options import Precision
from .loading import OnnxModel

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: The precisions that store every number in 16 bits.
HALF = tuple(_DTYPES)
#: Factors on the tolerance for golden rows: a few roundings of each format, whose unit is 2^-11, 2^-8, 2^-11, 2^-7 of
#: a value.
TOLERANCE = {"fp32": 1.0, "tf32": 100.0, "bf16": 500.0, "fp16": 100.0, "int8": 500.0}


def reduced(module: nn.Module, precision: Precision) -> nn.Module:
    """Convert a module to another precision, in place; its outputs stay float32. For TF32 nothing is converted.

    Raises:
        UsageError: the layers of the model cannot be converted (ONNX, TorchScript, .pt2), or torch does not run it.
    """
    if precision == "fp32":
        return module
    if precision == "tf32":
        if isinstance(module, OnnxModel):
            raise UsageError(
                "--precision tf32 is a setting of torch, but onnxruntime runs this model; save the module itself, or"
                " use --precision fp32"
            )
        return module
    if not any(isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) for layer in module.modules()):
        raise UsageError(
            f"--precision {precision} converts layers, and this model has none that can be converted (those of ONNX,"
            " TorchScript and .pt2 cannot); save the module itself, or use --precision fp32"
        )
    if precision == "int8":
        _replace_linears(module)
        return module
    dtype = _DTYPES[precision]
    if isinstance(module, GraphModel):
        module.follow(dtype)
    return _Cast(module.to(dtype), dtype)


def make_channels_last(module: nn.Module) -> None:
    """Lay out the weights of two-dimensional convolutions channels last, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


def precision_mismatch(error: BundleError, precision: Precision, largest: float) -> GoldenMismatchError:
    """The error for golden rows that are reproduced in fp32, within `largest`, but not in another precision."""
    finding = error.finding if isinstance(error, GoldenMismatchError) else str(error)
    return GoldenMismatchError(
        f"golden rows are reproduced in fp32, within {largest:.3g}, but not in {precision}: {finding}; the precision is"
        " the cause: use --precision fp32"
    )


class _Cast(nn.Module):
    """Runs a module in half precision: floating-point inputs are cast, outputs are float32, indices stay."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._inner, self._dtype = module, dtype

    def forward(self, *inputs: Any) -> Any:
        return _cast(self._inner(*(_cast(given, self._dtype) for given in inputs)), torch.float32)


class Int8Linear(nn.Module):
    """A Linear whose weights are int8 with one scale for each output: `W ≈ q · s`, `s = max|W| / 127` over the inputs.
    They are converted back for every pass, so the time stays the same; the weights take a quarter of the memory."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(weight.dtype).tiny) / 127
        self.register_buffer("weight", torch.round(weight / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """`[…, in]` → `[…, out]`."""
        product = nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale
        return product if self.bias is None else product + self.bias


def _replace_linears(module: nn.Module) -> None:
    for name, layer in module.named_children():
        if type(layer) is nn.Linear:  # attention has a subclass of Linear, whose weights it reads directly
            setattr(module, name, Int8Linear(layer))
        elif not isinstance(layer, nn.TransformerEncoderLayer):  # which also reads weights directly
            _replace_linears(layer)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: _cast(entry, dtype) for name, entry in value.items()}
    return type(value)(_cast(entry, dtype) for entry in value) if isinstance(value, list | tuple) else value

"""Linear layers by oneDNN instead of MKL on x86 processors.

torch contains both libraries, and multiplies float32 matrices by MKL, which does not use AVX-512 on processors of AMD.
There oneDNN takes 0.45 times as long, and with AVX2 alone 0.7 to 0.9 times (measured, docs/explanation/benchmarks.md).
With either, the last bits may depend on the number of threads: models run on one (`modes.py`).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from ..graph.interpreter import GraphModel
from .blocks import power_of_two

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

#: Calling oneDNN takes 9 µs longer than calling MKL. It has made up for that from about this number of multiplications.
FEWEST_PRODUCTS = 1 << 20
FEWEST_ROWS = 64
#: The most products that one is divided into.
MOST_PIECES = 3
#: Columns that are transposed together. More of them do not fit into the first cache, where rows are a power of two
#: apart (measured with 30, 100 and 1,000 columns: 0.2 to 0.5 times as long as all of them together).
COLUMNS_AT_ONCE = 8


_thread = threading.local()


class OneDnnLinear(nn.Linear):
    """An `nn.Linear` that `linear` computes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of nn.Linear
        """`[…, in_features]` → `[…, out_features]`."""
        return linear(input, self.weight, self.bias)


class OneDnnEncoderLayer(nn.TransformerEncoderLayer):
    """An `nn.TransformerEncoderLayer` that does not take torch's fast path, which reads the weights of its layers, and
    whose attention multiplies by `linear`, too."""

    @property
    def activation_relu_or_gelu(self) -> int:  # type: ignore[override]
        """That of no activation that the fast path knows, whatever the layer was made with."""
        return 0

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        """Self-attention `[rows, steps, width]`, as `functional.multi_head_attention_forward` computes it. Where torch
        has no method of this name, this one is not called."""
        layer = self.self_attn
        if is_causal or not _is_common(layer, x) or (attn_mask is not None and attn_mask.dim() != 2):
            by_torch: Tensor = super()._sa_block(x, attn_mask, key_padding_mask, is_causal=is_causal)
            return by_torch
        (rows, steps, width), heads = x.shape, layer.num_heads
        parts = linear(x, layer.in_proj_weight, layer.in_proj_bias).view(rows, steps, 3, heads, width // heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = attn_mask
        if key_padding_mask is not None:
            padding = key_padding_mask.view(rows, 1, 1, steps)
            mask = padding if mask is None else mask + padding
        found = functional.scaled_dot_product_attention(query, key, value, mask)
        joined = linear(found.transpose(1, 2).reshape(x.shape), layer.out_proj.weight, layer.out_proj.bias)
        dropped: Tensor = self.dropout1(joined)
        return dropped


def _is_common(layer: nn.MultiheadAttention, values: Tensor) -> bool:
    """Whether attention over rows of steps is the usual one, and `linear` multiplies it by oneDNN."""
    return (
        values.dim() == 3
        and values.shape[-1] == layer.embed_dim
        and not layer.training
        and layer.batch_first
        and layer.in_proj_weight is not None
        and layer.bias_k is None
        and not layer.add_zero_attn
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and _suits(values, layer.in_proj_weight, layer.in_proj_bias)
    )


#: The classes in place of those of torch. A layer keeps its tensors.
CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: OneDnnLinear,
    nn.TransformerEncoderLayer: OneDnnEncoderLayer,
}


def use_onednn(module: nn.Module, device: torch.device) -> None:
    """Compute the Linear layers of a graph, and its nodes that are calls of `linear`, by oneDNN where it runs on an x86
    processor. Modules of foreign code are left as they are: they may look at their layers, or compute with tensors and
    in modes that oneDNN's product does not know.
    """
    if isinstance(module, GraphModel) and device.type == "cpu" and is_available():
        module.substitute({functional.linear: linear, torch.ops.aten.linear.default: linear})
        _replace_classes(module, CLASSES)


def use_mkl(module: nn.Module) -> bool:
    """Undo `use_onednn`. Returns whether it had an effect."""
    nodes = module.substitute({linear: functional.linear}) if isinstance(module, GraphModel) else 0
    return bool(nodes + _replace_classes(module, {other: own for own, other in CLASSES.items()}))


def _replace_classes(module: nn.Module, classes: Mapping[type[nn.Module], type[nn.Module]]) -> int:
    """Replace the classes of layers. Returns of how many."""
    layers = [layer for layer in module.modules() if type(layer) in classes]
    for layer in layers:
        layer.__class__ = classes[type(layer)]
    return len(layers)


@contextmanager
def for_few_rows() -> Iterator[None]:
    """Multiply few rows by oneDNN, too, in this thread: golden rows are few, but test what multiplies full passes."""
    _thread.takes_few = True
    try:
        yield
    finally:
        _thread.takes_few = False


def is_available() -> bool:
    """Whether torch has oneDNN's products of matrices, and the processor is an x86 with AVX2. The caller's switch of
    oneDNN does not matter: it is on while models run (`modes.py`)."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return built and is_x86 and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 - as in torch
    """`input · weightᵀ + bias`, as `functional.linear` computes it; by oneDNN where the values are float32, no
    gradients are recorded, and there are enough of them.

    oneDNN compiles a kernel for each number of rows, in 0.3 ms, and keeps it in about 1 MB. Therefore rows are divided
    into a few powers of two, and MKL multiplies what is left. A full forward pass is a power of two.
    """
    if not _suits(input, weight, bias):
        return functional.linear(input, weight, bias)
    product: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default
    width = weight.shape[1]
    rows, count, start = _row_major(input), input.numel() // width, 0
    pieces: list[Tensor] = []
    if power_of_two(count) == count:
        return product(rows, weight, bias, "none", [], "")
    fewest = 1 if _takes_few() else max(FEWEST_ROWS, FEWEST_PRODUCTS // weight.numel())
    rows = rows.view(count, width)
    while count - start >= fewest and len(pieces) < MOST_PIECES:
        stop = start + power_of_two(count - start)
        pieces.append(product(rows[start:stop], weight, bias, "none", [], ""))
        start = stop
    if start < count:
        pieces.append(functional.linear(rows[start:], weight, bias))
    return torch.cat(pieces).view(*input.shape[:-1], weight.shape[0])


def _takes_few() -> bool:
    return getattr(_thread, "takes_few", False)


def _suits(values: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN can multiply the tensors, and is faster."""
    if values.dim() < 2 or weight.dim() != 2 or not values.numel() or not weight.numel():
        return False
    width = values.shape[-1]
    is_few = values.numel() < FEWEST_ROWS * width or values.numel() * weight.shape[0] < FEWEST_PRODUCTS
    if is_few and not _takes_few():
        return False
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if not (_is_plain(values) and _is_plain(weight) and weight.is_contiguous() and weight.shape[1] == width):
        return False
    if bias is not None and not (_is_plain(bias) and bias.shape == weight.shape[:1] and bias.is_contiguous()):
        return False  # oneDNN takes any bias for a contiguous one
    return values.is_contiguous() or (values.dim() == 2 and values.stride(0) == 1)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is float32, on the CPU, and of no other class, such as that of tensors without values."""
    return (
        tensor.dtype is torch.float32
        and tensor.is_cpu
        and (type(tensor) is torch.Tensor or type(tensor) is nn.Parameter)
    )


def _row_major(values: Tensor) -> Tensor:
    """Contiguous values. A table comes column by column and is transposed a few columns at a time."""
    if values.is_contiguous():
        return values
    found = torch.empty(values.shape, dtype=values.dtype)
    for start in range(0, values.shape[1], COLUMNS_AT_ONCE):
        columns = slice(start, start + COLUMNS_AT_ONCE)
        found[:, columns] = values[:, columns]
    return found

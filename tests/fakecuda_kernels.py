"""What operations of the emulated GPU do otherwise than those of a CPU: they wait for the device, or are less exact."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Operations after which the host has waited for the device.
_WAITING = {
    "__bool__", "__contains__", "__float__", "__index__", "__int__", "_unique2", "argwhere", "equal", "is_nonzero",
    "item", "masked_select", "nonzero", "repeat_interleave", "tolist", "unique", "unique_dim",
}  # fmt: skip
INDEXING = {"__getitem__", "__setitem__"}
#: Operations on packed sequences take sizes of steps on the host; the first two return such, second.
PACKING = ("_pack_padded_sequence", "_pad_packed_sequence")
SIZES_ON_HOST = {*PACKING, "gru", "lstm", "rnn_relu", "rnn_tanh"}
#: Operations that multiply, whose factors are rounded to 11 significant bits where the process allows TF32.
_PRODUCTS = {"__matmul__", "addmm", "bmm", "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm"}
#: Divisions; a GPU multiplies by the inverse of a number.
_DIVISIONS = {"__truediv__": Tensor.mul, "div": Tensor.mul, "true_divide": Tensor.mul}
_DIVISIONS_IN_PLACE = {"__itruediv__": Tensor.mul_, "div_": Tensor.mul_}


def _is_there(tensor: Tensor) -> bool:
    """Whether a tensor is on the emulated device; `is_cuda` is not true while an operation is executed."""
    return hasattr(tensor, "_memory")


def waits(name: str, given: list[Tensor], args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the host waits: for a size that depends on values, or for an index that is copied from its memory."""
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name not in INDEXING or not _is_there(given[0]):
        return name in _WAITING
    for entry in args[1] if isinstance(args[1], tuple) else (args[1],):
        if isinstance(entry, list | np.ndarray):
            return True
        if isinstance(entry, Tensor) and (entry.dtype == torch.bool or (entry.dim() > 0 and not _is_there(entry))):
            return True
    return False


def operation(func: Any, name: str, args: Any) -> tuple[Any, Any]:
    """The operation and its arguments as they are executed on a CPU, to get about the values of a GPU."""
    inverse = (_DIVISIONS | _DIVISIONS_IN_PLACE).get(name)
    if inverse is not None and _is_there(args[0]) and isinstance(args[1], int | float):
        return inverse, (args[0], (1 / torch.ones((), dtype=torch.float32).fill_(args[1])).item())
    if name in _PRODUCTS and torch._C._get_fp32_precision_getter("cuda", "matmul") == "tf32":
        return func, [_in_tf32(entry) for entry in args]
    return func, args


def _in_tf32(factor: Any) -> Any:
    """A float32 factor, rounded to 11 significant bits; vectors are biases, which are not rounded."""
    if not isinstance(factor, Tensor) or factor.dtype != torch.float32 or factor.dim() < 2:
        return factor
    bits = factor.as_subclass(Tensor).detach().contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

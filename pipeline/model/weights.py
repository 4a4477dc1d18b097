"""weights.safetensors: a model's tensors as data. Independent of the model."""

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError

from ..errors import BundleError, one_line
from ..graph.operations import DTYPES


def read_weights(data: bytes, name: str) -> dict[str, torch.Tensor]:
    """Parse the bytes of a safetensors file.

    Raises:
        BundleError: the file is invalid, or a tensor has an unknown type or contains NaN.
    """
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{name} is not a safetensors file: {one_line(error)}") from error
    check_tensors(tensors)
    return tensors


def write_weights(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file; equal tensors give equal bytes. Raises BundleError as `check_tensors` does."""
    check_tensors(tensors)
    return safetensors.torch.save({name: tensors[name] for name in sorted(tensors)})


def check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise BundleError for weights that contain NaN, which would reject every row, and for unsupported types."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values():
            raise BundleError(f"tensor {name!r} of the model is {tensor.dtype}; use one of {', '.join(DTYPES)}")
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise BundleError(f"tensor {name!r} of the model contains NaN; train it again")

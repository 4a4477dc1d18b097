"""weights.safetensors: a model's tensors as data. Knows nothing of the model."""

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError

from ..errors import BundleError, one_line


def read_weights(data: bytes, name: str) -> dict[str, torch.Tensor]:
    """Parse the bytes of a safetensors file.

    Raises:
        BundleError: a header that lies, or a tensor that holds NaN or infinities.
    """
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{name} is no safetensors file: {one_line(error)}") from error
    check_finite(tensors)
    return tensors


def write_weights(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file; equal tensors give equal bytes."""
    check_finite(tensors)
    return safetensors.torch.save({name: tensors[name] for name in sorted(tensors)})


def check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that would make every row a reject."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(f"tensor {name!r} of the model holds NaN or infinite numbers; train it again")

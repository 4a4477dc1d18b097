"""Magnitude pruning: the smallest weights of each layer are set to zero (Han et al. 2015). Tensors stay dense, so the
model is not faster, but it compresses better. Independent of bundles.
"""

from torch import nn
from torch.nn.utils import prune as torch_prune

from ..errors import BundleError

PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def prune(module: nn.Module, share: float) -> nn.Module:
    """Set the `share` of smallest magnitude of every Linear and Conv weight to zero, in place. Biases are unchanged.

    Args:
        share: above 0 and below 1. Weights that are zero already, as by `torch.nn.utils.prune`, count.

    Raises:
        BundleError: the module has no such layer.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, PRUNED)]
    if not layers:
        raise BundleError("prune needs Linear or Conv layers, and the model has none")
    for layer in layers:
        if torch_prune.is_pruned(layer):
            torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        torch_prune.l1_unstructured(layer, "weight", amount=share)  # type: ignore[no-untyped-call]
        torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    return module


def zeros(module: nn.Module) -> tuple[int, int]:
    """The number of prunable weights that are zero, and the number of prunable weights."""
    weights = [layer.weight for layer in module.modules() if isinstance(layer, PRUNED)]
    return sum(int((weight == 0).sum()) for weight in weights), sum(weight.numel() for weight in weights)

"""Magnitude pruning: the smallest weights of each layer are set to zero (Han et al. 2015). Tensors stay dense, so the
model is not faster, but it compresses better. Independent of bundles.
"""

from torch import nn
from torch.nn.utils import prune as torch_prune

from ...schemas.specs.values import shown
from ..errors import BundleError

PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def prune(module: nn.Module, share: float) -> nn.Module:
    """Set the `share` of smallest magnitude of every Linear and Conv weight to zero, in place. Biases are unchanged.

    Raises:
        BundleError: `share` is not between 0 and 1, or the module has no such layer.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise BundleError(f"prune: {shown(share)} is not above 0 and below 1; use a share such as 0.5")
    layers = [layer for layer in module.modules() if isinstance(layer, PRUNED)]
    if not layers:
        raise BundleError("prune needs Linear or Conv layers, and the model has none")
    for layer in layers:
        torch_prune.l1_unstructured(layer, "weight", amount=share)  # type: ignore[no-untyped-call]
        torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    return module


def zeros(module: nn.Module) -> tuple[int, int]:
    """The number of prunable weights that are zero, and the number of prunable weights."""
    weights = [layer.weight for layer in module.modules() if isinstance(layer, PRUNED)]
    return sum(int((weight == 0).sum()) for weight in weights), sum(weight.numel() for weight in weights)

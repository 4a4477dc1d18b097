"""A trained module → a copy in eval mode on the CPU, without what surrounds it in training. Independent of graphs."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..errors import BundleError, dtype_text, one_line

#: Numbers of rows for which a module is compared with its only child.
_ROWS = (1, 3, 300)
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def frozen_copy(model: Any) -> nn.Module:
    """A copy in eval mode on the CPU, which capturing and scoring a sample may change.

    Wrappers (torch.compile, DataParallel, AveragedModel) are removed. Weights that are computed
    for every pass, by weight_norm and other parametrizations, are replaced by their value. Ghost batch normalization,
    which cuts a batch into parts for training, is its BatchNorm.

    Raises:
        BundleError: not a module, one that cannot be copied or has no weights yet, or parameters that are not float32.
    """
    inner = unwrapped(model)
    if not isinstance(inner, nn.Module):
        if isinstance(inner, type):
            raise BundleError(f"the model is the class {inner.__name__}, not an instance")
        raise BundleError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    lazy = [name for name, tensor in inner.named_parameters() if isinstance(tensor, nn.UninitializedParameter)]
    if lazy:
        raise BundleError(
            f"parameter {lazy[0]!r} of a lazy layer has no shape yet; run the model once on a few rows before saving"
        )
    try:
        frozen = copy.deepcopy(inner, _results_of_training(inner)).cpu().eval()
    except Exception as error:
        raise BundleError(
            f"{type(inner).__name__} cannot be copied: {one_line(error).partition('. ')[0]}; if it keeps tensors"
            " of a training pass as attributes, delete them before saving"
        ) from error
    with torch.no_grad():
        for module in frozen.modules():
            _compute_weights(module)
            if _is_ghost_norm(module):
                kind = type(module)
                module.__class__ = type(kind.__name__, (kind,), {"forward": _passed_on})
    dtypes = {p.dtype for p in frozen.parameters() if p.is_floating_point()} - {torch.float32}
    if dtypes:
        raise BundleError(f"the model's parameters are {dtype_text(dtypes.pop())}; call model.float() before saving")
    return frozen


def unwrapped(model: Any) -> Any:
    """The module inside wrappers."""
    while True:
        inside = model.__dict__ if isinstance(model, nn.Module) else {}
        if "_orig_mod" in inside.get("_modules", {}):
            model = model._orig_mod
        elif isinstance(model, _WRAPPERS):
            model = model.module
        else:
            return model


def _passed_on(self: nn.Module, x: Tensor) -> Tensor:
    """The output of the only child: what ghost batch normalization computes in eval mode."""
    (norm,) = self.children()
    return norm(x)  # type: ignore[no-any-return]


def _is_ghost_norm(module: nn.Module) -> bool:
    """Whether a module is ghost batch normalization, as in TabNet (https://arxiv.org/abs/1705.08741): a class of that
    name, which has only a BatchNorm, and its output for any number of rows and any values."""
    kind, children = type(module), list(module.children())
    if not ("ghost" in kind.__name__.lower() or kind.__name__ == "GBN") or len(children) != 1:
        return False
    norm = children[0]
    if not isinstance(norm, nn.BatchNorm1d) or norm.running_mean is None or module._forward_hooks:
        return False
    if len(inspect.signature(kind.forward).parameters) != 2 or module._forward_pre_hooks:
        return False
    try:
        for rows in _ROWS:
            x = torch.linspace(-3, 3, rows * norm.num_features).reshape(rows, norm.num_features)
            for values in (x, 1e6 * x, torch.full_like(x, -999.0), torch.full_like(x, torch.nan), x / 0):
                if not torch.allclose(module(values), norm(values), 0, 0, equal_nan=True):
                    return False
            steps = x[:, :, None].expand(-1, -1, 2)
            if not torch.equal(module(steps), norm(steps)):
                return False
    except Exception:  # it takes something else
        return False
    return True


def _results_of_training(model: nn.Module) -> dict[int, Tensor]:
    """For `deepcopy`: values of the tensors that a training pass has computed and a module keeps as attributes."""
    kept = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}


def _compute_weights(module: nn.Module) -> None:
    """Replace weights that are computed for every pass by their value."""
    if parametrize.is_parametrized(module):
        _remove_parametrizations(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)


def _remove_parametrizations(module: nn.Module) -> None:
    """As `torch.nn.utils.parametrize.remove_parametrizations` does, which also changes the class of the module, and a
    copy shares that with the original."""
    parametrizations = module._modules["parametrizations"]
    assert isinstance(parametrizations, nn.ModuleDict), "of a parametrized module"
    values = {name: getattr(module, name).detach().clone() for name in parametrizations}
    trained = {name for name, each in parametrizations.items() if list(each.parameters(recurse=False))}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__mro__[1]
    for name, value in values.items():
        if name in trained:
            module.register_parameter(name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)

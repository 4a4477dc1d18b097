"""Models that are wrapped by a library around torch: skorch nets, and scikit-learn Pipelines whose last step is one.
They are recognised by their attributes, without importing skorch or scikit-learn.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import BundleError
from ..storage.plain_files import read_plain
from .frozen import unwrapped
from .torch_files import Unbuilt, read_torch_file


def is_wrapped(model: Any) -> bool:
    """Whether it is a skorch net, fitted or not, or a Pipeline."""
    return _is_pipeline(model) or _is_net(model) or isinstance(unwrapped(model), nn.Module)


def _is_pipeline(model: Any) -> bool:
    steps = getattr(model, "steps", None)
    return isinstance(steps, list) and bool(steps) and hasattr(model, "named_steps")


def _is_net(model: Any) -> bool:
    """Whether it has the attributes of a skorch net; `module_` only once it is fitted."""
    attributes = ("module", "criterion", "initialize", "load_params")
    return not isinstance(model, nn.Module) and all(hasattr(model, name) for name in attributes)


def unwrap(models: Sequence[Any], scaler: Any) -> tuple[list[Any], Any]:
    """The modules of skorch nets, and the scaler: of a Pipeline, the transformers before its net.

    Raises:
        BundleError: a net is not fitted, a Pipeline does not end in a net, or it has transformers of its own beside a
            scaler or in an ensemble; or a file holds a pickle.
    """
    found = []
    for model in models:
        inner = model
        if _is_pipeline(model):
            inner = model.steps[-1][1]
            if len(model.steps) > 1:
                _refuse_second_scaler(model, scaler, alone=len(models) == 1)
                scaler = model[:-1]
            if not isinstance(inner, nn.Module) and not _is_net(inner):
                raise BundleError(
                    f"the model is a Pipeline that ends in a {type(inner).__name__}; only one that ends in a skorch net"
                    " can be saved"
                )
        if isinstance(inner, str | os.PathLike):
            refuse_pickled_model(Path(inner))
        found.append(_module_of(inner) if _is_net(inner) else inner)
    return found, scaler


def _refuse_second_scaler(pipeline: Any, scaler: Any, *, alone: bool) -> None:
    steps = ", ".join(str(name) for name, _ in pipeline.steps[:-1])
    if not alone:
        raise BundleError(
            f"a member is a Pipeline with the transformers {steps}, but the members of an ensemble share one scaler;"
            " pass the last step of each member, and the transformers as scaler"
        )
    if scaler is not None:
        raise BundleError(
            f"the model is a Pipeline with the transformers {steps}, and scaler is given as well; pass the last step"
            " of the Pipeline as the model, or leave scaler out"
        )


def _module_of(net: Any) -> nn.Module:
    module = getattr(net, "module_", None)
    if not isinstance(module, nn.Module):
        raise BundleError(
            f"{type(net).__name__} is not fitted: it has no module_; call fit, or initialize and load_params"
        )
    return module


def refuse_pickled_model(path: Path) -> None:
    """Raise BundleError for a file that `torch.save` or pickle wrote: as a path, only formats that need no unpickling
    are accepted."""
    if path.suffix.lower() in (".onnx", ".pt2"):
        return
    try:
        file = read_torch_file(read_plain(path), str(path))
    except OSError:
        return  # reported when the model is loaded
    if file is None:
        return
    if isinstance(file.content, Unbuilt):
        raise BundleError(
            f"{path} is a pickle ({file.content.name}), which can execute any code when it is read; if you trust it,"
            " load it yourself and pass the module: torch.load(path, weights_only=False)"
        )
    raise BundleError(
        f"{path} contains weights, not a whole model; fill a module with them: load_weights(module, {path.name!r})"
    )

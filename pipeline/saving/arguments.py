"""The arguments of a model's forward, compared with those that a bundle passes. Independent of values."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...schemas.inputs import AnyInput, StepInput, TextInput
from ..errors import BundleError, counted
from ..model.loading import OnnxModel

#: What Tokens and sequences pass besides the tokens or lists.
_MASKS = "mask='attention' (1 for real tokens, 0 for padding), 'real', 'padding' or 'lengths'"
_LIST_MASKS = "mask='real' (true for real steps), 'padding' or 'lengths'"


def refuse_missing(model: Any, entries: Sequence[AnyInput], takes: Sequence[str]) -> None:
    """Raise BundleError for a model that needs more arguments than the bundle passes, if these can be masks or types.

    Args:
        model: a module; any other model is left alone.
        takes: the arguments that the bundle passes, in order.
    """
    needed = _needed(model)
    names = takes if set(takes) <= set(needed) else needed[: len(takes)]  # ONNX files take theirs by name
    missing = [name for name in needed if name not in names]
    settings = [setting for entry in entries if isinstance(entry, StepInput) for setting in _settings(entry)]
    if not missing or not settings:
        return
    several = " and ".join(settings[: len(missing)])
    raise BundleError(
        f"the model takes {counted(len(needed), 'argument')} ({', '.join(needed)}), but the bundle passes {len(takes)}"
        f" ({', '.join(takes)}); set {several}, if that is what it takes"
    )


def _settings(entry: StepInput) -> list[str]:
    """The fields of its spec that add an argument."""
    where = f"in input {entry.name!r}"
    masks = _MASKS if isinstance(entry, TextInput) else _LIST_MASKS
    found = [f"{masks} {where}"] if entry.mask is None else []
    if isinstance(entry, TextInput) and not entry.types:
        found.append(f"types=True (the types of the tokens) {where}")
    return found


def _needed(model: Any) -> list[str]:
    """The arguments of a model that have no default; none if it does not tell."""
    if isinstance(model, OnnxModel):
        return list(model.dtypes)
    if not isinstance(model, nn.Module):
        return []
    if isinstance(model, torch.jit.ScriptModule):
        scripted: Any = model.forward
        _, *given = scripted.schema.arguments
        return [argument.name for argument in given if not argument.has_default_value()]
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one.name for one in parameters if one.kind in named and one.default is one.empty]


def refuse_order(model: Any, entries: Sequence[AnyInput], takes: Sequence[str]) -> None:
    """Raise BundleError for a module whose forward takes an argument of Hugging Face's models in another place.

    Args:
        takes: the arguments that the bundle passes, in order.
    """
    if not isinstance(model, nn.Module):
        return
    try:
        known = list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):  # of TorchScript
        return
    for entry in entries:
        if not isinstance(entry, TextInput):
            continue
        names = ["input_ids", *(["attention_mask"] if entry.mask is not None else []), "token_type_ids"]
        for argument, name in zip(entry.arguments, names, strict=False):
            index = takes.index(argument)
            if name in known and known.index(name) != index:
                raise BundleError(
                    f"forward takes {name} as argument {known.index(name) + 1}, but input {entry.name!r} passes it as"
                    f" argument {index + 1} ({', '.join(takes)}); wrap the model in a module that takes them in this"
                    " order, or set mask and types to what forward takes"
                )

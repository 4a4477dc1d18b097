"""The user's model → a member of a bundle: its files, and the module that is rebuilt from them. Independent of columns
and labels.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.members import AnyMember, ExportMember, GraphMember, ImportMember, OnnxMember, ScriptMember
from ..errors import BundleError
from ..graph.capture import Captured, capture
from ..graph.example import Example
from ..graph.interpreter import build
from ..model.loading import LoadedMember, OnnxModel, load_export, load_import, load_script
from ..model.weights import write_weights
from ..storage.plain_files import read_plain
from .frozen import frozen_copy, unwrapped
from .pruning import prune

SUFFIXES = {".onnx": "onnx", ".pt2": "pt2", ".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """`reference`: the user's own model, in eval mode on the CPU. `loaded`: the same model, rebuilt from `files`."""

    member: AnyMember
    files: Mapping[str, bytes]
    reference: nn.Module
    loaded: LoadedMember
    #: The index of the example that a graph was exported with; it holds for inputs of that form only.
    example: int | None = None


def draft(
    model: Any, number: str, *, inputs: Sequence[str], examples: Sequence[Example], pruned: float | None = None
) -> Draft:
    """Convert a model to the files of a member.

    Args:
        model: a module (saved as data); a path to an `.onnx`, `.pt2` or TorchScript file; or
            `("module:factory", state_dict)`.
        number: a suffix for the file names, empty for a single member.
        inputs: the names of the bundle's inputs.
        examples: inputs in the forms that forward may take, the most likely first.
        pruned: the share of weights to set to zero.

    Raises:
        BundleError: a module that cannot be saved as data, or a file that cannot be read or loaded.
    """
    if pruned is not None and not isinstance(unwrapped(model), nn.Module):
        raise BundleError("prune needs a module whose weights it can change, not a file or a factory")
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], str):
        if not isinstance(model[1], Mapping):
            raise BundleError(f"the model is {model[0]!r} with a {type(model[1]).__name__}; pass its state dict")
        return _imported(model[0], model[1], number)
    if isinstance(model, str | os.PathLike):
        return _file(Path(model), number, inputs)
    if isinstance(model, nn.Module):
        _refuse_scripts(model)
    frozen = frozen_copy(model)
    if pruned is not None:
        prune(frozen, pruned)
    captured = _captured(frozen, examples)
    graph, tensors = captured.graph, captured.tensors
    names = f"graph{number}.json", f"weights{number}.safetensors"
    return Draft(
        member=GraphMember(graph=names[0], weights=names[1]),
        files={names[0]: graph.model_dump_json(indent=1).encode() + b"\n", names[1]: write_weights(tensors)},
        reference=frozen,
        loaded=LoadedMember(module=build(graph, tensors), graph=graph),
        example=captured.example,
    )


def _refuse_scripts(model: nn.Module) -> None:
    """Raise BundleError for a TorchScript module, or one that contains such a module."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"the model's part {name!r}" if name else "the model"
            raise BundleError(
                f"{what} is a TorchScript module, which cannot be traced; pass the module that it was made from, or"
                " save the whole model with torch.jit.script(model).save('model.pt') and pass that path"
            )


def _imported(factory: str, weights: Mapping[str, Tensor], number: str) -> Draft:
    name = f"weights{number}.safetensors"
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}
    return Draft(
        member=ImportMember(factory=factory, weights=name),
        files={name: write_weights(tensors)},
        reference=load_import(factory, tensors),
        loaded=LoadedMember(module=load_import(factory, tensors)),
    )


def _file(path: Path, number: str, inputs: Sequence[str]) -> Draft:
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise BundleError(f"model file {str(path)!r} has an unknown suffix; use one of {', '.join(SUFFIXES)}")
    try:
        data = read_plain(path)
    except OSError as error:
        raise BundleError(f"model file {str(path)!r} cannot be read: {error.strerror}") from error
    name = f"model{number}.{'onnx' if kind == 'onnx' else 'pt2' if kind == 'pt2' else 'pt'}"
    member: AnyMember
    module: nn.Module
    if kind == "onnx":
        member, module = OnnxMember(file=name), OnnxModel(data, inputs, torch.device("cpu"))
    elif kind == "pt2":
        member, module = ExportMember(file=name), load_export(data)
    else:
        member, module = ScriptMember(file=name), load_script(data)
    return Draft(member=member, files={name: data}, reference=module, loaded=LoadedMember(module=module))


def _captured(frozen: nn.Module, examples: Sequence[Example]) -> Captured:
    before = torch.get_rng_state()
    try:
        captured = capture(frozen, examples)
        if not torch.equal(before, torch.get_rng_state()):
            raise BundleError("the model draws random numbers in eval mode; a row would not get the same score twice")
    finally:
        torch.set_rng_state(before)
    return captured

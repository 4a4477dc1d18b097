"""The user's model → a member of a bundle: its files, and the module that is rebuilt from them. Independent of columns
and labels.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.graph import Graph
from ...schemas.members import AnyMember, ExportMember, GraphMember, ImportMember, OnnxMember, ScriptMember
from ..errors import BundleError, dtype_text, one_line
from ..graph.interpreter import build
from ..graph.trace import trace
from ..model.loading import LoadedMember, OnnxModel, load_export, load_import, load_script
from ..model.weights import write_weights
from ..storage.plain_files import read_plain
from .pruning import prune

SUFFIXES = {".onnx": "onnx", ".pt2": "pt2", ".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """`reference`: the user's own model, in eval mode on the CPU. `loaded`: the same model, rebuilt from `files`."""

    member: AnyMember
    files: Mapping[str, bytes]
    reference: nn.Module
    loaded: LoadedMember


def draft(model: Any, number: str, *, inputs: Sequence[str], num_arguments: int, pruned: float | None = None) -> Draft:
    """Convert a model to the files of a member.

    Args:
        model: a module (saved as data); a path to an `.onnx`, `.pt2` or TorchScript file; or
            `("module:factory", state_dict)`.
        number: a suffix for the file names, empty for a single member.
        inputs: the names of the bundle's inputs.
        num_arguments: the number of arguments of forward: one per input, or one dict.
        pruned: the share of weights to set to zero.

    Raises:
        BundleError: a module that cannot be saved as data, or a file that cannot be read or loaded.
    """
    if pruned is not None and not isinstance(model, nn.Module):
        raise BundleError("prune needs a module whose weights it can change, not a file or a factory")
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], str):
        return _imported(model[0], model[1], number)
    if isinstance(model, str | os.PathLike):
        return _file(Path(model), number, inputs)
    frozen = _frozen(model)
    if pruned is not None:
        prune(frozen, pruned)
    graph, tensors = _traced(frozen, num_arguments)
    names = f"graph{number}.json", f"weights{number}.safetensors"
    return Draft(
        member=GraphMember(graph=names[0], weights=names[1]),
        files={names[0]: graph.model_dump_json(indent=1).encode() + b"\n", names[1]: write_weights(tensors)},
        reference=frozen,
        loaded=LoadedMember(module=build(graph, tensors), graph=graph),
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


def _frozen(model: Any) -> nn.Module:
    """A copy in eval mode on the CPU, which tracing and scoring the sample may change."""
    inner = getattr(model, "_orig_mod", model)  # of torch.compile
    inner = inner.module if isinstance(inner, nn.DataParallel) else inner
    if not isinstance(inner, nn.Module):
        raise BundleError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    try:
        frozen = copy.deepcopy(inner).cpu().eval()
    except Exception as error:
        raise BundleError(
            f"{type(inner).__name__} cannot be copied: {one_line(error).partition('. ')[0]}; if it keeps tensors"
            " of a training pass as attributes, delete them before saving"
        ) from error
    dtypes = {p.dtype for p in frozen.parameters() if p.is_floating_point()} - {torch.float32}
    if dtypes:
        raise BundleError(f"the model's parameters are {dtype_text(dtypes.pop())}; call model.float() before saving")
    return frozen


def _traced(frozen: nn.Module, num_arguments: int) -> tuple[Graph, dict[str, Tensor]]:
    before = torch.get_rng_state()
    try:
        traced = trace(frozen, num_arguments)
        if not torch.equal(before, torch.get_rng_state()):
            raise BundleError("the model draws random numbers in eval mode; a row would not get the same score twice")
    finally:
        torch.set_rng_state(before)
    return traced

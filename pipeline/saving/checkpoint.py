"""A weights file from training → the state dict of an architecture. Executes no code from the file.

Accepted are state dicts (`.safetensors`, or saved by `torch.save`) and checkpoints that contain one, such as those of
Lightning. What else a checkpoint contains is not read.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.pack import ModelFile
from ..errors import BundleError, counted, listed, one_line
from ..model.weights import read_weights
from ..storage.plain_files import read_plain
from .archives import refuse_bomb
from .frozen import unwrapped
from .notes import say
from .prefixes import Architecture
from .torch_files import StoredTensor, TorchFile, Unbuilt, read_torch_file

#: The largest number of names in a message.
_FEW = 5
#: Tensors that are no weights: the counter of `torch.optim.swa_utils.AveragedModel`.
_COUNTERS = ("n_averaged",)
#: Tensors by name, some of them still in their file.
Tensors = Mapping[str, Tensor | StoredTensor]


def load_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    weights_key: str | None = None,
    weights_prefix: str | None = None,
    weights_ignore: list[str] | None = None,
) -> nn.Module:
    """Fill a module with a weights file, strictly, without executing anything from the file.

        save_bundle("bundles/wine", load_weights(Network(), "last.ckpt"), features=…, task=…, sample=…)

    Args:
        path: a state dict, `.safetensors` or saved by `torch.save`, or a checkpoint that contains one.
        weights_key: the entry of a checkpoint that contains the state dict; found by the module's names if None.
        weights_prefix: a prefix of every name in the file; found by the module's names if None.
        weights_ignore: names in the file that the module does not need.

    Returns:
        The same module.

    Raises:
        BundleError: the file cannot be read, or its names do not match those of the module.
    """
    file = Path(path)
    try:
        data = read_plain(file)
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {one_line(error)}") from error
    spec = ModelFile(
        weights=str(path), weights_key=weights_key, weights_prefix=weights_prefix, weights_ignore=weights_ignore or []
    )
    try:
        fill(model, data, file, spec)
    except BundleError as error:
        raise BundleError(str(error).replace("add under [model]: ", "pass ")) from error
    return model


def fill(model: nn.Module, data: bytes, path: Path, spec: ModelFile) -> None:
    """Load a weights file into its architecture, strictly. Says which prefix and which entry were chosen.

    Raises:
        BundleError: the file has no state dict, or its names do not begin with the prefix or do not match the
            architecture; suggests a line for the spec.
    """
    inner = unwrapped(model)
    architecture = Architecture(inner)
    content, file = _content(data, path)
    key, found = _chosen(_state_dicts(content, path, spec), architecture, path)
    unknown = [name for name in spec.weights_ignore if name not in found]
    if unknown:
        raise BundleError(f"weights_ignore names {unknown[0]!r}, which {spec.weights} does not contain")
    kept = {name: tensor for name, tensor in found.items() if name not in set(spec.weights_ignore)}
    prefix = spec.weights_prefix if spec.weights_prefix is not None else _prefix(architecture, kept, spec)
    own = _without_prefix(kept, prefix, spec)
    tensors = architecture.completed({name: _built(value, file, name, path) for name, value in own.items()})
    try:
        inner.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        removed = f", after the prefix {prefix!r} was removed from its names" if prefix else ""
        raise BundleError(f"{spec.weights} does not match the architecture{removed}: {one_line(error)}") from error
    chosen = [f"its entry {key!r} is the state dict"] if key is not None and spec.weights_key is None else []
    if prefix and spec.weights_prefix is None:
        chosen.append(f"the prefix {prefix!r} is removed from {counted(len(tensors), 'name')}")
    if chosen:
        say(f"{spec.weights}: {' and '.join(chosen)}")


def _state_dicts(content: Any, path: Path, spec: ModelFile) -> dict[str | None, Tensors]:
    """The state dicts in a file: itself under None, and its entries by their key. Without what is not a tensor."""
    if spec.weights_key is not None:
        content = content.get(spec.weights_key) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise BundleError(
            f'{path} is not a state dict; add under [model]: weights_key = "state_dict", or the name of its entry'
        )
    groups = {None: content, **({} if spec.weights_key is not None else content)}
    found: dict[str | None, Tensors] = {}
    for key, entries in groups.items():
        if isinstance(entries, dict):
            tensors = {str(n): each for n, each in entries.items() if isinstance(each, Tensor | StoredTensor)}
            found.update({key: tensors} if tensors else {})
    if not found:
        raise BundleError(f"{path} contains no state dict; save model.state_dict() when training")
    return found


def _content(data: bytes, path: Path) -> tuple[Any, TorchFile | None]:
    """The object in a file. If it contains more than torch reads without executing code, it is read by the opcodes of
    its pickle, and its tensors are `StoredTensor`s."""
    if path.suffix.lower() == ".safetensors" or data[8:9] == b"{":
        return read_weights(data, path.name), None
    refuse_bomb(data, path.name)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), None
    except Exception as error:  # whatever torch raises on a damaged file
        advice = "save model.state_dict() when training"
        reason = one_line(error).partition(". ")[0]
        file = read_torch_file(data, str(path))
        if file is None:
            raise BundleError(
                f"{path} is not a weights file (a state dict, .safetensors or saved by torch.save); {advice}: {reason}"
            ) from error
    content = file.content
    if isinstance(content, Unbuilt):
        what = f"a whole module ({content.name})" if content.is_module else f"an object ({content.name})"
        file_line = f'; or use it as a whole model: file = "{path.name}"' if content.is_module else ""
        raise BundleError(f"{path} contains {what}, not a state dict; {advice}{file_line}")
    return content, file


def _built(value: Tensor | StoredTensor, file: TorchFile | None, name: str, path: Path) -> Tensor:
    if isinstance(value, Tensor):
        return value
    assert file is not None, "only files that are read by their opcodes have stored tensors"
    try:
        return file.tensor(value)
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: tensor {name!r} cannot be read: {one_line(error)}") from error


def _chosen(groups: Mapping[str | None, Tensors], architecture: Architecture, path: Path) -> tuple[str | None, Tensors]:
    """The state dict whose names match the architecture, and its key."""
    matching = [key for key, tensors in groups.items() if architecture.prefixes(tensors, complete=True)]
    if not matching:  # the error about what is missing is that of the most similar one
        matching = [max(groups, key=lambda key: architecture.names_in(groups[key]))]
    keys = [key for key in matching if key is not None]
    if len(matching) == len(keys) > 1:
        lines = " or ".join(f"weights_key = {_quoted(key)}" for key in keys[:_FEW])
        raise BundleError(f"several entries of {path} match the architecture; add under [model]: {lines}")
    return matching[0], groups[matching[0]]


def _prefix(architecture: Architecture, found: Tensors, spec: ModelFile) -> str:
    """The prefix under which the file has all names of the architecture, or else most of them."""
    complete = architecture.prefixes(found, complete=True)
    if len(complete) > 1:
        lines = " or ".join(f"weights_prefix = {_quoted(prefix)}" for prefix in complete)
        raise BundleError(
            f"{spec.weights} has all names of the architecture under several prefixes; add under [model]: {lines}"
        )
    return (complete or architecture.prefixes(found, complete=False) or [""])[0]


def _without_prefix(kept: Tensors, prefix: str, spec: ModelFile) -> dict[str, Tensor | StoredTensor]:
    """The tensors by their names without the prefix; every name must have the prefix."""
    outside = [name for name in kept if not name.startswith(prefix)]
    if outside and len(outside) == len(kept):
        raise BundleError(
            f"no tensor name in {spec.weights} begins with weights_prefix {prefix!r}; the names are"
            f" {listed(outside, _FEW)}"
        )
    outside = [name for name in outside if name not in _COUNTERS]
    if outside:
        raise BundleError(
            f"of the {len(kept)} tensor names in {spec.weights}, {len(outside)} do not begin with weights_prefix"
            f" {prefix!r}: {listed(outside, _FEW)}; if the model does not need them, add under [model]:"
            f" weights_ignore = [{', '.join(_quoted(name) for name in outside)}]"
        )
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items() if name.startswith(prefix)}


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'

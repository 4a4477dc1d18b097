"""A weights file from training → the state dict of an architecture. Executes no code from the file."""

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.pack import ModelFile
from ..errors import BundleError, listed, one_line
from ..model.weights import read_weights
from .archives import refuse_bomb

#: The largest number of names in a message.
_FEW = 5


def fill(model: nn.Module, data: bytes, path: Path, spec: ModelFile) -> None:
    """Load a weights file into its architecture, strictly.

    Raises:
        BundleError: the file is not a state dict, or its names do not begin with `weights_prefix` or do not match the
            architecture; suggests a line for the spec.
    """
    found = _state_dict(data, path, spec)
    tensors = _without_prefix(found, spec)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise BundleError(
            f"{spec.weights} does not match the architecture: {one_line(error)}{_hint(found, set(model.state_dict()))}"
        ) from error


def _state_dict(data: bytes, path: Path, spec: ModelFile) -> dict[str, Tensor]:
    if path.suffix.lower() == ".safetensors":
        found: Any = read_weights(data, path.name)
    else:
        refuse_bomb(data, path.name)
        try:
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch raises on a damaged file
            raise BundleError(
                f"{path} contains more than tensors, or is not a weights file; save model.state_dict() when training:"
                f" {one_line(error).partition('. ')[0]}"
            ) from error
    if spec.weights_key is not None:
        found = found.get(spec.weights_key) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        inner = [key for key, value in found.items() if isinstance(value, dict)] if isinstance(found, dict) else []
        raise BundleError(
            f"{path} is not a state dict; add under [model]: weights_key = "
            + (f'"{inner[0]}"' if inner else '"state_dict", or the name of its entry')
        )
    return {str(key): value for key, value in found.items()}


def _without_prefix(found: Mapping[str, Tensor], spec: ModelFile) -> dict[str, Tensor]:
    """The tensors that are not ignored, by their names without the prefix; every name must have the prefix."""
    prefix = spec.weights_prefix
    unknown = [name for name in spec.weights_ignore if name not in found]
    if unknown:
        raise BundleError(f"weights_ignore names {unknown[0]!r}, which {spec.weights} does not contain")
    kept = {name: tensor for name, tensor in found.items() if name not in set(spec.weights_ignore)}
    outside = [name for name in kept if not name.startswith(prefix)]
    if outside and len(outside) == len(kept):
        raise BundleError(
            f"no tensor name in {spec.weights} begins with weights_prefix {prefix!r}; the names are"
            f" {listed(outside, _FEW)}"
        )
    if outside:
        raise BundleError(
            f"of the {len(kept)} tensor names in {spec.weights}, {len(outside)} do not begin with weights_prefix"
            f" {prefix!r}: {listed(outside, _FEW)}; if the model does not need them, add under [model]:"
            f" weights_ignore = [{', '.join(_quoted(name) for name in outside)}]"
        )
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items()}


def _hint(found: Collection[str], needed: Collection[str]) -> str:
    """A line of the spec with the prefix under which the file has the most of the needed names."""
    known = set(found)
    endings: dict[str, int] = {}
    for name in needed:
        for other in known:
            if other.endswith(f".{name}"):
                prefix = other.removesuffix(name)
                endings[prefix] = endings.get(prefix, 0) + 1
    if not endings:
        return ""
    prefix = max(endings, key=lambda one: (endings[one], -len(one)))
    return f'; {endings[prefix]} of its names begin with {prefix!r}: add under [model]: weights_prefix = "{prefix}"'


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'

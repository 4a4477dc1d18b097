"""Reads models from files: ONNX and code as paths, weights with their architecture as a module. Imports or unpickles
code only if a flag allows it.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from ...schemas.pack import ModelFile
from ..errors import BundleError, one_line
from ..graph import operations
from ..storage.plain_files import read_plain
from .checkpoint import fill
from .nets import is_wrapped
from .pickle_files import PICKLES, ReadPickle, read_pickle_file
from .torch_files import Unbuilt, read_torch_file


def read_model(spec: ModelFile, folder: Path, *, allow_import: bool, read_pickle: ReadPickle | None) -> Any:
    """The model, in a form that `save_bundle` accepts.

    Raises:
        NeedsPickleError: the file is a pickle, and there is no `read_pickle`.
        BundleError: a file cannot be read or is code, or weights do not match their architecture.
    """
    if spec.file is not None:
        return _whole(folder / spec.file, allow_import=allow_import, read_pickle=read_pickle)
    if spec.weights is None:
        raise BundleError(
            'the spec\'s [model] does not name a file; add: weights = "weights.safetensors", with layers = [...]'
        )
    model = _architecture(spec, folder, allow_import=allow_import)
    fill(model, _read(folder / spec.weights), folder / spec.weights, spec)
    return model


def _whole(path: Path, *, allow_import: bool, read_pickle: ReadPickle | None) -> Any:
    """A whole model: the path of a file that needs no unpickling, or the object in a pickle."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return path
    saved = None if suffix in PICKLES else read_torch_file(_read(path), str(path))
    if saved is not None and not isinstance(saved.content, Unbuilt):
        raise BundleError(
            f'{path} contains weights, not a whole model; replace file by: weights = "{path.name}", with layers or'
            " factory"
        )
    if saved is not None or suffix in PICKLES:
        found = read_pickle_file(path, read_pickle, None if saved is None else saved.content.name)
        if not isinstance(found, nn.Module) and not is_wrapped(found):
            raise BundleError(f"{path} holds a {type(found).__name__}, not a torch.nn.Module, skorch net or Pipeline")
        return found
    if not allow_import:
        raise BundleError(
            f"{path} contains code, which loading executes; if you trust it, pass --allow-import (or save the model"
            " as weights with layers, or as ONNX)"
        )
    return path


def _architecture(spec: ModelFile, folder: Path, *, allow_import: bool) -> nn.Module:
    if spec.layers is not None:
        return nn.Sequential(*(_layer(fields, at) for at, fields in enumerate(spec.layers)))
    if spec.factory is None:
        raise BundleError(
            "weights need an architecture; add under [model]: layers ="
            ' [{type = "Linear", in_features = 4, out_features = 8}, {type = "ReLU"}], or: factory = "train:make_model"'
        )
    if not allow_import:
        raise BundleError(f"factory {spec.factory!r} imports and executes code; if you trust it, pass --allow-import")
    name, _, attribute = spec.factory.partition(":")
    sys.path.insert(0, str(folder))
    try:
        model = getattr(import_module(name), attribute)(**spec.factory_args)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise BundleError(f"factory {spec.factory!r} fails: {one_line(error)}") from error
    finally:
        sys.path.remove(str(folder))
    if not isinstance(model, nn.Module):
        raise BundleError(f"factory {spec.factory!r} returns a {type(model).__name__}, not a torch.nn.Module")
    return model


def _layer(fields: dict[str, Any], at: int) -> nn.Module:
    kind = fields.get("type")
    if kind is None:
        raise BundleError(
            f"model: layers[{at}] lacks 'type'; add the name of a torch.nn layer, such as type = \"Linear\""
        )
    if not isinstance(kind, str) or kind not in operations.LAYERS:
        raise BundleError(
            f"model: layers[{at}]: type: {kind!r} is not supported; use one of {', '.join(operations.LAYERS)}"
        )
    try:
        return operations.LAYERS[kind](**{name: value for name, value in fields.items() if name != "type"})
    except Exception as error:  # whatever a constructor raises
        raise BundleError(f"model: layers[{at}], {kind}: {one_line(error)}") from error


def _read(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from error

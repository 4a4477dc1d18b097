"""Loads a member of a bundle, in any format, as a module that takes the inputs and returns raw outputs.

Graphs and ONNX are data. torch.export, TorchScript and import paths are code: it is loaded only here, and only if the
caller has named the bundle's digest. Independent of columns and labels.
"""

import io
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...schemas.bundle import BundleManifest
from ...schemas.graph import Graph
from ...schemas.heads import AnyHead, Label, LabelledHead
from ...schemas.members import CODE, AnyMember, ExportMember, GraphMember, ImportMember, OnnxMember, ScriptMember
from ..bundle.bundle import Bundle, read_graph
from ..errors import BundleError, UntrustedBundleError, listed, one_line, shape_text
from ..graph.interpreter import build
from ..graph.optimise import prepare
from .exact_layers import use_exact_gelu
from .example import flat_nodes
from .onnx_audit import refuse_unsafe
from .onnx_maps import without_zip_maps
from .onnx_runtime import import_onnxruntime
from .weights import read_weights

CPU = torch.device("cpu")
#: The dtypes that inputs are converted to, by onnxruntime's name: tables are float32, but some models take float64.
_DTYPES = {"tensor(double)": np.float64}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedMember:
    """A module in eval mode. `graph`: the graph as it was saved, None for other formats; `folded`, `dropped`: how many
    of its layers are folded into others or dropped in the module."""

    module: nn.Module
    graph: Graph | None = None
    folded: int = 0
    dropped: int = 0


def load_members(
    bundle: Bundle, *, device: torch.device, trust: Collection[str], as_saved: bool = False
) -> list[LoadedMember]:
    """Load every member of a bundle.

    Args:
        as_saved: build graphs as they were saved, without folding or dropping layers.

    Raises:
        UntrustedBundleError: the bundle contains code, and its digest is not in `trust`.
        BundleError: a member cannot be loaded, or an extra is not installed.
    """
    trust = (trust,) if isinstance(trust, str) else tuple(trust or ())
    code = [member for member in bundle.manifest.members if member.kind in CODE]
    if code and bundle.digest not in trust:
        kinds = ", ".join(sorted({member.kind for member in code}))
        raise UntrustedBundleError(
            f"{bundle.name} contains code ({kinds}), which can do anything once it is loaded; if you trust"
            f" it, add --trust {bundle.digest}, or to the job file:"
            f' trust = ["{bundle.digest}"]'
        )
    loaded = [_load(member, bundle.read, bundle.manifest, device, as_saved) for member in bundle.manifest.members]
    for one in loaded:
        use_exact_gelu(one.module, device)
    return loaded


def _load(
    member: AnyMember, read: Callable[[str], bytes], manifest: BundleManifest, device: torch.device, as_saved: bool
) -> LoadedMember:
    match member:
        case GraphMember():
            graph = read_graph(read(member.graph), member.graph)
            tensors = read_weights(read(member.weights), member.weights)
            if as_saved:
                saved = build(graph, tensors)
                saved.refuse_large(manifest)
                return LoadedMember(module=saved, graph=graph)
            return _prepared(graph, tensors, manifest)
        case OnnxMember():
            onnx_model = OnnxModel(read(member.file), [entry.name for entry in manifest.inputs], device)
            onnx_model.arrange(manifest.heads)
            return LoadedMember(module=onnx_model)
        case ExportMember():
            return LoadedMember(module=load_export(read(member.file), device))
        case ScriptMember():
            return LoadedMember(module=load_script(read(member.file)))
        case ImportMember():
            return LoadedMember(module=load_import(member.factory, read_weights(read(member.weights), member.weights)))


def _prepared(graph: Graph, tensors: dict[str, Tensor], manifest: BundleManifest) -> LoadedMember:
    """The optimised graph. It is built as it was saved first, which audits it."""
    model = build(graph, tensors)
    model.refuse_large(manifest)
    ready = prepare(graph, tensors, flat_nodes(model, manifest))
    module = build(ready.graph, ready.tensors)
    module.refuse_large(manifest)
    return LoadedMember(module=module, graph=graph, folded=ready.folded, dropped=ready.dropped)


class OnnxModel(nn.Module):
    """An ONNX file, run by onnxruntime on one thread per pass. Inputs are bound by name where the names match the file,
    otherwise in order; several outputs are returned as a dict. Instead of the dicts of a ZipMap, the tensor of their
    numbers is returned."""

    def __init__(self, data: bytes, names: Sequence[str], device: torch.device) -> None:
        super().__init__()
        try:
            onnxruntime = import_onnxruntime()
        except ImportError as error:
            raise BundleError(
                "the bundle contains an ONNX model; install onnxruntime with: pip install 'scoreline[onnx]'"
            ) from error
        refuse_unsafe(data)
        data, self._keys = without_zip_maps(data)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise BundleError(
                f"the installed onnxruntime has no {provider}; install onnxruntime-gpu, or use --device cpu"
            )
        settings = {"use_tf32": "0", "device_id": str(device.index or 0)} if device.type == "cuda" else {}  # TF32 is on
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=[(provider, settings)])
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise BundleError(f"the ONNX model cannot be loaded: {one_line(error)}") from error
        chosen = self._session.get_providers()  # where one cannot start, onnxruntime falls back to the CPU
        if provider not in chosen:
            raise BundleError(
                f"onnxruntime cannot start {provider} and chose {', '.join(chosen)}; install the CUDA libraries that"
                " this onnxruntime-gpu was built for, or use --device cpu"
            )
        self._device = device
        file_names = [entry.name for entry in self._session.get_inputs()]
        self._names = list(names) if set(names) == set(file_names) else file_names
        self.dtypes = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        #: By output, the columns of a ZipMap's tensor in the order of the labels.
        self._columns: dict[str, list[int]] = {}

    def arrange(self, heads: Sequence[AnyHead]) -> None:
        """Put the columns of the ZipMaps that heads use in the order of their labels.

        Raises:
            BundleError: the keys of a ZipMap are not the labels.
        """
        for head in heads:
            for which in head.output if isinstance(head.output, list) else [head.output]:
                name = self._outputs[which] if isinstance(which, int) and which < len(self._outputs) else str(which)
                if name in self._keys and isinstance(head, LabelledHead):
                    keys = self._keys[name]
                    columns = label_columns(head.labels, keys)
                    if columns is None:
                        raise BundleError(
                            f"the model's output {name!r} has the probabilities of {listed(keys)}, but the labels are"
                            f" {listed(head.labels)}; set labels to those of the model"
                        )
                    self._columns[name] = columns

    def is_zip_map(self, output: str) -> bool:
        """Whether an output is the list of dicts of a ZipMap in the file."""
        return output in self._keys

    @property
    def several(self) -> bool:
        """Whether it has several outputs."""
        return len(self._outputs) > 1

    @property
    def input_types(self) -> list[str]:
        """onnxruntime's names of the input types, in the order of the bundle's inputs."""
        return [self.dtypes[name] for name in self._names]

    def forward(self, *inputs: Any) -> Any:
        """Run the session on tensors in order, or on one dict of them. Raises RuntimeError where it fails."""
        if len(inputs) == 1 and isinstance(inputs[0], dict):
            inputs = tuple(inputs[0].values())
        given = {
            name: np.ascontiguousarray(value.cpu().numpy(), dtype=_DTYPES.get(self.dtypes[name]))
            for name, value in zip(self._names, inputs, strict=True)
        }
        try:
            values = self._session.run(self._outputs, given)
        except Exception as error:
            raise RuntimeError(one_line(error)) from error
        outputs = [
            _as_tensor(self._by_label(name, value), self._device)
            for name, value in zip(self._outputs, values, strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else _Outputs(zip(self._outputs, outputs, strict=True))

    def _by_label(self, name: str, value: Any) -> Any:
        """An output; of a ZipMap, its tensor with the columns in the order of the labels."""
        if name not in self._keys:
            return value
        number = len(self._keys[name])
        if value.ndim != 2 or value.shape[1] != number:
            raise RuntimeError(f"output {name!r} has {number} keys, but its tensor is {shape_text(value.shape)}")
        return value[:, self._columns[name]] if name in self._columns else value


def label_columns(labels: Sequence[Label], keys: Sequence[int | str]) -> list[int] | None:
    """The index of the key of each label; None if they do not match. Keys 0, 1, 2 … are positions, unless the labels
    are numbers."""
    by_text = {str(key): index for index, key in enumerate(keys)}
    texts = [label_text(label) for label in labels]
    if len(texts) == len(by_text) and set(texts) == set(by_text):
        return [by_text[text] for text in texts]
    named = all(isinstance(label, str) and not label.lstrip("-").isdigit() for label in labels)
    if named and len(labels) == len(keys) and sorted(by_text) == sorted(str(index) for index in range(len(keys))):
        return [by_text[str(index)] for index in range(len(keys))]
    return None


def label_text(label: Label) -> str:
    """A label as the text of a model's key: that of an integer for booleans and whole floats."""
    whole = isinstance(label, bool) or (isinstance(label, float) and label.is_integer())
    return str(int(label)) if whole else str(label)


def _as_tensor(value: Any, device: torch.device) -> Any:
    """An output as a tensor on the device. Text labels and sequences stay as they are, so that another output can be
    chosen."""
    if isinstance(value, list):
        return value
    array = np.asarray(value)
    return torch.from_numpy(array).to(device) if array.dtype.kind in "biuf" else array


class _Outputs(dict[Any, Any]):
    """Outputs by name, and by index as in a tuple."""

    def get(self, key: Any, default: Any = None) -> Any:
        return list(self.values())[key] if isinstance(key, int) and key < len(self) else super().get(key, default)


def load_export(data: bytes, device: torch.device = CPU) -> nn.Module:
    """Load a `.pt2` file that was exported in eval mode. Executes code from it.

    Args:
        device: the device where the program creates tensors, instead of that which it was exported on.
    """
    try:
        program = torch.export.load(io.BytesIO(data))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass  # only GPUs need it

            program = move_to_device_pass(program, torch.device(device.type, device.index or 0))
        return program.module()
    except Exception as error:  # torch may raise anything on a bad file
        raise BundleError(f"the .pt2 file cannot be loaded: {one_line(error)}") from error


def load_script(data: bytes) -> nn.Module:
    """Load a TorchScript archive. Executes code from it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch recommends .pt2, but these files exist
            module: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # torch may raise anything on a bad file
        raise BundleError(f"the TorchScript file cannot be loaded: {one_line(error)}") from error
    return module.eval()


def load_import(factory: str, weights: dict[str, Tensor]) -> nn.Module:
    """Import `module:factory`, call it, and fill the module with weights. Executes the module."""
    name, _, attribute = factory.partition(":")
    try:
        module = getattr(import_module(name), attribute)()
        module.load_state_dict(weights, strict=True)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise BundleError(f"{factory} cannot be imported and filled with its weights: {one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise BundleError(f"{factory} returns a {type(module).__name__}, not a torch.nn.Module")
    return module.eval().requires_grad_(False)

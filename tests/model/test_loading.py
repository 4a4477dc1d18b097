"""Members of every kind as modules: what is read, what needs trust, and errors in one line.

`tests/end_to_end/test_model_formats.py` compares the predictions of all formats.
"""

import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from scoreline.pipeline.bundle.bundle import Bundle
from scoreline.pipeline.digests import sha256
from scoreline.pipeline.errors import BundleError, UntrustedBundleError
from scoreline.pipeline.model.loading import (
    OnnxModel,
    load_export,
    load_import,
    load_members,
    load_script,
)
from scoreline.pipeline.model.weights import write_weights
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.graph import Graph
from scoreline.schemas.heads import RegressionHead
from scoreline.schemas.members import ExportMember, GraphMember, ImportMember, OnnxMember, ScriptMember
from torch import nn

from bundle_manifests import manifest_of, member_of

CPU = torch.device("cpu")
X = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]])
TENSORS = {
    "fc.weight": torch.tensor([[1.0, -1.0]]), "fc.bias": torch.tensor([0.25]),
    "norm.weight": torch.tensor([2.0]), "norm.bias": torch.tensor([1.0]),
    "norm.running_mean": torch.tensor([0.5]), "norm.running_var": torch.tensor([4.0]),
    "norm.num_batches_tracked": torch.tensor(3),
}  # fmt: skip
GRAPH = Graph.model_validate(
    {
        "inputs": ["x"],
        "layers": {
            "fc": {"type": "Linear", "args": {"in_features": 2, "out_features": 1, "bias": True}},
            "drop": {"type": "Dropout", "args": {"p": 0.5}},
            "norm": {"type": "BatchNorm1d", "args": {"num_features": 1}},
        },
        "nodes": [
            {"name": "a", "op": "layer", "target": "fc", "args": [{"node": "x"}]},
            {"name": "b", "op": "layer", "target": "drop", "args": [{"node": "a"}]},
            {"name": "c", "op": "layer", "target": "norm", "args": [{"node": "b"}]},
        ],
        "output": {"node": "c"},
    }
)


def normalised(x: torch.Tensor) -> torch.Tensor:
    """The result of the graph, by the formulas of its layers."""
    linear = x.double() @ torch.tensor([[1.0], [-1.0]]).double() + 0.25
    return (linear - 0.5) / (4.0 + 1e-5) ** 0.5 * 2.0 + 1.0


def bundle_of(folder: Path, members: list[Any], files: dict[str, bytes]) -> Bundle:
    """A bundle of files."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    digests = {"golden.parquet": sha256(b""), **{name: sha256(data) for name, data in files.items()}}
    ensemble = Ensemble(combine="mean") if len(members) > 1 else None
    manifest = manifest_of(RegressionHead(), members=members, ensemble=ensemble, files=digests)
    return Bundle(path=folder, manifest=manifest, digest=sha256(b"bundle.json"))


@pytest.fixture
def graph_bundle(tmp_path: Path) -> Bundle:
    files = {"graph.json": GRAPH.model_dump_json().encode(), "weights.safetensors": write_weights(TENSORS)}
    return bundle_of(tmp_path, [member_of()], files)


class TestGraphs:
    """Graphs are data; they are optimised unless they are wanted as saved."""

    def test_optimised(self, graph_bundle: Bundle) -> None:
        """The norm is folded into the linear layer and the dropout dropped, with the same results."""
        (member,) = load_members(graph_bundle, device=CPU, trust=())
        assert (member.folded, member.dropped) == (1, 1)
        assert [type(layer) for layer in member.module.children()] == [nn.Linear]
        torch.testing.assert_close(member.module(X).double(), normalised(X), rtol=1e-5, atol=1e-6)
        assert member.graph == GRAPH

    def test_as_saved(self, graph_bundle: Bundle) -> None:
        (member,) = load_members(graph_bundle, device=CPU, trust=(), as_saved=True)
        assert (member.folded, member.dropped) == (0, 0)
        assert set(member.module.state_dict()) == set(TENSORS)
        assert member.graph == GRAPH
        torch.testing.assert_close(member.module(X).double(), normalised(X), rtol=1e-5, atol=1e-6)

    def test_members_in_order(self, tmp_path: Path) -> None:
        """Each with its own weights."""
        files = {"graph.json": GRAPH.model_dump_json().encode()}
        members = []
        for index in range(3):
            name = f"weights-{index}.safetensors"
            files[name] = write_weights({**TENSORS, "norm.bias": torch.tensor([float(index)])})
            members.append(GraphMember(graph="graph.json", weights=name))
        loaded = load_members(bundle_of(tmp_path, members, files), device=CPU, trust=())
        for index, member in enumerate(loaded):
            expected = normalised(X) - 1 + index
            torch.testing.assert_close(member.module(X).double(), expected, rtol=1e-5, atol=1e-6)

    def test_a_changed_file_is_refused(self, graph_bundle: Bundle) -> None:
        (graph_bundle.path / "weights.safetensors").write_bytes(write_weights(TENSORS | {"more": torch.ones(1)}))
        with pytest.raises(BundleError, match=r"weights\.safetensors is not the file that the bundle was saved with"):
            load_members(graph_bundle, device=CPU, trust=())


CODE_MEMBERS = [
    ExportMember(file="m.pt2"),
    ScriptMember(file="m.pt"),
    ImportMember(factory="scoreline_no_such_module:make", weights="weights.safetensors"),
]


class TestTrust:
    """Code is loaded only if the digest of the bundle is named."""

    @pytest.mark.parametrize("member", CODE_MEMBERS, ids=lambda member: member.kind)
    @pytest.mark.parametrize("trust", [(), ("sha256:" + "1" * 64,), ("",)])
    def test_code_is_refused(self, member: Any, trust: tuple[str, ...], tmp_path: Path) -> None:
        """Before its file is read; the message has both ways to trust it."""
        files = dict.fromkeys(["m.pt2", "m.pt", "weights.safetensors"], b"")
        bundle = bundle_of(tmp_path, [member], files)
        for name in files:
            (tmp_path / name).unlink()
        with pytest.raises(UntrustedBundleError) as error:
            load_members(bundle, device=CPU, trust=trust)
        assert str(error.value) == (
            f"{tmp_path} contains code ({member.kind}), which can do anything once it is loaded; if you trust it, add"
            f' --trust {bundle.digest}, or to the job file: trust = ["{bundle.digest}"]'
        )

    def test_a_digest_alone_is_one_digest(self, tmp_path: Path) -> None:
        """From Python, text is not taken for a list of letters."""
        bundle = bundle_of(tmp_path, [ScriptMember(file="m.pt")], {"m.pt": b"no archive"})
        with pytest.raises(BundleError, match="the TorchScript file cannot be loaded"):
            load_members(bundle, device=CPU, trust=bundle.digest)


class Half(nn.Module):
    """Half of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.drop = nn.Linear(2, 1), nn.Dropout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.fc(x)) / 2


WEIGHTS = {"fc.weight": torch.tensor([[2.0, 4.0]]), "fc.bias": torch.tensor([1.0])}


class TestImport:
    """`load_import`."""

    @pytest.fixture(autouse=True)
    def _factories(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("scoreline_factories")
        module.make = Half  # type: ignore[attr-defined]
        module.make_dict = lambda: types.SimpleNamespace(load_state_dict=lambda *_, **__: None)  # type: ignore[attr-defined]
        module.leave = lambda: sys.exit(3)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "scoreline_factories", module)

    def test_it_is_filled_with_weights(self) -> None:
        """In eval mode, without gradients."""
        model = load_import("scoreline_factories:make", WEIGHTS)
        torch.testing.assert_close(model(X), (X @ torch.tensor([[2.0], [4.0]]) + 1) / 2)
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize(
        ("factory", "weights", "says"),
        [
            ("scoreline_no_such_module:make", WEIGHTS, "cannot be imported and filled with its weights: No module"),
            ("scoreline_factories:nothing", WEIGHTS, "cannot be imported and filled with its weights: module"),
            ("scoreline_factories:make", {}, "cannot be imported and filled with its weights: Error(s) in loading"),
            ("scoreline_factories:leave", WEIGHTS, "cannot be imported and filled with its weights: 3"),
            ("scoreline_factories:make_dict", WEIGHTS, "returns a SimpleNamespace, not a torch.nn.Module"),
        ],
    )
    def test_errors(self, factory: str, weights: dict[str, torch.Tensor], says: str) -> None:
        """One line that begins with the factory; a module that exits does not end the process."""
        with pytest.raises(BundleError) as error:
            load_import(factory, weights)
        assert str(error.value).startswith(f"{factory} {says}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_files_of_torch_that_are_broken(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^the \.pt2 file cannot be loaded: ") as error:
        load_export(data)
    assert "\n" not in str(error.value)
    with pytest.raises(BundleError, match=r"^the TorchScript file cannot be loaded: ") as error:
        load_script(data)
    assert "\n" not in str(error.value)


def onnx_bytes(nodes: list[Any], outputs: list[Any], *, inputs: tuple[str, ...] = ("a", "b")) -> bytes:
    """A model of two inputs, float32 `[rows, 2]`, with a weight of two numbers."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in inputs]
    weight = numpy_helper.from_array(np.array([10.0, 100.0], dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "g", given, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def output(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, ["rows"] if kind == TensorProto.INT64 else ["rows", 2])


DIFFERENCE = [
    helper.make_node("Mul", ["a", "w"], ["scaled"]),
    helper.make_node("Sub", ["scaled", "b"], ["y"]),
]
PAIR = [*DIFFERENCE, helper.make_node("ArgMax", ["scaled"], ["label"], axis=1, keepdims=0)]
W = torch.tensor([10.0, 100.0])


class TestOnnx:
    """`OnnxModel`."""

    @pytest.mark.parametrize(("names", "swapped"), [(["a", "b"], False), (["b", "a"], True), (["p", "q"], False)])
    def test_inputs_by_name_or_in_order(self, names: list[str], swapped: bool) -> None:
        """By name only if all names are those of the file; one dict is taken as well."""
        model = OnnxModel(onnx_bytes(DIFFERENCE, [output("y")]), names, CPU)
        one, other = X, X.flip(0)
        expected = other * W - one if swapped else one * W - other
        assert torch.equal(model(one, other), expected)
        assert torch.equal(model({names[0]: one, names[1]: other}), expected)
        assert model.input_types == ["tensor(float)", "tensor(float)"]

    def test_tables_in_any_layout(self) -> None:
        """Tables are column-major."""
        model = OnnxModel(onnx_bytes(DIFFERENCE, [output("y")]), ["a", "b"], CPU)
        assert torch.equal(model(X.T.contiguous().T, X), X * W - X)

    def test_several_outputs_by_name_and_by_index(self) -> None:
        data = onnx_bytes(PAIR, [output("y"), output("label", TensorProto.INT64)])
        found = OnnxModel(data, ["a", "b"], CPU)(X, X)
        assert isinstance(found, dict)
        assert list(found) == ["y", "label"]
        assert torch.equal(found.get(0), found["y"])
        assert torch.equal(found.get("label"), (X * W).argmax(dim=1))
        assert found.get(1) is found["label"]
        assert (found.get(2), found.get("other"), found.get(7, "none")) == (None, None, "none")

    def test_errors_while_it_runs(self) -> None:
        """A RuntimeError of one line, as torch would raise it."""
        model = OnnxModel(onnx_bytes(DIFFERENCE, [output("y")]), ["a", "b"], CPU)
        with pytest.raises(RuntimeError) as error:
            model(torch.zeros(3, 5), torch.zeros(3, 5))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("data", [b"no model", b"PK\x03\x04"])
    def test_broken_files(self, data: bytes) -> None:
        with pytest.raises(BundleError, match=r"^the ONNX model cannot be loaded: ") as error:
            OnnxModel(data, ["x"], CPU)
        assert "\n" not in str(error.value)

    def test_weights_in_another_file(self) -> None:
        """Their digest is not in the bundle."""
        model = onnx.load(io.BytesIO(onnx_bytes(DIFFERENCE, [output("y")])))
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="elsewhere.bin")
        with pytest.raises(BundleError, match="export it with external_data=False"):
            OnnxModel(model.SerializeToString(), ["a", "b"], CPU)

    def test_a_device_that_onnxruntime_was_not_built_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnxruntime

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(BundleError) as error:
            OnnxModel(b"", ["x"], torch.device("cuda"))
        assert str(error.value) == (
            "the installed onnxruntime has no CUDAExecutionProvider; install onnxruntime-gpu, or use --device cpu"
        )

    def test_as_a_member_of_a_bundle(self, tmp_path: Path) -> None:
        """It is data, so no trust is needed; inputs are those of the manifest."""
        node = helper.make_node("Mul", ["x", "w"], ["y"])
        data = onnx_bytes([node], [output("y")], inputs=("x",))
        bundle = bundle_of(tmp_path, [OnnxMember(file="model.onnx")], {"model.onnx": data})
        (member,) = load_members(bundle, device=CPU, trust=())
        assert torch.equal(member.module(X), X * W)
        assert (member.graph, member.folded, member.dropped) == (None, 0, 0)

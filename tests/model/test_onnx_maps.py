"""ZipMap nodes are found in the bytes of a model, and replaced by their tensors."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scoreline.pipeline.model.loading import OnnxModel, label_columns
from scoreline.pipeline.model.onnx_maps import without_zip_maps

X = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]], dtype=np.float32)


def model(keys: list[Any], *, outputs: tuple[str, ...] = ("maps",)) -> bytes:
    """A model that puts a ZipMap behind its input, with other nodes before it."""
    text = isinstance(keys[0], str)
    nodes = [
        helper.make_node("Scaler", ["X"], ["s"], domain="ai.onnx.ml", offset=[0.0, 0.0], scale=[1.0, 1.0]),
        helper.make_node("Softmax", ["s"], ["unused"], axis=-1),
        helper.make_node("Constant", [], ["unused too"], value_strings=["ZipMap", "text"]),
        helper.make_node("Identity", ["s"], ["p"]),
        helper.make_node(
            "ZipMap", ["p"], ["maps"], domain="ai.onnx.ml",
            **{"classlabels_strings" if text else "classlabels_int64s": keys},
        ),
    ]  # fmt: skip
    kind = helper.make_map_type_proto(
        TensorProto.STRING if text else TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    infos = {
        "maps": helper.make_value_info("maps", helper.make_sequence_type_proto(kind)),
        "p": helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2]),
    }
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])]
    graph = helper.make_graph(nodes, "g", inputs, [infos[name] for name in outputs])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data: bytes = helper.make_model(graph, opset_imports=versions, ir_version=9).SerializeToString()
    return data


@pytest.mark.parametrize("keys", [[0, 1], [-3, 2**40], ["no", "yes"], ["ß", ""]], ids=str)
def test_the_tensor_equals_the_dicts(keys: list[Any]) -> None:
    """By onnxruntime itself."""
    data = model(keys)
    changed, found = without_zip_maps(data)
    assert found == {"maps": tuple(keys)}
    sessions = [onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (data, changed)]
    (maps,), (tensor,) = (session.run(["maps"], {"X": X}) for session in sessions)
    assert [[row[key] for key in keys] for row in maps] == tensor.tolist()


def test_the_rest_of_the_model_is_unchanged() -> None:
    """As the package onnx reads it: other nodes, inputs, versions."""
    before, after = (onnx.load_from_string(data) for data in (model([0, 1]), without_zip_maps(model([0, 1]))[0]))
    (identity,) = [node for node in after.graph.node if node.output == ["maps"]]
    assert (identity.op_type, list(identity.input), identity.domain) == ("Identity", ["p"], "")
    for each in (before, after):
        del each.graph.node[-1]
        del each.graph.output[:]
    assert before == after


def test_a_tensor_that_is_an_output_as_well() -> None:
    """Both are returned, under their names and in their order."""
    found = OnnxModel(model([0, 1], outputs=("p", "maps")), ["X"], torch.device("cpu"))(torch.from_numpy(X))
    assert list(found) == ["p", "maps"]
    assert torch.equal(found["maps"], torch.from_numpy(X))


def test_a_model_of_nothing_but_trees() -> None:
    """It does not import the operators of ONNX itself, which the Identity is one of."""
    before = onnx.load_from_string(model([0, 1]))
    (zip_map,) = [node for node in before.graph.node if node.op_type == "ZipMap"]
    zip_map.input[0] = "s"
    for node in [node for node in before.graph.node if node.domain == ""]:
        before.graph.node.remove(node)
    del before.opset_import[0]
    assert [each.domain for each in before.opset_import] == ["ai.onnx.ml"]
    found = OnnxModel(before.SerializeToString(), ["X"], torch.device("cpu"))(torch.from_numpy(X))
    assert torch.equal(found, torch.from_numpy(X))


def test_a_map_that_is_no_output() -> None:
    """It is left alone."""
    data = model([0, 1], outputs=("p",))
    assert without_zip_maps(data) == (data, {})


def test_a_model_without_maps_is_returned_as_it_is() -> None:
    """The same bytes."""
    graph = helper.make_graph([helper.make_node("Identity", ["X"], ["y"])], "g", [], [])
    data = helper.make_model(graph).SerializeToString()
    assert without_zip_maps(data) == (data, {})


def test_keys_that_contradict_the_tensor() -> None:
    """A RuntimeError, as for other failures of a model."""
    with pytest.raises(RuntimeError, match=r"output 'maps' has 3 keys, but its tensor is \[3, 2\]"):
        OnnxModel(model([0, 1, 2]), ["X"], torch.device("cpu"))(torch.from_numpy(X))


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    """They have no ZipMap, and nothing is raised."""
    assert without_zip_maps(data) == (data, {})


@given(st.data())
def test_damaged_models(data: st.DataObject) -> None:
    """Cut or changed anywhere: no error, at most one ZipMap."""
    whole = bytearray(model(["no", "yes"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    for damaged in (bytes(whole), bytes(whole[:at])):
        changed, keys = without_zip_maps(damaged)
        assert len(keys) == 1 or changed == damaged


@pytest.mark.parametrize(
    ("labels", "keys", "columns"),
    [
        (["a", "b"], ["b", "a"], [1, 0]),
        ([1, 0], [0, 1], [1, 0]),
        ([True, False], [0, 1], [1, 0]),
        ([1.0, 2.0], [2, 1], [1, 0]),
        (["1", "0"], [0, 1], [1, 0]),
        (["no", "yes"], [0, 1], [0, 1]),
        (["no", "yes"], [1, 0], [1, 0]),
        (["no", "yes"], [1, 2], None),
        (["no", "yes"], ["0", "1"], [0, 1]),
        ([1, 2], [0, 1], None),
        (["1", "2"], [0, 1], None),
        (["a", "b"], ["a", "c"], None),
        (["a", "b"], ["a", "b", "c"], None),
        ([0.5, 1.5], [0, 1], None),
    ],
)
def test_columns_of_labels(labels: list[Any], keys: list[Any], columns: list[int] | None) -> None:
    """By the text of the key, or by position if the keys are positions and the labels are names."""
    assert label_columns(labels, keys) == columns

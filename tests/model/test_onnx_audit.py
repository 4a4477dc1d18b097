"""What an ONNX file may not do, wherever in it a tensor or a node is: read another file, draw random numbers."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TrainingInfoProto,
    helper,
    numpy_helper,
)
from scoreline.pipeline.model.onnx_audit import refuse_unsafe

from scoreline import BundleError


def external() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="elsewhere.bin")
    return tensor


def node(**attributes: object) -> NodeProto:
    return helper.make_node("Constant", [], ["c"], **attributes)


def model(graph: GraphProto | None = None, **fields: object) -> ModelProto:
    return ModelProto(ir_version=8, graph=graph or GraphProto(name="g"), **fields)


def within_if(inner: GraphProto) -> GraphProto:
    branch = helper.make_node("If", ["x"], ["y"])
    branch.attribute.append(AttributeProto(name="then_branch", type=AttributeProto.GRAPH, g=inner))
    branch.attribute.append(AttributeProto(name="others", type=AttributeProto.GRAPHS, graphs=[GraphProto(name="e")]))
    return GraphProto(name="outer", node=[branch])


TENSORS: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initializer": lambda tensor: model(GraphProto(initializer=[tensor])),
    "sparse initializer": lambda tensor: model(GraphProto(sparse_initializer=[SparseTensorProto(values=tensor)])),
    "indices": lambda tensor: model(GraphProto(sparse_initializer=[SparseTensorProto(indices=tensor)])),
    "constant": lambda tensor: model(GraphProto(node=[node(value=tensor)])),
    "constants": lambda tensor: model(
        GraphProto(node=[NodeProto(attribute=[AttributeProto(tensors=[TensorProto(), tensor])])])
    ),
    "sparse constant": lambda tensor: model(
        GraphProto(node=[NodeProto(attribute=[AttributeProto(sparse_tensor=SparseTensorProto(values=tensor))])])
    ),
    "branch": lambda tensor: model(within_if(within_if(GraphProto(initializer=[tensor])))),
    "function": lambda tensor: model(functions=[FunctionProto(name="f", node=[node(value=tensor)])]),
    "default of a function": lambda tensor: model(
        functions=[FunctionProto(name="f", attribute_proto=[AttributeProto(name="a", t=tensor)])]
    ),
    "training": lambda tensor: model(
        training_info=[TrainingInfoProto(algorithm=GraphProto(initializer=[tensor]))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", TENSORS.values(), ids=list(TENSORS))
def test_weights_in_another_file(place: Callable[[TensorProto], ModelProto]) -> None:
    """Their digest is not in the bundle, and onnxruntime would read any file below the working directory."""
    refuse_unsafe(place(numpy_helper.from_array(np.ones(2, np.float32), "w")).SerializeToString())
    with pytest.raises(BundleError, match="keeps its weights in another file"):
        refuse_unsafe(place(external()).SerializeToString())


@pytest.mark.parametrize(
    "entry",
    [
        b"\x12\x01x\x0a\x08location",  # the value before the key
        b"\x0a\x88\x00location\x12\x01x",  # a length of two bytes
        b"\x0a\x08location",
    ],
)
@pytest.mark.parametrize("tag", [b"\x6a", b"\xea\x00", b"\xea\x80\x80\x80\x10"])
def test_other_ways_to_write_the_same_field(tag: bytes, entry: bytes) -> None:
    """A protocol buffer has no canonical form."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2]).SerializeToString()
    tensor += tag + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    data = b"\x3a" + bytes([len(graph)]) + graph
    with pytest.raises(BundleError, match="keeps its weights in another file"):
        refuse_unsafe(data)


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniformLike", "Multinomial", "Bernoulli", "BiasDropout"])
def test_random_numbers(name: str) -> None:
    """In a branch, too."""
    graph = GraphProto(name="g", node=[helper.make_node(name, ["x"], ["y"])])
    for found in (graph, within_if(graph)):
        with pytest.raises(BundleError, match=f"draws random numbers \\({name}\\); export it in eval mode"):
            refuse_unsafe(model(found).SerializeToString())


@pytest.mark.parametrize(
    ("inputs", "refused"), [(["x"], False), (["x", "r"], False), (["x", "", ""], False), (["x", "", "training"], True)]
)
def test_dropout(inputs: list[str], refused: bool) -> None:
    """Only with an input that may turn it on."""
    data = model(GraphProto(node=[helper.make_node("Dropout", inputs, ["y"])])).SerializeToString()
    if not refused:
        refuse_unsafe(data)
        return
    with pytest.raises(BundleError, match="Dropout"):
        refuse_unsafe(data)


@pytest.mark.parametrize("numbers", [[], [1], [-1, 300, 2**62], list(range(5000))])
def test_fields_after_many_numbers(numbers: list[int]) -> None:
    """The numbers of a forest are skipped, whatever they are, and nothing after them."""
    floats = [float(np.float32(number)) for number in numbers]
    attribute = AttributeProto(name="trees", ints=numbers, floats=floats)
    harmless = model(GraphProto(node=[NodeProto(attribute=[attribute])])).SerializeToString()
    refuse_unsafe(harmless)
    attribute.tensors.append(external())
    with pytest.raises(BundleError, match="keeps its weights in another file"):
        refuse_unsafe(model(GraphProto(node=[NodeProto(attribute=[attribute])])).SerializeToString())


def test_functions_of_the_file_with_such_names() -> None:
    """Are not the operators; and names need not be UTF-8."""
    nodes = [
        helper.make_node("Sampling", ["x"], ["y"], domain="of.the.file"),
        helper.make_node("Add", ["x", "y"], ["z"]),
    ]
    data = model(GraphProto(name="g", node=nodes)).SerializeToString()
    refuse_unsafe(data.replace(b"\x0a\x01x", b"\x0a\x01\xff"))


@pytest.mark.parametrize("head", [b"\x10\x00\x00\x00", b"\x00\x00\x00\x00", b"\x12\x7f\x12\x7f"])
def test_the_format_of_onnxruntime(head: bytes) -> None:
    """Is another one, which onnxruntime recognises by itself."""
    with pytest.raises(BundleError, match="it has the format of onnxruntime"):
        refuse_unsafe(head + b"ORTM" + bytes(200))


@pytest.mark.parametrize(
    "data", [b"no model", b"PK\x03\x04", b"\x3a\x05\x0a", b"\x3b\x3c", b"\xff" * 12, b"\x00\x01", b"\x02\x00"]
)
def test_other_files(data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be loaded: the file is not a protocol buffer"):
        refuse_unsafe(data)


def test_graphs_within_graphs() -> None:
    """However deep: the recursion of protobuf ends at 100."""
    data = b""
    for _ in range(2000):
        inner = b"\x32" + _varint(len(data)) + data  # AttributeProto.g
        inner = b"\x2a" + _varint(len(inner)) + inner
        data = b"\x0a" + _varint(len(inner)) + inner
    refuse_unsafe(b"\x3a" + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])

"""ZipMap nodes of an ONNX file: the converters of scikit-learn and LightGBM end classifiers with one, which turns the
tensor of probabilities into a list of dicts. In memory, it is replaced by an Identity, which keeps the tensor.

Independent of onnxruntime.
"""

from dataclasses import dataclass

from .onnx_buffer import Field, encoded, fields, integers

Keys = tuple[int, ...] | tuple[str, ...]
#: Field numbers of ONNX's protocol buffers: ModelProto.graph, GraphProto.node and output, ValueInfoProto.name;
#: ModelProto.opset_import, OperatorSetIdProto.domain; the fields of NodeProto, and of AttributeProto.
_GRAPH, _NODE, _OUTPUT, _VALUE_NAME = 7, 1, 12, 1
_OPSET, _DOMAIN = 8, 1
_INPUTS, _OUTPUTS, _OP_TYPE, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _INTS, _STRINGS = 1, 8, 9
#: The field `version` of an OperatorSetIdProto: 13, the first in which an Identity takes every type.
_IDENTITY_VERSION = b"\x10\x0d"


def without_zip_maps(data: bytes) -> tuple[bytes, dict[str, Keys]]:
    """A model whose ZipMap nodes return their tensor, and the keys of each by the name of its output, in the order of
    the tensor's columns. Other bytes are returned as they are."""
    keys: dict[str, Keys] = {}
    domains = set()
    parts: list[bytes | memoryview] = []
    try:
        for field in fields(memoryview(data)):
            parts.append(encoded(_GRAPH, _graph(field.message, keys)) if field.number == _GRAPH else field.raw)
            if field.number == _OPSET:
                domains.add(next((inner.text for inner in fields(field.message) if inner.number == _DOMAIN), ""))
    except (ValueError, UnicodeDecodeError):
        return data, {}
    if not domains & {"", "ai.onnx"}:  # a model of nothing but trees need not import the operators of ONNX itself
        parts.append(encoded(_OPSET, _IDENTITY_VERSION))
    return (b"".join(parts), keys) if keys else (data, {})


def _graph(data: memoryview, keys: dict[str, Keys]) -> bytes:
    """The graph with other nodes in place of its ZipMaps. Adds their keys."""
    found = list(fields(data))
    nodes = {at: _zip_map(list(fields(field.message))) for at, field in enumerate(found) if field.number == _NODE}
    outputs = {_value_name(field) for field in found if field.number == _OUTPUT}
    replaced = {at: node for at, node in nodes.items() if node is not None and node.output in outputs}
    keys.update({node.output: node.keys for node in replaced.values()})
    parts: list[bytes | memoryview] = []
    for at, field in enumerate(found):
        part: bytes | memoryview = field.raw
        if at in replaced:
            part = encoded(_NODE, replaced[at].as_identity())
        elif field.number == _OUTPUT:
            name = _value_name(field)
            if name in keys:  # without its type, which onnxruntime infers
                part = encoded(_OUTPUT, encoded(_VALUE_NAME, name.encode()))
        parts.append(part)
    return b"".join(parts)


def _value_name(field: Field) -> str:
    return next((inner.text for inner in fields(field.message) if inner.number == _VALUE_NAME), "")


@dataclass(frozen=True, slots=True)
class _ZipMap:
    tensor: str
    output: str
    keys: Keys

    def as_identity(self) -> bytes:
        """A node that returns the tensor under the name of the output."""
        named = ((_INPUTS, self.tensor), (_OUTPUTS, self.output), (_OP_TYPE, "Identity"))
        return b"".join(encoded(number, text.encode()) for number, text in named)


def _zip_map(node: list[Field]) -> _ZipMap | None:
    """The node, if it is a ZipMap."""
    if not any(field.number == _OP_TYPE and bytes(field.message) == b"ZipMap" for field in node):
        return None
    (tensor,) = [field.text for field in node if field.number == _INPUTS]
    (output,) = [field.text for field in node if field.number == _OUTPUTS]
    for field in node:
        attribute = list(fields(field.message)) if field.number == _ATTRIBUTE else []
        name = next((inner.text for inner in attribute if inner.number == _NAME), "")
        if name == "classlabels_strings":
            return _ZipMap(tensor, output, tuple(inner.text for inner in attribute if inner.number == _STRINGS))
        if name == "classlabels_int64s":
            keys = [key for inner in attribute if inner.number == _INTS for key in integers(inner.value)]
            return _ZipMap(tensor, output, tuple(keys))
    raise ValueError("a ZipMap without keys")

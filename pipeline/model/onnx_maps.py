"""ZipMap nodes of an ONNX file: the converters of scikit-learn and LightGBM end classifiers with one, which turns the
tensor of probabilities into a list of dicts. In memory, it is replaced by an Identity, which keeps the tensor.

Reads the few fields it needs from the protocol buffer, so that onnx need not be installed. Independent of onnxruntime.
"""

from collections.abc import Iterator
from dataclasses import dataclass

Keys = tuple[int, ...] | tuple[str, ...]
#: Field numbers of ONNX's protocol buffers: ModelProto.graph, GraphProto.node and output, ValueInfoProto.name;
#: ModelProto.opset_import, OperatorSetIdProto.domain; the fields of NodeProto, and of AttributeProto.
_GRAPH, _NODE, _OUTPUT, _VALUE_NAME = 7, 1, 12, 1
_OPSET, _DOMAIN = 8, 1
_INPUTS, _OUTPUTS, _OP_TYPE, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _INTS, _STRINGS = 1, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: The field `version` of an OperatorSetIdProto: 13, the first in which an Identity takes every type.
_IDENTITY_VERSION = b"\x10\x0d"
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message. `value`: a number, or bytes. `raw`: all of its bytes, with its number."""

    number: int
    value: memoryview | int
    raw: memoryview

    @property
    def message(self) -> memoryview:
        """Its bytes. Raises ValueError if it has none."""
        if isinstance(self.value, memoryview):
            return self.value
        raise ValueError("not a protocol buffer")

    @property
    def text(self) -> str:
        """Its bytes as text."""
        return bytes(self.message).decode("utf-8")


def without_zip_maps(data: bytes) -> tuple[bytes, dict[str, Keys]]:
    """A model whose ZipMap nodes return their tensor, and the keys of each by the name of its output, in the order of
    the tensor's columns. Other bytes are returned as they are."""
    keys: dict[str, Keys] = {}
    domains = set()
    parts: list[bytes | memoryview] = []
    try:
        for field in _fields(memoryview(data)):
            parts.append(_encoded(_GRAPH, _graph(field.message, keys)) if field.number == _GRAPH else field.raw)
            if field.number == _OPSET:
                domains.add(next((inner.text for inner in _fields(field.message) if inner.number == _DOMAIN), ""))
    except (ValueError, UnicodeDecodeError):
        return data, {}
    if not domains & {"", "ai.onnx"}:  # a model of nothing but trees need not import the operators of ONNX itself
        parts.append(_encoded(_OPSET, _IDENTITY_VERSION))
    return (b"".join(parts), keys) if keys else (data, {})


def _graph(data: memoryview, keys: dict[str, Keys]) -> bytes:
    """The graph with other nodes in place of its ZipMaps. Adds their keys."""
    fields = list(_fields(data))
    nodes = {at: _zip_map(list(_fields(field.message))) for at, field in enumerate(fields) if field.number == _NODE}
    outputs = {_value_name(field) for field in fields if field.number == _OUTPUT}
    replaced = {at: node for at, node in nodes.items() if node is not None and node.output in outputs}
    keys.update({node.output: node.keys for node in replaced.values()})
    parts: list[bytes | memoryview] = []
    for at, field in enumerate(fields):
        part: bytes | memoryview = field.raw
        if at in replaced:
            part = _encoded(_NODE, replaced[at].as_identity())
        elif field.number == _OUTPUT:
            name = _value_name(field)
            if name in keys:  # without its type, which onnxruntime infers
                part = _encoded(_OUTPUT, _encoded(_VALUE_NAME, name.encode()))
        parts.append(part)
    return b"".join(parts)


def _value_name(field: _Field) -> str:
    return next((inner.text for inner in _fields(field.message) if inner.number == _VALUE_NAME), "")


@dataclass(frozen=True, slots=True)
class _ZipMap:
    tensor: str
    output: str
    keys: Keys

    def as_identity(self) -> bytes:
        """A node that returns the tensor under the name of the output."""
        named = ((_INPUTS, self.tensor), (_OUTPUTS, self.output), (_OP_TYPE, "Identity"))
        return b"".join(_encoded(number, text.encode()) for number, text in named)


def _zip_map(node: list[_Field]) -> _ZipMap | None:
    """The node, if it is a ZipMap."""
    if not any(field.number == _OP_TYPE and bytes(field.message) == b"ZipMap" for field in node):
        return None
    (tensor,) = [field.text for field in node if field.number == _INPUTS]
    (output,) = [field.text for field in node if field.number == _OUTPUTS]
    for field in node:
        attribute = list(_fields(field.message)) if field.number == _ATTRIBUTE else []
        name = next((inner.text for inner in attribute if inner.number == _NAME), "")
        if name == "classlabels_strings":
            return _ZipMap(tensor, output, tuple(inner.text for inner in attribute if inner.number == _STRINGS))
        if name == "classlabels_int64s":
            integers = [key for inner in attribute if inner.number == _INTS for key in _integers(inner.value)]
            return _ZipMap(tensor, output, tuple(integers))
    raise ValueError("a ZipMap without keys")


def _fields(data: memoryview) -> Iterator[_Field]:
    """The fields of a message. Raises ValueError if it is not a protocol buffer."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        kind = tag & 7
        value: memoryview | int
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            if kind == _BYTES:
                length, at = _varint(data, at)
            elif kind in _WIDTHS:
                length = _WIDTHS[kind]
            else:
                raise ValueError("not a protocol buffer")
            if at + length > len(data):
                raise ValueError("not a protocol buffer")
            value, at = data[at : at + length], at + length
        yield _Field(tag >> 3, value, data[start:at])


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at + shift // 7 >= len(data):
            break
        byte = data[at + shift // 7]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + shift // 7 + 1
    raise ValueError("not a protocol buffer")


def _integers(value: memoryview | int) -> Iterator[int]:
    """One integer, or several that are packed."""
    numbers, at = [], 0
    if isinstance(value, int):
        numbers.append(value)
    else:
        while at < len(value):
            number, at = _varint(value, at)
            numbers.append(number)
    for number in numbers:
        yield number - (1 << 64) if number >= 1 << 63 else number


def _encoded(number: int, value: bytes) -> bytes:
    """A field of bytes."""
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])

"""Checks of an ONNX file before onnxruntime loads it: its weights are in the file, and nothing in it is random.
Independent of onnxruntime."""

import re

from ..errors import BundleError
from .onnx_buffer import fields

#: By message, those of its fields that can contain a tensor or a node, with the message in each: ModelProto,
#: TrainingInfoProto, FunctionProto, GraphProto, NodeProto, AttributeProto, SparseTensorProto.
_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: TensorProto.external_data, and NodeProto's input, op_type and domain.
_EXTERNAL, _INPUT, _OP_TYPE, _DOMAIN = 13, 1, 4, 7
#: How a file of onnxruntime's own format has its name, after four bytes; as a protocol buffer it has no fields.
_ORT_FORMAT = b"ORTM"
_DOMAINS = {b"", b"ai.onnx", b"com.microsoft"}
#: The floats and ints of an AttributeProto, of which a forest has millions.
_NUMBERS = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f])++", re.DOTALL)
_RANDOM = {
    *(b"Bernoulli", b"Multinomial", b"RandomNormal", b"RandomNormalLike", b"RandomUniform", b"RandomUniformLike"),
    *(b"BiasDropout", b"BitmaskBiasDropout", b"BitmaskDropout", b"Sampling"),  # of onnxruntime
}


def refuse_unsafe(data: bytes) -> None:
    """Raise BundleError for a file that is not a protocol buffer, reads another file, or draws random numbers."""
    if data[4:8] == _ORT_FORMAT:
        raise BundleError("the ONNX model cannot be loaded: it has the format of onnxruntime; use the .onnx file")
    left = [("model", memoryview(data))]
    try:
        while left:
            kind, message = left.pop()
            within, inputs, name, domain = _WITHIN[kind], list[bytes](), b"", b""
            for field in fields(message, _NUMBERS if kind == "attribute" else None):
                if field.number in within:
                    left.append((within[field.number], field.message))
                elif kind == "tensor" and field.number == _EXTERNAL:
                    raise BundleError(
                        "the ONNX file keeps its weights in another file, which the bundle's digests do not cover;"
                        " export it with external_data=False"
                    )
                elif kind == "node" and field.number == _INPUT:
                    inputs.append(bytes(field.message))
                elif kind == "node" and field.number == _OP_TYPE:
                    name = bytes(field.message)
                elif kind == "node" and field.number == _DOMAIN:
                    domain = bytes(field.message)
            random = name in _RANDOM or (name == b"Dropout" and any(inputs[2:]))  # the third is whether it is training
            if random and domain in _DOMAINS:
                raise BundleError(f"the ONNX model draws random numbers ({name.decode()}); export it in eval mode")
    except ValueError as error:
        raise BundleError("the ONNX model cannot be loaded: the file is not a protocol buffer") from error

"""The members of a bundle: a graph, an ONNX model, or code that must be trusted."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import FileName, Schema

#: Kinds of members whose loading executes code.
CODE = ("pt2", "torchscript", "import")


class LayerRecord(Schema):
    """One step of a graph: its name, the module or function that it calls, and the shape of its result for a row."""

    name: str
    calls: str
    shape: list[int]


class GraphMember(Schema):
    """A model as data: operations and tensors. `layers`: every step whose result is a tensor, in order, as the
    graph was saved; empty if an older version saved it."""

    kind: Literal["graph"] = "graph"
    graph: FileName
    weights: FileName
    layers: list[LayerRecord] = []


class OnnxMember(Schema):
    """A model as data: an ONNX file, run by onnxruntime."""

    kind: Literal["onnx"] = "onnx"
    file: FileName


class ExportMember(Schema):
    """A program saved by torch.export. Loading it executes code, so the bundle must be trusted by its digest."""

    kind: Literal["pt2"] = "pt2"
    file: FileName


class ScriptMember(Schema):
    """A TorchScript archive: code, which is only loaded if the bundle is trusted."""

    kind: Literal["torchscript"] = "torchscript"
    file: FileName


class ImportMember(Schema):
    """`module:factory`, imported and called, then filled with weights: code, which is only loaded if the bundle is
    trusted."""

    kind: Literal["import"] = "import"
    factory: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    weights: FileName


AnyMember = Annotated[
    GraphMember | OnnxMember | ExportMember | ScriptMember | ImportMember, Field(discriminator="kind")
]


def files_of(member: AnyMember) -> list[str]:
    """The files of a member."""
    match member:
        case GraphMember():
            return [member.graph, member.weights]
        case ImportMember():
            return [member.weights]
    return [member.file]

"""The members of a bundle: a graph, ONNX, or code that needs to be trusted."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import Schema

#: A file that lies directly in the bundle: no folders, no way out of it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
#: Kinds of members that cannot be loaded without executing what is in them.
CODE = ("pt2", "torchscript", "import")


class LayerRecord(Schema):
    """One step of a graph: its name, what it calls, and the shape of its result for a row."""

    name: str
    calls: str
    shape: list[int]


class GraphMember(Schema):
    """A model as data: operations and tensors. `layers`: every step that makes a tensor, in order, as the graph was
    saved; empty where an older version saved it."""

    kind: Literal["graph"] = "graph"
    graph: FileName
    weights: FileName
    layers: list[LayerRecord] = []


class OnnxMember(Schema):
    """A model as data: an ONNX file, run by onnxruntime."""

    kind: Literal["onnx"] = "onnx"
    file: FileName


class ExportMember(Schema):
    """A program saved by torch.export. Its loader executes code: only a bundle that is trusted by digest loads."""

    kind: Literal["pt2"] = "pt2"
    file: FileName


class ScriptMember(Schema):
    """A TorchScript archive: code, and only loaded when trusted."""

    kind: Literal["torchscript"] = "torchscript"
    file: FileName


class ImportMember(Schema):
    """`module:factory`, imported and called, then filled with weights: code, and only loaded when trusted."""

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

"""graph.json: a model as data, its operations in order. It defines the form of a graph; the allowed
operations are in `pipeline/graph/operations.py`.

Values of JSON represent themselves; other Python values have an object with one field: `{"node": "relu"}` is the
result of an earlier node, `{"tuple": [...]}`, `{"mapping": {...}}`, `{"slice": [0, null, null]}`,
`{"dtype": "float32"}`, `{"float": "-inf"}`, `{"ellipsis": true}`.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypeAliasType

from .base import Schema

#: A node's name. Names are identifiers or the graph is refused; they are only ever dictionary keys.
NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]
#: A layer or tensor by its path in the module, as in `layers.0.weight`.
DottedName = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z_][A-Za-z0-9_]*|[0-9]+)(\.([A-Za-z_][A-Za-z0-9_]*|[0-9]+))*$")
]


class NodeRef(Schema):
    """The result of an earlier node."""

    node: NodeName


class TupleArg(Schema):
    """A tuple (a plain JSON array is a list)."""

    tuple: "list[Arg]"


class DictArg(Schema):
    """A dictionary with text keys."""

    mapping: "dict[str, Arg]"


class SliceArg(Schema):
    """`slice(start, stop, step)`, as in `x[:, 1:]`."""

    slice: "tuple[Arg, Arg, Arg]"


class DtypeArg(Schema):
    """A torch dtype by its name, as in `float32`."""

    dtype: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,20}$")]


class FloatArg(Schema):
    """A float that JSON cannot represent."""

    float: Literal["inf", "-inf", "nan"]


class EllipsisArg(Schema):
    """`...`, as in `x[..., 0]`."""

    ellipsis: Literal[True]


Arg = TypeAliasType(
    "Arg",
    "None | bool | int | float | str | list[Arg] | NodeRef | TupleArg | DictArg | SliceArg | DtypeArg"
    " | FloatArg | EllipsisArg",
)


class Layer(Schema):
    """One allow-listed `torch.nn` module and the arguments of its constructor."""

    type: str
    args: dict[str, Arg] = {}


class Node(Schema):
    """One operation. `target` is a layer's or tensor's path, or the name of a function, method, attribute or ATen
    operator (as in `aten.add.Tensor`). `module`: the path of the trained module whose result an operator computes."""

    name: NodeName
    op: Literal["layer", "tensor", "function", "method", "attribute", "operator"]
    target: str
    args: list[Arg] = []
    kwargs: dict[str, Arg] = {}
    module: DottedName | None = Field(default=None, exclude_if=lambda path: path is None)


class Graph(Schema):
    """graph.json, format 1. Raise `format` whenever an older reader would misread a newer file."""

    format: Literal[1] = 1
    inputs: list[NodeName] = Field(min_length=1)
    layers: dict[DottedName, Layer] = {}
    nodes: list[Node] = []
    output: Arg


for model in (TupleArg, DictArg, SliceArg, Layer, Node, Graph):
    model.model_rebuild()

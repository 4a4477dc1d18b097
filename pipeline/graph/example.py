"""Examples of what a module takes, with which it is captured. Independent of columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: The name of the number of rows among sizes that vary.
ROWS = "rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """Tensors that a module may accept, by argument in order. `dynamic`: the dimensions of each whose size varies, with
    the name of the size: `rows`, or that of the steps of a list. `most`: the largest value of a size that has one.
    `as_dict`: whether the module takes the tensors as one dict."""

    arguments: Mapping[str, Tensor]
    dynamic: Mapping[str, Mapping[int, str]]
    most: Mapping[str, int] = field(default_factory=dict)
    as_dict: bool = False

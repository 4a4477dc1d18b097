"""Examples of the inputs of models that are captured as graphs."""

from collections.abc import Sequence

from scoreline.pipeline.graph.example import ROWS, Example
from torch import Tensor


def rows_of(names: str | Sequence[str], *tensors: Tensor) -> Example:
    """Tensors by argument, of which only the number of rows varies; one tensor for all arguments if there is one."""
    names = [names] if isinstance(names, str) else list(names)
    given = tensors if len(tensors) == len(names) else tensors * len(names)
    return Example(arguments=dict(zip(names, given, strict=True)), dynamic={name: {0: ROWS} for name in names})

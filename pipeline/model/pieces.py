"""Joins the outputs of the passes of a block. Independent of models."""

from torch import Tensor

from ..records import Sequences
from .passes import Pass, in_row_order

Outputs = dict[str, Tensor | Sequences]


class Pieces:
    """The outputs of passes over the same rows, as they are computed.

    Those of tables and images, unless they are texts, are copied at once into one tensor for all rows. Kept one by one,
    they would lie between the activations of consecutive passes, and split the free memory of the heap into pieces that
    are too small for the next activations: a deep model took 60 to 140 MB more (measured).

    Args:
        num_rows: the rows of all passes together.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._whole: dict[str, Tensor] = {}
        self._made: list[Outputs] = []
        self._positions: list[slice | Tensor] = []
        self._host_positions: list[Tensor | None] = []

    def add(self, one: Pass, made: Outputs) -> None:
        """Add the outputs of a pass."""
        rows = one.positions
        values = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        if one.num_rows == self._num_rows or not isinstance(rows, slice) or len(values) < len(made):
            self._made.append(made)
            self._positions.append(rows)
            self._host_positions.append(one.host_positions)
            return
        for name, value in values.items():
            if name not in self._whole:
                self._whole[name] = value.new_empty((self._num_rows, *value.shape[1:]))
            self._whole[name][rows] = value

    def joined(self) -> Outputs:
        """The outputs of all rows, in their order."""
        if self._whole:
            return dict(self._whole)
        return {
            name: in_row_order([made[name] for made in self._made], self._positions, self._host_positions)
            for name in self._made[0]
        }

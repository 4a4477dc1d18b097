"""constants: columns with the same text in every row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from ...arrays import repeated_text
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Constants(Stage):
    """Appends the columns of `--constant` to `decoded` and `scored`.

    Args:
        values: the texts, in the order of the columns.
    """

    name = "constants"

    def __init__(self, values: tuple[str, ...]) -> None:
        self._values = values

    def __call__(self, block: Block) -> Block:
        decoded, scored = block.need_decoded(), block.scored
        columns = tuple(repeated_text(value, decoded.num_rows) for value in self._values)
        if scored is not None:
            made = [*scored.rows.columns, *columns]
            rows = pa.RecordBatch.from_arrays(made, schema=block.origin.schema_of(len(made)))
            scored = replace(scored, rows=rows)
        with_columns = replace(decoded, columns=(*decoded.columns, *columns))
        return replace(block, decoded=with_columns, scored=scored, num_rows=decoded.num_rows, num_bytes=0)

"""explain: attributions of some rows, as further columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...bundle.explained import COMPLETE
from ...model.devices import Device
from ...options import ColumnOptions
from ...records import dense
from ..batches import kept_positions, positions_or_all
from ..explaining.attribution import Attribution
from .stage import Stage

if TYPE_CHECKING:
    from ...timing import StageTimes
    from ..block import Block

#: Of the largest difference in score: what attributions may miss it by without a warning.
WIDE_GAP = 0.05


class Explain(Stage):
    """`decoded` and `scored` with the columns of `--explain` behind the others.

    The partition's name and the row's number in it decide which rows are explained.
    """

    name = "explain"

    def __init__(self, attribution: Attribution, device: Device, options: ColumnOptions) -> None:
        self._attribution, self._device, self._options = attribution, device, options

    def __call__(self, block: Block) -> Block:
        features, decoded, scored = block.need_features(), block.need_decoded(), block.scored
        kept = positions_or_all(decoded.kept, decoded.batch.num_rows)
        index = np.searchsorted(kept_positions(features), kept)
        assert features.sent is not None or not features.num_kept, "what is explained was transferred"
        given = features.inputs if features.sent is None else features.sent.tensors
        inputs = dense(self._device.some(given, index))
        columns, number = self._attribution.columns(
            inputs, decoded.columns, self._options, block.origin.source, kept + block.first_row
        )
        explained = replace(decoded, columns=(*decoded.columns, *columns))
        if scored is not None:
            assert block.origin.schema is not None, "what is written has a schema"
            rows = pa.RecordBatch.from_arrays([*scored.rows.columns, *columns], schema=block.origin.schema)
            scored = replace(scored, rows=rows)
        return replace(block, decoded=explained, scored=scored, num_rows=number, num_bytes=0)

    def summary(self, times: StageTimes) -> Iterator[tuple[str, dict[str, Any]]]:
        """How many rows have attributions, and how nearly those sum to the difference in score."""
        method, rows, lost = self._attribution.explain.method, times[self.name].rows, self._attribution.lost
        if lost:
            reason = (
                "rows between these and the baseline have no finite score, or make the model raise: their attributions"
                " are null"
            )
            yield "not_explained", {"level": "warning", "rows": lost, "reason": reason}
        if retried := self._attribution.retried:
            reason = f"the model fails on rows together that it takes in pieces, which is slow: {retried[0]}"
            yield "retried", {"level": "warning", "stage": self.name, "reason": reason}
        if method not in COMPLETE:
            yield "explained", {"method": method, "rows": rows}
            return
        gap, difference = self._attribution.largest_gap
        wide = gap > WIDE_GAP * difference
        yield (
            "explained",
            {
                "level": "warning" if wide else "info",
                "method": method,
                "rows": rows,
                "largest_gap": gap,
                "largest_difference": difference,
                "reason": "attributions miss the difference in score widely: the model is too steep for the points of"
                " the path; pass --explain shapley"
                if wide
                else "attributions of a row sum to the difference of its score and the baseline's, within the gap",
            },
        )

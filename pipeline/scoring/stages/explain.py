"""explain: attributions of some rows, as additional columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from ...bundle.explain import COMPLETE
from ...events import Event, Level
from ...model.devices import Device
from ...options import ColumnOptions
from ...records import dense
from ..batches import kept_positions, positions_or_all
from ..explaining.attribution import Attribution
from .stage import Stage

if TYPE_CHECKING:
    from ...timing import StageTimes
    from ..block import Block

#: A warning is logged if the largest gap exceeds this share of the largest difference in score.
WIDE_GAP = 0.05


class RowsNotExplained(Event):
    """Some rows have no attributions."""

    name: ClassVar[str] = "rows_not_explained"
    level: ClassVar[Level] = "warning"
    rows: int
    reason: str = (
        "rows between these and the baseline have no finite score, or make the model raise; their attributions are null"
    )


class ExplanationRetried(Event):
    """While rows were explained, the model failed on a batch but passed in smaller pieces."""

    name: ClassVar[str] = "explanation_retried"
    level: ClassVar[Level] = "warning"
    reason: str


class RowsExplained(Event):
    """Rows have attributions."""

    name: ClassVar[str] = "rows_explained"
    method: str
    rows: int
    #: The largest gap between the sum of a row's attributions and the difference between its score and the baseline's;
    #: None for methods whose attributions do not sum to that difference.
    largest_gap: float | None = None
    #: The largest difference in score.
    largest_difference: float | None = None


class AttributionsImprecise(Event):
    """The largest gap exceeds a twentieth of the largest difference in score."""

    name: ClassVar[str] = "attributions_imprecise"
    level: ClassVar[Level] = "warning"
    largest_gap: float
    largest_difference: float
    reason: str = (
        "the sums of attributions differ widely from the differences in score: the model is too steep for this many"
        " points on the path; pass --explain shapley"
    )


class Explain(Stage):
    """Appends the columns of `--explain` to `decoded` and `scored`.

    The partition's name and the row's number in it determine which rows are explained.
    """

    name = "explain"

    def __init__(self, attribution: Attribution, device: Device, options: ColumnOptions) -> None:
        self._attribution, self._device, self._options = attribution, device, options

    def __call__(self, block: Block) -> Block:
        features, decoded, scored = block.need_features(), block.need_decoded(), block.scored
        kept = positions_or_all(decoded.kept, decoded.batch.num_rows)
        index = np.searchsorted(kept_positions(features), kept)
        sent = self._device.send(features.inputs) if features.sent is None else features.sent  # no rows were sent
        with self._device.using(sent, index) as inputs:
            columns, number = self._attribution.columns(
                dense(inputs), decoded.columns, self._options, block.origin.source, kept + block.first_row
            )
        explained = replace(decoded, columns=(*decoded.columns, *columns))
        if scored is not None:
            made = [*scored.rows.columns, *columns]
            rows = pa.RecordBatch.from_arrays(made, schema=block.origin.schema_of(len(made)))
            scored = replace(scored, rows=rows)
        return replace(block, decoded=explained, scored=scored, num_rows=number, num_bytes=0)

    def summary(self, times: StageTimes) -> Iterator[Event]:
        """The number of rows with attributions, and how closely those sum to the difference in score."""
        attribution, rows = self._attribution, times[self.name].rows
        method = attribution.explain.method
        if attribution.lost:
            yield RowsNotExplained(rows=attribution.lost)
        if retried := attribution.retried:
            yield ExplanationRetried(
                reason=f"the model fails on rows together and passes in pieces, which is slow: {retried[0]}"
            )
        if method not in COMPLETE:
            yield RowsExplained(method=method, rows=rows)
            return
        gap, difference = attribution.largest_gap
        yield RowsExplained(method=method, rows=rows, largest_gap=gap, largest_difference=difference)
        if gap > WIDE_GAP * difference:
            yield AttributionsImprecise(largest_gap=gap, largest_difference=difference)

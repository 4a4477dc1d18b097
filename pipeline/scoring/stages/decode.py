"""decode: raw outputs → named columns with the keys, and all rejects so far."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ....schemas.bundle import BundleManifest
from ...arrays import to_arrow
from ...bundle.heads import with_thresholds
from ...options import ColumnOptions
from ...outputs.assemble import assemble, assemble_rejects
from ...records import Reject, RowCounts, ScoredBatch
from ...tasks.decode import decode_head
from ..batches import DecodedBatch
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Decode(Stage):
    """`raw` and `hidden` → `decoded`, and `scored` if rows are written.

    A row becomes a reject if its output is not finite, or out of bounds where the head's bounds reject.

    Args:
        members: the number of models in the bundle.
    """

    name = "decode"

    def __init__(self, manifest: BundleManifest, members: int, options: ColumnOptions) -> None:
        self._heads = with_thresholds(manifest.heads, options)
        self._ensemble, self._members, self._options = manifest.ensemble, members, options

    def __call__(self, block: Block) -> Block:
        decoded, origin = self._decoded(block), block.origin
        if origin.schema is None:
            return replace(block, decoded=decoded, num_rows=decoded.num_rows, num_bytes=0)
        schema = origin.schema_of(origin.num_keys + len(decoded.columns))
        scored = ScoredBatch(
            rows=assemble(block.batch, decoded.kept, decoded.columns, schema),
            rejects=assemble_rejects(block.batch, decoded.rejects, source=origin.source, first_row=block.first_row),
            counts=decoded.counts,
            retried=block.need_raw().retried,
        )
        rows = scored.rows
        return replace(block, decoded=decoded, scored=scored, num_rows=rows.num_rows, num_bytes=rows.nbytes)

    def _decoded(self, block: Block) -> DecodedBatch:
        features, raw = block.need_features(), block.need_raw()
        heads = [
            decode_head(head, raw.heads[head.name], self._options, self._ensemble, self._members)
            for head in self._heads
        ]
        columns = [*(column for head in heads for column in head.columns), *block.hidden]
        kept = raw.kept(features)
        rows = features.num_kept - len(raw.failed)
        rejects = [*features.rejects, *raw.rejects(features)]
        good = np.ones(rows, dtype=np.bool_)
        out_of_bounds, above_threshold = np.zeros((2, rows), dtype=np.bool_)

        def reject(bad: np.ndarray, reason: str) -> None:
            lost = np.flatnonzero(bad & good)
            positions = lost if kept is None else kept[lost]
            rejects.append(Reject(positions=positions, stage="decode", column="", reasons=(reason,) * len(positions)))
            good[lost] = False

        for head, decoded in zip(self._heads, heads, strict=True):
            if decoded.finite is not None:
                reject(~decoded.finite.numpy(), "the model's output is not finite")
            if decoded.above_threshold is not None:
                above_threshold |= decoded.above_threshold.numpy()
            if decoded.out_of_bounds is None:
                continue
            if head.bounds is not None and head.bounds.reject:
                reject(decoded.out_of_bounds.numpy(), "the prediction is out of bounds")
            else:
                out_of_bounds |= decoded.out_of_bounds.numpy()
        if not good.all():
            kept = np.flatnonzero(good) if kept is None else kept[good]
            columns = [array.filter(to_arrow(good)) for array in columns]
        return DecodedBatch(
            batch=features.batch,
            columns=tuple(columns),
            kept=kept,
            rejects=tuple(rejects),
            out_of_bounds=out_of_bounds,
            above_threshold=above_threshold,
            counts=RowCounts(
                out_of_bounds=int((out_of_bounds & good).sum()), above_threshold=int((above_threshold & good).sum())
            ),
        )

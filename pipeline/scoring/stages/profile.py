"""profile: takes sampled rows of the features and of the predictions, which are counted when a split ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....schemas.bundle import BundleManifest
from ...bundle.heads import head_fields
from ...monitoring.count import sample_features, sample_outputs
from ...monitoring.layout import Layout
from ...monitoring.reference import is_numeric
from ...monitoring.sampling import stride_of
from ...options import ColumnOptions
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block, Origin


class ProfileFeatures(Stage):
    """Begins `sample` with the features in `checked`, before any step, and the rows rejected so far."""

    name = "profile"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __call__(self, block: Block) -> Block:
        made = sample_features(
            self._layout, block.need_checked(), first_row=block.first_row, stride=_stride(self._layout, block.origin)
        )
        return replace(block, sample=made, num_rows=made.sampled, num_bytes=made.num_bytes)


class ProfileOutputs(Stage):
    """Adds the columns in `decoded` to `sample`."""

    name = "profile_outputs"

    def __init__(self, layout: Layout, manifest: BundleManifest, options: ColumnOptions) -> None:
        self._layout = layout
        fields = [field for head in manifest.heads for field in head_fields(manifest, head, options)]
        self._names: Sequence[str] = [field.name for field in fields]
        #: With other thresholds than the bundle's, labels and flags are not those of the reference.
        self._left_out = {field.name for field in fields if options.thresholds and not is_numeric(field.type)}

    def __call__(self, block: Block) -> Block:
        decoded, before = block.need_decoded(), block.need_sample()
        made = sample_outputs(
            self._layout,
            {
                name: column
                for name, column in zip(self._names, decoded.columns, strict=False)  # hidden layers follow
                if name not in self._left_out
            },
            decoded.kept,
            num_rows=block.batch.num_rows,
            first_row=block.first_row,
            stride=before.stride,
        )
        return replace(block, sample=before + made, num_rows=before.sampled, num_bytes=made.num_bytes)


def _stride(layout: Layout, origin: Origin) -> int:
    """The distance between counted rows, by the file and the bundle alone."""
    return stride_of(origin.about_rows, len(layout.columns))

"""scale: apply the saved preprocessing steps in float64, then build the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ....schemas.bundle import BundleManifest
from ...features.tensors import scale_batch
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Scale(Stage):
    """`checked` → `features`, `[kept, columns]` each. Releases `checked`.

    Args:
        limits: embedding sizes by the column that indexes them.
        sources: the raw feature of each column.
        pin: whether to use pinned memory, for copies to a GPU.
    """

    name = "scale"

    def __init__(
        self, manifest: BundleManifest, *, limits: Mapping[str, int], sources: Mapping[str, str], pin: bool
    ) -> None:
        self._steps, self._inputs = manifest.steps, manifest.inputs
        self._limits, self._sources, self._pin = limits, sources, pin

    def __call__(self, block: Block) -> Block:
        features = scale_batch(
            block.need_checked(),
            steps=self._steps,
            inputs=self._inputs,
            limits=self._limits,
            sources=self._sources,
            pin=self._pin,
        )
        num_bytes = sum(given.nbytes for given in features.inputs.values())
        return replace(block, checked=None, features=features, num_rows=features.num_kept, num_bytes=num_bytes)

"""check: feature columns by name, as exact float64 or unchanged; rows with values that do not fit become rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....schemas.inputs import Feature
from ...inputs.check import check_batch
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Check(Stage):
    """`batch` → `checked`."""

    name = "check"

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features

    def __call__(self, block: Block) -> Block:
        checked = check_batch(
            block.batch,
            self._features,
            text=block.origin.text,
            dialect=block.origin.dialect,
            unreadable=block.unreadable,
        )
        return replace(block, checked=checked, num_rows=block.batch.num_rows, num_bytes=block.batch_bytes)

"""transfer: send the model's inputs to the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...model.devices import Device
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Transfer(Stage):
    """`features.inputs` → `features.sent`."""

    name = "transfer"

    def __init__(self, device: Device) -> None:
        self._device = device

    def __call__(self, block: Block) -> Block:
        features = block.need_features()
        num_bytes = sum(given.nbytes for given in features.inputs.values())
        sent = self._device.send(features.inputs) if features.num_kept else None
        moved = replace(features, sent=sent)
        return replace(block, features=moved, num_rows=features.num_kept, num_bytes=num_bytes)

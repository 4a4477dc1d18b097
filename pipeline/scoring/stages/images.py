"""images: bytes and paths → pixels, decoded by Pillow in threads; broken images become rejects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ....schemas.inputs import ImageInput
from ...features.images import Mapper, open_images, require_pillow
from ...inputs.check import some_rows
from ...records import CheckedBatch, Reject
from ..batches import positions_or_all
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Images(Stage):
    """In `checked`, pixels in place of bytes and paths: float32 `[kept, channels, height, width]`.

    Args:
        entries: the bundle's image inputs.
        mapper: runs the decoding, in threads where it has them.
    """

    name = "images"

    def __init__(self, entries: Sequence[ImageInput], mapper: Mapper = map) -> None:
        require_pillow()
        self._entries = {entry.columns[0]: entry for entry in entries}
        self._mapper = mapper

    def __call__(self, block: Block) -> Block:
        checked, num_rows, num_bytes = block.need_checked(), block.need_checked().num_kept, 0
        for name, entry in self._entries.items():
            pixels, broken = open_images(checked.columns[name], entry, folder=block.origin.folder, mapper=self._mapper)
            num_bytes += pixels.nbytes
            checked = replace(checked, columns={**checked.columns, name: pixels})
            if broken:
                checked = _without(checked, broken, name)
        return replace(block, checked=checked, num_rows=num_rows, num_bytes=num_bytes)


def _without(checked: CheckedBatch, broken: Mapping[int, str], name: str) -> CheckedBatch:
    """The rows whose image could be decoded; the others are rejects."""
    before = positions_or_all(checked.kept, checked.batch.num_rows)
    good = np.delete(np.arange(len(before)), list(broken))
    indices = np.array(sorted(broken), dtype=np.int64)
    reasons = tuple(broken[index] for index in indices.tolist())
    reject = Reject(positions=before[indices], stage="images", column=name, reasons=reasons)
    columns = {name: some_rows(values, good) for name, values in checked.columns.items()}
    return replace(checked, columns=columns, kept=before[good], rejects=(*checked.rejects, reject))

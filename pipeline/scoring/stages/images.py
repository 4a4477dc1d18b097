"""images: bytes and paths → pixels, decoded by Pillow in threads; broken images become rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...features.kind import InputKind, Mapper
from ...storage.objects import read_objects
from ..rejecting import without_rows
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Images(Stage):
    """Replaces bytes and paths in `checked` by pixels: float32 `[kept, channels, height, width]`, for a GPU uint8
    `[kept, height, width, channels]`.

    Args:
        kinds: the bundle's inputs; those that open files are decoded.
        mapper: the map function for decoding, which may use threads.
        pin: decode into pinned memory, for a GPU that normalises.
    """

    name = "images"
    opens_files = True

    def __init__(self, kinds: Sequence[InputKind[Any]], mapper: Mapper = map, *, pin: bool = False) -> None:
        self._kinds = {kind.entry.columns[0]: kind for kind in kinds if kind.opens_files}
        self._mapper, self._pin = mapper, pin
        for kind in self._kinds.values():
            kind.require()

    def __call__(self, block: Block) -> Block:
        checked, num_rows, num_bytes = block.need_checked(), block.need_checked().num_kept, 0
        for name, kind in self._kinds.items():
            column, folder = checked.columns[name], block.origin.folder
            pixels, broken = kind.open(column, folder=folder, mapper=self._mapper, pin=self._pin, fetch=read_objects)
            num_bytes += pixels.nbytes
            checked = replace(checked, columns={**checked.columns, name: pixels})
            if broken:
                checked = without_rows(checked, broken, stage=self.name, column=name, pin=self._pin)
        return replace(block, checked=checked, num_rows=num_rows, num_bytes=num_bytes)

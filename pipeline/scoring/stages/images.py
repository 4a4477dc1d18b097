"""images: bytes and paths → pixels, decoded by Pillow in threads; broken images become rejects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ...features.kind import InputKind, Mapper
from ...features.pinned import some_of
from ...inputs.check import some_rows
from ...records import CheckedBatch, Reject
from ..batches import positions_or_all
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
            pixels, broken = kind.open(column, folder=folder, mapper=self._mapper, pin=self._pin)
            num_bytes += pixels.nbytes
            checked = replace(checked, columns={**checked.columns, name: pixels})
            if broken:
                checked = _without(checked, broken, name, pin=self._pin)
        return replace(block, checked=checked, num_rows=num_rows, num_bytes=num_bytes)


def _without(checked: CheckedBatch, broken: Mapping[int, str], name: str, *, pin: bool) -> CheckedBatch:
    """Keep the rows whose image was decoded; the others become rejects."""
    before = positions_or_all(checked.kept, checked.batch.num_rows)
    good = np.delete(np.arange(len(before)), list(broken))
    indices = np.array(sorted(broken), dtype=np.int64)
    reasons = tuple(broken[index] for index in indices.tolist())
    reject = Reject(positions=before[indices], stage="images", column=name, reasons=reasons)
    decoded = np.ones(len(before), dtype=np.bool_)
    decoded[indices] = False
    columns = {
        name: some_of(values, decoded, pin=True) if pin and _are_pixels(values) else some_rows(values, good)
        for name, values in checked.columns.items()
    }
    return replace(checked, columns=columns, kept=before[good], rejects=(*checked.rejects, reject))


def _are_pixels(values: Any) -> TypeGuard[NDArray[np.uint8]]:
    return isinstance(values, np.ndarray) and values.dtype == np.uint8

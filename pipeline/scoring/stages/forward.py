"""forward: the raw output of every head, under `inference_mode`, moved to the CPU."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ...errors import ModelFailedError, ScorelineError, one_line
from ...model.devices import rows_between
from ...model.passes import in_row_order
from ..batches import RawBatch
from ..loaded import LoadedBundle
from .stage import Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..block import Block


class Forward(Stage):
    """`features` → `raw`, `[rows, members × width]` for every head.

    On a CPU, rows that make the model raise are found by halving the block, and become rejects. If each of the first
    eight rows of a file makes the model raise on its own, the model itself is at fault, and the run fails.
    """

    name = "forward"

    def __init__(self, loaded: LoadedBundle) -> None:
        self._loaded = loaded

    def __call__(self, block: Block) -> Block:
        return self.run(block, None)

    def run(self, block: Block, rows: NDArray[np.int64] | None) -> Block:
        """Run the model on the rows to score, or on those at the positions in `rows` (None: all).

        Raises:
            ModelFailedError: the model itself is at fault, or it raises on a GPU, whose state is unknown afterwards.
                Names the source and the rows.
        """
        features = block.need_features()
        number = features.num_kept if rows is None else len(rows)
        try:
            raw = self._raw(block, rows) if number else self._loaded.no_rows()
        except ModelFailedError as error:
            last = block.first_row + block.batch.num_rows - 1
            source = block.origin.source or "rows"
            raise ModelFailedError(f"{source}: rows {block.first_row} to {last}: {error}") from error
        num_bytes = sum(head.nbytes for head in raw.heads.values())
        return replace(block, raw=raw, num_rows=number, num_bytes=num_bytes, device_s=raw.device_s)

    def _by_file(self, block: Block) -> RawBatch:
        """Run the model on the rows of each file, laid out as they are if the file is alone. Raises what it raises."""
        found = []
        for start, stop in pairwise((0, *block.ends)):
            own = rows_between(block.need_features().inputs, start, stop)
            found.append(self._loaded.run(self._loaded.device.send(own)).heads)
        return RawBatch(heads={name: in_row_order([heads[name] for heads in found], ()) for name in found[0]})

    def _raw(self, block: Block, rows: NDArray[np.int64] | None) -> RawBatch:
        if block.ends:
            return self._by_file(block)
        loaded = self._loaded
        try:
            return loaded.run(block.need_sent(), rows)
        except (ScorelineError, MemoryError):
            raise
        except Exception as error:  # whatever a model raises: its own exceptions, those of TorchScript and ONNX
            reason = one_line(error)
            if not loaded.device.survives_errors:
                raise ModelFailedError(f"the model fails: {reason}") from error
        inputs = loaded.device.select_rows(block.need_features().inputs, rows)
        passed = loaded.members.run_isolating_failures(inputs, first=block.first, error=reason)
        return RawBatch(heads=passed.heads or loaded.no_rows().heads, failed=passed.failed, retried=passed.retried)

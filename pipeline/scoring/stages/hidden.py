"""hidden: the results of hidden layers, from the graph as saved, before layers are folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from ...arrays import to_arrow
from ...bundle.layers import HiddenColumn
from ...errors import BundleError, ModelFailedError, ScorelineError, counted, one_line, shape_text
from ...graph.interpreter import GraphModel, intermediates
from ...model.devices import Device
from ...model.forward import Call
from ...model.memory import halving, is_out_of_memory
from ...model.passes import Passes, size
from ...model.tf32 import float32_products
from ...records import Inputs, dense
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Hidden(Stage):
    """`features` of the rows that passed the model → `hidden`: fixed-size lists of float32."""

    name = "hidden"

    def __init__(self, layers: HiddenLayers, device: Device) -> None:
        self._layers, self._device = layers, device

    def __call__(self, block: Block) -> Block:
        features, raw = block.need_features(), block.need_raw()
        if len(raw.failed) == features.num_kept:
            columns = [pa.nulls(0, pa.list_(pa.float32(), column.width)) for column in self._layers.columns]
        else:
            passed = np.delete(np.arange(features.num_kept), list(raw.failed)) if raw.failed else None
            fetched = self._device.work(block.need_sent(), self._layers.run, passed)
            columns = [
                pa.FixedSizeListArray.from_arrays(to_arrow(values.numpy().reshape(-1)), values.shape[1])
                for values in dense(fetched.tensors).values()
            ]
        num_bytes = sum(column.nbytes for column in columns)
        return replace(block, hidden=tuple(columns), num_rows=features.num_kept, num_bytes=num_bytes)


class HiddenLayers:
    """Runs models up to the last requested layer.

    Args:
        models: the members as saved.
        passes: cuts a block into forward passes.
    """

    def __init__(
        self, models: Sequence[nn.Module], columns: Sequence[HiddenColumn], *, call: Call, passes: Passes
    ) -> None:
        self.columns, self._call, self._passes = tuple(columns), call, passes
        self._models: dict[int, GraphModel] = {}
        for member in dict.fromkeys(column.member for column in columns):
            model = models[member]
            assert isinstance(model, GraphModel), "only graphs have named layers"
            self._models[member] = model

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        """The results for some rows, float32 `[rows, width]` by column name. Sequence models have no named layers.

        Raises:
            BundleError: the width of a result is not the one in the bundle.
            ModelFailedError: the model fails on rows that it passed before, in smaller pieces.
        """
        device = next(iter(dense(inputs).values())).device
        with float32_products(device, tf32=False):
            return halving(
                lambda step: self._run(inputs, step), min(size(inputs), self._passes.pass_rows), device=device
            )

    def _run(self, inputs: Inputs, step: int) -> dict[str, Tensor]:
        pieces: dict[str, list[Tensor]] = {column.name: [] for column in self.columns}
        with torch.inference_mode():
            for one in self._passes.cut(inputs, step):
                try:
                    made = self._pass(one.arguments)
                except (ScorelineError, MemoryError):
                    raise
                except Exception as error:  # whatever a model raises on rows that it passes in smaller pieces
                    if is_out_of_memory(error):
                        raise
                    raise ModelFailedError(f"the model fails before its hidden layers: {one_line(error)}") from error
                for column, values in made:
                    pieces[column.name].append(values)
        return {name: torch.cat(values) for name, values in pieces.items()}

    def _pass(self, inputs: Mapping[str, Tensor]) -> list[tuple[HiddenColumn, Tensor]]:
        rows = next(iter(inputs.values())).shape[0]
        made = []
        for member, model in self._models.items():
            own = {name: _copied(tensor) for name, tensor in inputs.items()}  # some models overwrite them
            given = [own] if self._call == "dict" else list(own.values())
            mine = [column for column in self.columns if column.member == member]
            found = intermediates(model, {column.node for column in mine}, *given)
            for column in mine:
                values = found[column.node].float()
                if values.numel() != rows * column.width or values.shape[0] != rows:
                    raise BundleError(
                        f"layer {column.node!r} returns the shape {shape_text(values.shape)} for"
                        f" {counted(rows, 'row')}, but the bundle declares {counted(column.width, 'number')} for each"
                        " row; save the bundle again"
                    )
                made.append((column, values.reshape(rows, column.width)))
        return made


def _copied(tensor: Tensor) -> Tensor:
    """A copy; of images with the channels first, as in the saved model."""
    return tensor.clone(memory_format=torch.contiguous_format if tensor.dim() == 4 else torch.preserve_format)

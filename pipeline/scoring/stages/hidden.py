"""hidden: the results of hidden layers, from the graph as it was saved, before anything is folded."""

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
from ...errors import BundleError, ModelFailedError, ScorelineError, one_line
from ...graph.interpreter import GraphModel, intermediates
from ...model.devices import Device
from ...model.forward import Call
from ...model.passes import Passes
from ...records import Inputs, dense
from .stage import Stage

if TYPE_CHECKING:
    from ..block import Block


class Hidden(Stage):
    """`features`, of the rows that went through the model → `hidden`: lists of float32 of a fixed size."""

    name = "hidden"

    def __init__(self, layers: HiddenLayers, device: Device) -> None:
        self._layers, self._device = layers, device

    def __call__(self, block: Block) -> Block:
        features, raw = block.need_features(), block.need_raw()
        if len(raw.failed) == features.num_kept:
            columns = [pa.nulls(0, pa.list_(pa.float32(), column.width)) for column in self._layers.columns]
        else:
            passed = np.delete(np.arange(features.num_kept), list(raw.failed)) if raw.failed else None
            fetched = self._device.work(
                block.need_sent(), lambda inputs: self._layers.run(self._device.select_rows(inputs, passed))
            )
            columns = [
                pa.FixedSizeListArray.from_arrays(to_arrow(values.numpy().reshape(-1)), values.shape[1])
                for values in dense(fetched.tensors).values()
            ]
        num_bytes = sum(column.nbytes for column in columns)
        return replace(block, hidden=tuple(columns), num_rows=features.num_kept, num_bytes=num_bytes)


class HiddenLayers:
    """Models that run as far as the last layer that is asked for.

    Args:
        models: the members, as they were saved.
        passes: how the rows of a block go through them.
    """

    def __init__(
        self, models: Sequence[nn.Module], columns: Sequence[HiddenColumn], *, call: Call, passes: Passes
    ) -> None:
        self.columns, self._call, self._passes = tuple(columns), call, passes
        self._models: dict[int, GraphModel] = {}
        for place in dict.fromkeys(column.member for column in columns):
            model = models[place]
            assert isinstance(model, GraphModel), "only graphs have layers that can be named"
            self._models[place] = model

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        """The results for some rows, float32 `[rows, width]` by the name of the column. Models of sequences have no
        layers that can be named.

        Raises:
            BundleError: a result that is not as wide as the bundle says.
            ModelFailedError: the model fails on rows that went through it before, in pieces.
        """
        pieces: dict[str, list[Tensor]] = {column.name: [] for column in self.columns}
        with torch.inference_mode():
            for one in self._passes.cut(inputs):
                try:
                    made = self._pass(one.arguments)
                except (ScorelineError, MemoryError):
                    raise
                except Exception as error:  # whatever a model raises on rows that it takes alone
                    raise ModelFailedError(f"the model fails as far as its hidden layers: {one_line(error)}") from error
                for column, values in made:
                    pieces[column.name].append(values)
        return {name: torch.cat(values) for name, values in pieces.items()}

    def _pass(self, inputs: Mapping[str, Tensor]) -> list[tuple[HiddenColumn, Tensor]]:
        rows = next(iter(inputs.values())).shape[0]
        made = []
        for place, model in self._models.items():
            own = {name: tensor.clone() for name, tensor in inputs.items()}  # some write over theirs
            given = [own] if self._call == "dict" else list(own.values())
            mine = [column for column in self.columns if column.member == place]
            found = intermediates(model, {column.node for column in mine}, *given)
            for column in mine:
                values = found[column.node].float()
                if values.numel() != rows * column.width or values.shape[0] != rows:
                    raise BundleError(
                        f"layer {column.node!r} gives {tuple(values.shape)} for {rows} rows, and the bundle says"
                        f" {column.width} numbers for each; save the bundle again"
                    )
                made.append((column, values.reshape(rows, column.width)))
        return made

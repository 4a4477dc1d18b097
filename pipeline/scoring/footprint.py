"""How much memory of a device a block in flight takes, extrapolated from what the golden rows take."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from torch import Tensor

from ..bundle.golden import GoldenRows
from ..model.modes import pinned
from ..model.passes import size
from ..records import Inputs, Sequences
from .block import Block
from .line import compose
from .loaded import LoadedBundle


@pinned()
def block_bytes(loaded: LoadedBundle, golden: GoldenRows) -> int:
    """The bytes of a block: its inputs and outputs, and the largest intermediate results of a pass; 0 if the device
    shares the host's memory. Those of the last block on the same lane are freed when the next one is sent.

    Intermediate results are taken to grow linearly with the rows (with the steps of sequences), beyond a fixed part.
    """
    if loaded.device.room(1) is None:
        return 0
    once, twice = (_inputs(loaded, golden.features, times) for times in (1, 2))
    outputs_bytes = _num_bytes(loaded.run(loaded.device.send(once)).heads)
    number, most = size(once), loaded.block_rows * loaded.manifest.longest
    in_pass = min(loaded.members.pass_rows, most)
    first = loaded.device.peak_bytes(lambda: _run(loaded, once))
    each = first / number
    if 2 * number <= in_pass:
        each = max(0, loaded.device.peak_bytes(lambda: _run(loaded, twice)) - first) / number
    both_ways = (_num_bytes(once) + outputs_bytes) / number
    computing = max(0.0, first - each * number) + max(0.0, each - both_ways) * in_pass
    return round(both_ways * most + max(computing, _explaining_bytes(loaded, in_pass)))


def _inputs(loaded: LoadedBundle, rows: pa.RecordBatch, times: int) -> Inputs:
    """The inputs of the same rows, several times."""
    return compose(loaded).load(Block(batch=pa.concat_batches([rows] * times))).need_features().inputs


def _num_bytes(tensors: Mapping[str, Tensor | Sequences]) -> int:
    return sum(given.nbytes for given in tensors.values())


def _run(loaded: LoadedBundle, inputs: Inputs) -> None:
    sent = loaded.device.send(inputs)
    loaded.run(sent)
    if loaded.hidden is not None:
        loaded.device.work(sent, loaded.hidden.run)


def _explaining_bytes(loaded: LoadedBundle, in_pass: int) -> float:
    """The bytes of a pass of perturbed rows, with all gradients."""
    attribution = loaded.attribution
    if attribution is None:
        return 0.0
    return loaded.device.peak_bytes(attribution.probe) * in_pass / attribution.rows_in_probe

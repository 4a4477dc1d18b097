"""The forward pass, and how many rows it takes at once. Knows nothing of columns, labels or files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...schemas.bundle import AnyHead, BundleManifest, ImageInput, SequenceInput, TableInput, TaggingHead
from ...schemas.graph import Graph
from ..errors import BundleError, DeviceError

#: Bytes of the float64 columns of a block. What is done once a block costs the less the larger it is, and a few blocks
#: wait in every queue (measured, docs/benchmarks.md); a GPU wants far more at once.
BLOCK_BYTES = {"cpu": 16 << 20, "cuda": 32 << 20}
#: Bytes of the widest activation of a forward pass: in a CPU's cache, whoever else is using the memory.
PASS_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
#: Arguments of layers that say how wide they are.
WIDTHS = ("in_features", "out_features", "num_features", "embedding_dim", "hidden_size", "d_model")
Call = Literal["arguments", "dict"]
#: The same for images, and how many, since nobody knows how large their files are. Decoders share the rows of a block.
IMAGE_BLOCK_BYTES, IMAGE_BLOCK_ROWS = 32 << 20, 64
FEWEST_ROWS, MOST_ROWS = 1024, {"cpu": 1 << 15, "cuda": 1 << 17}


def pick_device(name: str) -> torch.device:
    """`auto` takes the first GPU where there is one; a device that is named is used, or refused.

    Raises:
        DeviceError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r} is not known; say auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not available: {count} CUDA devices are here; use --device cpu or auto"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device {name!r} is not supported; say auto, cpu, cuda or cuda:1")
    return device


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSize:
    """Rows that travel together, rows of one forward pass, and why so many."""

    rows: int
    pass_rows: int
    reason: str


def block_size(
    manifest: BundleManifest, graphs: Sequence[Graph], device_type: str, asked: int | None = None
) -> BlockSize:
    """How rows are cut: blocks by the width of the table, passes over a block by the widest layer, powers of two. A
    function of the model and the kind of device alone, never of a clock or the memory at hand, so that the same job
    always cuts alike.

    Args:
        asked: rows of both, where that was asked for.
    """
    if asked is not None:
        return BlockSize(rows=asked, pass_rows=asked * manifest.longest, reason="as asked")
    if any(not isinstance(entry, TableInput) for entry in manifest.inputs):
        return _large_rows(manifest, graphs, device_type)
    num_features = len(manifest.features)
    widest = max([num_features, *_widths(graphs)])
    most = MOST_ROWS[device_type]
    rows = max(FEWEST_ROWS, min(most, _power_of_two(BLOCK_BYTES[device_type] // (8 * num_features))))
    pass_rows = max(FEWEST_ROWS, min(rows, _power_of_two(PASS_BYTES[device_type] // (4 * widest))))
    reason = (
        f"{num_features} features make blocks of {rows * num_features * 8 / (1 << 20):.3g} MiB, and a widest layer of"
        f" {widest} takes {pass_rows * widest * 4 / (1 << 20):.3g} MiB a pass of {pass_rows} rows, as suits a"
        f" {device_type}"
    )
    return BlockSize(rows=rows, pass_rows=pass_rows, reason=reason)


def _large_rows(manifest: BundleManifest, graphs: Sequence[Graph], device_type: str) -> BlockSize:
    """The same for images, and for sequences as long as the longest: a block of fewer rows, and a pass by what the
    layers make of a row, or, of sequences, by their width at each step."""
    table = sum(8 * entry.numbers for entry in manifest.inputs if isinstance(entry, TableInput))
    images = [entry.numbers for entry in manifest.inputs if isinstance(entry, ImageInput)]
    steps = [entry.numbers for entry in manifest.inputs if isinstance(entry, SequenceInput)]
    tags = sum(len(head.labels) for head in manifest.heads if isinstance(head, TaggingHead)) * len(manifest.members)
    words = sum(feature.dtype == "words" for feature in manifest.features)
    row_bytes = table + 4 * sum(images) + 16 * sum(steps) + manifest.longest * (8 * tags + 64 * words)
    room, most = (IMAGE_BLOCK_BYTES, IMAGE_BLOCK_ROWS) if images else (BLOCK_BYTES[device_type], MOST_ROWS[device_type])
    rows = max(1, min(most, _power_of_two(room // row_bytes)))
    if steps:
        widest = max([1, *_widths(graphs)])
        what = f"a widest layer of {widest} at each step"
    else:
        layers = [prod(layer.shape) for member in manifest.members for layer in getattr(member, "layers", [])]
        widest = max([*layers, max(images)]) if layers else 4 * max(images)
        what = f"the {widest} numbers that its widest layer makes of a row"
    pass_rows = max(2, _power_of_two(PASS_BYTES[device_type] // (4 * widest)))  # one alone would go through twice
    pass_rows = pass_rows if steps else min(max(2, rows), pass_rows)
    reason = (
        f"a row of {row_bytes / 1000:.3g} kB at most makes blocks of {rows * row_bytes / (1 << 20):.3g} MiB, and {what}"
        f" passes of {pass_rows} {'steps' if steps else 'rows'}, as suits a {device_type}"
    )
    return BlockSize(rows=rows, pass_rows=pass_rows, reason=reason)


def _widths(graphs: Sequence[Graph]) -> list[int]:
    """Of the layers."""
    return [
        value
        for graph in graphs
        for layer in graph.layers.values()
        for name, value in layer.args.items()
        if name in WIDTHS and isinstance(value, int)
    ]


def _power_of_two(number: int) -> int:
    """The largest that is no larger, at least 1."""
    return 1 << max(0, number.bit_length() - 1)


def forward(
    model: nn.Module, inputs: Mapping[str, Tensor], heads: Sequence[AnyHead], *, call: Call
) -> dict[str, Tensor]:
    """One forward pass under `inference_mode`, which is entered here because it holds for one thread only.

    Args:
        inputs: what the model takes, a row each, on its device and in its order.

    Returns:
        The raw output of every head by its name, `[rows, width]`, where a model that squeezes gives `[rows]`, or
        `[rows, steps, labels]` of one that tags steps.
        A single row goes through twice, beside itself: models that squeeze take it for no row at all.

    Raises:
        BundleError: an output that has not one row per row.
    """
    rows = next(iter(inputs.values())).shape[0]
    with torch.inference_mode():
        if rows == 1:
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
        raw = called(model, inputs, call)
        return {head.name: _taken(raw, head, max(2, rows))[:rows] for head in heads}


def _taken(raw: Any, head: AnyHead, rows: int) -> Tensor:
    if not isinstance(head, TaggingHead):
        return head_output(raw, head.output, rows)
    assert not isinstance(head.output, list), "the schema says so"
    output = select_output(raw, head.output)
    if output.ndim != 3 or output.shape[0] != rows or output.shape[2] != len(head.labels):
        raise BundleError(
            f"the model returns {tuple(output.shape)} for {rows} rows; tagging takes [rows, steps, labels], of"
            f" {len(head.labels)} labels"
        )
    return output


def called(model: nn.Module, inputs: Mapping[str, Tensor], call: Call) -> Any:
    """The model's own outputs, given the inputs as it takes them."""
    return model(dict(inputs)) if call == "dict" else model(*inputs.values())


def head_output(raw: Any, which: int | str | list[int | str], rows: int) -> Tensor:
    """What a head takes of what a model returns, `[rows, width]`; of several outputs one beside the other."""
    chosen = [_by_row(select_output(raw, one), rows) for one in (which if isinstance(which, list) else [which])]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


def _by_row(output: Tensor, rows: int) -> Tensor:
    if output.ndim not in (1, 2) or output.shape[0] != rows:
        raise BundleError(f"the model returns {tuple(output.shape)} for {rows} rows; it must return one row for each")
    return output.reshape(rows, -1)


def select_output(raw: Any, which: int | str) -> Tensor:
    """One tensor of what a model returns: the tensor itself, a position in its tuple, a key of its dict.

    Raises:
        BundleError: there is no such output, or it holds integers or booleans: labels or counts, which decode to
            plausible scores. Lists the outputs that there are.
    """
    if isinstance(raw, Tensor):
        if which != 0:
            raise BundleError(f"output {which!r} was chosen, and the model returns one tensor; leave it out")
        chosen: Any = raw
        there = "one tensor"
    elif isinstance(raw, list | tuple):
        chosen = raw[which] if isinstance(which, int) and which < len(raw) else None
        there = f"a tuple of {len(raw)}: choose output=0 to {len(raw) - 1}"
    elif isinstance(raw, dict):
        chosen = raw.get(which)
        there = f"a dict: choose output= one of {', '.join(map(repr, raw))}"
    else:
        raise BundleError(f"the model returns a {type(raw).__name__}; it must return tensors")
    if not isinstance(chosen, Tensor):
        what = "" if chosen is None else f" but a {type(chosen).__name__}"
        raise BundleError(f"output {which!r} of the model is no tensor{what}; it returns {there}")
    if not chosen.is_floating_point():
        raise BundleError(
            f"output {which!r} of the model is {_described(chosen)}: labels or counts, where scores, probabilities or"
            f" predicted values are floating point; {_others(raw, chosen)}"
        )
    return chosen


def _others(raw: Any, chosen: Tensor) -> str:
    """What else a model returns, and how to name it."""
    named = dict(raw) if isinstance(raw, dict) else dict(enumerate(raw)) if not isinstance(raw, Tensor) else {}
    others = {name: value for name, value in named.items() if value is not chosen}
    if not others:
        return "let the model return its scores (of class labels, leave argmax out; of numbers, call .float())"
    fitting = [name for name, value in others.items() if isinstance(value, Tensor) and value.is_floating_point()]
    listed = ", ".join(f"{name!r} is {_described(value)}" for name, value in others.items())
    return f"of the others {listed}" + (f"; choose output={fitting[0]!r}" if fitting else "")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, no tensor"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"

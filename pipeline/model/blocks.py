"""How many rows a block and a pass have, by the model and the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...schemas.bundle import BundleManifest
from ...schemas.graph import Graph
from ..features.kinds import kind_of
from ..tasks.tasks import task_of

#: Bytes of the float64 columns of a block. What is done once a block costs the less the larger it is, and a few blocks
#: wait in every queue (measured, docs/benchmarks.md); a GPU wants far more at once.
BLOCK_BYTES = {"cpu": 16 << 20, "cuda": 32 << 20}
#: Bytes of the widest activation of a forward pass: in a CPU's cache, whoever else is using the memory.
PASS_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
#: Arguments of layers that say how wide they are.
WIDTHS = ("in_features", "out_features", "num_features", "embedding_dim", "hidden_size", "d_model")
#: The same for images, and how many, since nobody knows how large their files are. Decoders share the rows of a block.
IMAGE_BLOCK_BYTES, IMAGE_BLOCK_ROWS = 32 << 20, 64
FEWEST_ROWS, MOST_ROWS = 1024, {"cpu": 1 << 15, "cuda": 1 << 17}


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
    if not all(kind_of(entry).tabular for entry in manifest.inputs):
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
    kinds = [kind_of(entry) for entry in manifest.inputs]
    images = [kind.entry.numbers for kind in kinds if kind.opens_files]
    steps = any(kind.has_steps for kind in kinds)
    tags = sum(task_of(head).width for head in manifest.heads if task_of(head).per_step) * len(manifest.members)
    words = sum(feature.dtype == "words" for feature in manifest.features)
    row_bytes = sum(kind.bytes_per_row for kind in kinds) + manifest.longest * (8 * tags + 64 * words)
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

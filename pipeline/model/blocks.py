"""The number of rows of a block and of a forward pass, computed from the model and the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...schemas.bundle import BundleManifest
from ...schemas.graph import Graph
from ..errors import counted
from ..features.kinds import kind_of
from ..tasks.tasks import task_of

#: Bytes of the float64 columns of a block. Larger blocks spread the fixed cost of a block over more rows, but a few of
#: them wait in every queue (measured, docs/explanation/benchmarks.md). A GPU needs far larger ones.
BLOCK_BYTES = {"cpu": 16 << 20, "cuda": 32 << 20}
#: Bytes of the widest activation of a forward pass; on a CPU it fits into the cache.
PASS_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
#: Constructor arguments of layers that are widths.
WIDTHS = ("in_features", "out_features", "num_features", "embedding_dim", "hidden_size", "d_model")
#: Bytes and rows of a block of images. The number of rows is limited because the size of the files is unknown; decoders
#: share the rows of a block.
IMAGE_BLOCK_BYTES, IMAGE_BLOCK_ROWS = 32 << 20, 64
FEWEST_ROWS, MOST_ROWS = 1024, {"cpu": 1 << 15, "cuda": 1 << 17}
#: Rows of a very wide table, such as the counts of 30,000 terms, are fewer still, so that a block has at most so many
#: bytes, but not below this number of rows.
WIDE_BYTES, WIDE_ROWS = 64 << 20, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSize:
    """`rows`: of a block. `pass_rows`: of a forward pass, or its steps of sequences. `reason`: why these numbers."""

    rows: int
    pass_rows: int
    reason: str


def block_size(
    manifest: BundleManifest, graphs: Sequence[Graph], device_type: str, batch_rows: int | None = None
) -> BlockSize:
    """Compute the sizes of blocks and passes: powers of two, by the width of the table, before and after its
    preprocessing, and of the widest layer.

    They depend on the model and the type of device alone, never on time or free memory, so that the same job always has
    the same blocks.

    Args:
        batch_rows: the rows of both, where the user has set them.
    """
    if batch_rows is not None:
        return BlockSize(rows=batch_rows, pass_rows=batch_rows * manifest.longest, reason="as requested")
    if not all(kind_of(entry).tabular for entry in manifest.inputs):
        return _large_rows(manifest, graphs, device_type)
    num_features = max([len(manifest.model_features), *(len(step.outputs) for step in manifest.steps)])
    widest = max([num_features, *_widths(graphs)])
    most = MOST_ROWS[device_type]
    fewest = max(WIDE_ROWS, min(FEWEST_ROWS, power_of_two(WIDE_BYTES // (8 * num_features))))
    rows = max(fewest, min(most, power_of_two(BLOCK_BYTES[device_type] // (8 * num_features))))
    pass_rows = max(fewest, min(rows, power_of_two(PASS_BYTES[device_type] // (4 * widest))))
    reason = (
        f"blocks of {counted(num_features, 'column')} take {rows * num_features * 8 / (1 << 20):.3g} MiB, and a widest"
        f" layer of {widest} takes {pass_rows * widest * 4 / (1 << 20):.3g} MiB in a pass of {pass_rows:,} rows on"
        f" {device_type}"
    )
    return BlockSize(rows=rows, pass_rows=pass_rows, reason=reason)


def _large_rows(manifest: BundleManifest, graphs: Sequence[Graph], device_type: str) -> BlockSize:
    """The sizes for images and sequences: the rows of a block by the bytes of a row, with sequences at their maximum
    length, and the rows of a pass by the widest layer, at each step where there are sequences."""
    kinds = [kind_of(entry) for entry in manifest.inputs]
    images = [kind.entry.numbers for kind in kinds if kind.opens_files]
    steps = any(kind.has_steps for kind in kinds)
    tags = sum(task_of(head).width for head in manifest.heads if task_of(head).per_step) * len(manifest.members)
    words = sum(feature.dtype in ("integers", "words") for feature in manifest.features)
    row_bytes = sum(kind.bytes_per_row for kind in kinds) + manifest.longest * (8 * tags + 64 * words)
    block_bytes, most = (
        (IMAGE_BLOCK_BYTES, IMAGE_BLOCK_ROWS) if images else (BLOCK_BYTES[device_type], MOST_ROWS[device_type])
    )
    rows = max(1, min(most, power_of_two(block_bytes // row_bytes)))
    if steps:
        widest = max([1, *_widths(graphs)])
        what = f"a widest layer of {widest} numbers a step"
    else:
        layers = [prod(layer.shape) for member in manifest.members for layer in getattr(member, "layers", [])]
        widest = max([*layers, max(images)]) if layers else 4 * max(images)
        what = f"a widest layer of {widest} numbers a row"
    pass_rows = max(2, power_of_two(PASS_BYTES[device_type] // (4 * widest)))  # a single row would be passed twice
    pass_rows = pass_rows if steps else min(max(2, rows), pass_rows)
    reason = (
        f"a row of {row_bytes / 1000:.3g} kB at most makes blocks of {rows * row_bytes / (1 << 20):.3g} MiB, and {what}"
        f" passes of {pass_rows} {'steps' if steps else 'rows'} on {device_type}"
    )
    return BlockSize(rows=rows, pass_rows=pass_rows, reason=reason)


def _widths(graphs: Sequence[Graph]) -> list[int]:
    """The widths of all layers."""
    return [
        value
        for graph in graphs
        for layer in graph.layers.values()
        for name, value in layer.args.items()
        if name in WIDTHS and isinstance(value, int)
    ]


def power_of_two(number: int) -> int:
    """The largest power of two that is at most `number`, at least 1."""
    return 1 << max(0, number.bit_length() - 1)

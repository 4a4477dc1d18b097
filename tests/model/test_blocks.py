"""How rows are cut into blocks and passes: by the model and the kind of device alone, within bounds."""

import pytest
from scoreline.pipeline.graph.trace import trace
from scoreline.pipeline.model.blocks import BLOCK_BYTES, FEWEST_ROWS, MOST_ROWS, PASS_BYTES, block_size
from scoreline.schemas.bundle import BundleManifest
from torch import nn

from conftest import Example


def manifest_of(example: Example) -> BundleManifest:
    return BundleManifest.model_validate_json((example.bundle / "bundle.json").read_text())


def widened(manifest: BundleManifest, features: int) -> BundleManifest:
    """The same with so many features."""
    (feature, *_), (entry, *_) = manifest.features, manifest.inputs
    names = [f"f{number}" for number in range(features)]
    return manifest.model_copy(
        update={
            "features": [feature.model_copy(update={"name": name}) for name in names],
            "inputs": [entry.model_copy(update={"columns": names})],
        }
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("features", [1, 4, 30, 1000, 20_000])
@pytest.mark.parametrize("width", [1, 64, 5000])
def test_blocks_and_passes_fit_their_room(iris: Example, device: str, features: int, width: int) -> None:
    """Powers of two within the bounds; no larger than the room they have, unless they are the smallest there are; a
    pass is never larger than its block, and twice as many rows would not do."""
    manifest = widened(manifest_of(iris), features)
    layer = nn.utils.skip_init(nn.Linear, features, width)  # a hundred million random weights take a second
    graph = trace(nn.Sequential(layer, nn.ReLU()).eval())[0]
    found = block_size(manifest, [graph], device)
    assert found == block_size(manifest, [graph], device)
    widest = max(features, width)
    for rows, room, row_bytes, most in (
        (found.rows, BLOCK_BYTES[device], 8 * features, MOST_ROWS[device]),
        (found.pass_rows, PASS_BYTES[device], 4 * widest, found.rows),
    ):
        assert rows.bit_count() == 1
        assert FEWEST_ROWS <= rows <= most
        assert rows == FEWEST_ROWS or rows * row_bytes <= room
        assert rows == most or 2 * rows * row_bytes > room


def test_requested_rows_are_used(iris: Example) -> None:
    """Any number, of blocks and passes alike."""
    found = block_size(manifest_of(iris), [], "cpu", batch_rows=7)
    assert (found.rows, found.pass_rows) == (7, 7)

"""How rows are cut into blocks and passes: by the model and the kind of device alone, within bounds."""

from typing import Any, Literal

import pytest
from scoreline.pipeline.graph.trace import trace
from scoreline.pipeline.model.blocks import BLOCK_BYTES, FEWEST_ROWS, MOST_ROWS, PASS_BYTES, block_size
from scoreline.schemas.bundle import BundleManifest
from scoreline.schemas.heads import MulticlassHead, TaggingHead
from scoreline.schemas.inputs import Feature, ImageInput, SequenceInput
from scoreline.schemas.members import LayerRecord
from torch import nn

from bundle_manifests import manifest_of, member_of
from conftest import Example

CLASSES = MulticlassHead(outputs="logits", labels=["x", "y"])
TAGS = TaggingHead(outputs="logits", labels=["a", "b", "c", "d", "e"])


def manifest_in(example: Example) -> BundleManifest:
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
    manifest = widened(manifest_in(iris), features)
    layer = nn.utils.skip_init(nn.Linear, features, width)  # a hundred million random weights take a second
    graph = trace(nn.Sequential(layer, nn.ReLU()).eval())[0]
    found = block_size(manifest, [graph], device)
    assert found == block_size(manifest, [graph], device)
    widest = max(features, width)
    fewest = FEWEST_ROWS if features <= 8192 else 256  # 64 MiB of float64 columns
    for rows, room, row_bytes, most in (
        (found.rows, BLOCK_BYTES[device], 8 * features, MOST_ROWS[device]),
        (found.pass_rows, PASS_BYTES[device], 4 * widest, found.rows),
    ):
        assert rows.bit_count() == 1
        assert fewest <= rows <= most
        assert rows == fewest or rows * row_bytes <= room
        assert rows == most or 2 * rows * row_bytes > room


def test_requested_rows_are_used(iris: Example) -> None:
    """Any number, of blocks and passes alike."""
    found = block_size(manifest_in(iris), [], "cpu", batch_rows=7)
    assert (found.rows, found.pass_rows) == (7, 7)


def of_images(height: int, width: int, *layers: tuple[int, ...]) -> BundleManifest:
    """A bundle that takes grey images, and whose layers return these shapes."""
    image = ImageInput(name="i", columns=["i"], size=(height, width), channels=1)
    records = [LayerRecord(name=f"l{number}", calls="Conv2d", shape=list(shape)) for number, shape in enumerate(layers)]
    return manifest_of(
        CLASSES, features=[Feature(name="i", dtype="image")], inputs=[image], members=[member_of(*records)]
    )


@pytest.mark.parametrize(
    ("manifest", "rows", "pass_rows"),
    [
        (of_images(100, 100), 64, 8),  # of 10,000 numbers, and layers that are taken to be four times as wide
        (of_images(100, 100, (4, 50, 50), (10,)), 64, 32),  # none is wider than the images
        (of_images(100, 100, (64, 50, 50)), 64, 2),  # a pass of one row would be computed twice
        (of_images(8, 8), 64, 64),  # no pass is larger than its block
        (of_images(1000, 1000), 8, 2),  # 4 MB each
    ],
)
def test_images(manifest: BundleManifest, rows: int, pass_rows: int) -> None:
    """At most 64 in a block of 32 MiB; a pass by the largest result of a layer, which takes 2 MiB."""
    found = block_size(manifest, [], "cpu")
    assert (found.rows, found.pass_rows) == (rows, pass_rows)


def of_lists(dtype: Literal["numbers", "words"], head: Any, longest: int = 128) -> BundleManifest:
    """A bundle that takes lists."""
    sequence = SequenceInput(name="s", columns=["s"], longest=longest, mask="real")
    return manifest_of(head, features=[Feature(name="s", dtype=dtype)], inputs=[sequence])


@pytest.mark.parametrize(
    ("manifest", "rows"),
    [
        (of_lists("numbers", CLASSES), 8192),  # 16 bytes a step
        (of_lists("words", CLASSES), 1024),  # and 64 for a word
        (of_lists("numbers", TAGS), 2048),  # and 8 for each label
        (of_lists("numbers", CLASSES, longest=1 << 20), 1),  # as much as a block may take
    ],
)
def test_sequences(iris: Example, manifest: BundleManifest, rows: int) -> None:
    """A block by the longest lists, of 16 MiB; a pass by the steps of the widest layer, of 2 MiB."""
    graph = trace(nn.Sequential(nn.Linear(3, 512), nn.ReLU()).eval())[0]
    found = block_size(manifest, [graph], "cpu")
    assert (found.rows, found.pass_rows) == (rows, 1024)


def test_requested_rows_of_sequences() -> None:
    """A pass has the steps of as many of the longest lists."""
    found = block_size(of_lists("words", CLASSES), [], "cpu", batch_rows=7)
    assert (found.rows, found.pass_rows, found.reason) == (7, 7 * 128, "as requested")

"""The layout of counts, and the reference of a bundle."""

from pathlib import Path

import numpy as np
import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.monitoring.layout import encode_reference, open_layout, read_reference

from conftest import Example
from monitored_rows import draw, layout_of


def test_compared_bins() -> None:
    """Nulls and rejected rows are one bin, then come the quantiles."""
    layout = layout_of(draw(3000))
    groups, starts = layout.compared
    assert len(groups) == layout.num_counts
    found = layout.reference_counts
    for index, column in enumerate(layout.columns):
        end = [*starts.tolist(), len(found)][index + 1]
        assert end - starts[index] == 1 + column.bins.num_compared
        assert found[starts[index] : end].sum() == 3000
    assert np.isclose(found[1:21], 150, atol=1).all()


def test_the_reference_of_a_bundle(iris: Example) -> None:
    """Without training rows, it is that of the golden rows."""
    bundle = open_bundle(iris.bundle)
    layout = open_layout(bundle)
    assert layout is not None
    assert bundle.manifest.reference is not None
    assert (layout.reference.source, layout.reference.rows) == ("golden", bundle.manifest.golden.rows)
    assert [column.name for column in layout.columns[: layout.num_features]] == iris.features
    assert layout.digest == bundle.manifest.files[bundle.manifest.reference.file]
    assert layout.columns[layout.num_features].name == "prediction"


def test_a_bundle_of_an_earlier_version() -> None:
    """Has none."""
    (bundle,) = [path.parent for path in sorted(Path("tests/bundles/format1").rglob("bundle.json"))][:1]
    assert open_layout(open_bundle(bundle)) is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"format":1', '"format":2', "format"),
        ('"compared":[', '"compared":[900,', "indices of edges"),
        ('"counts":[', '"counts":[7,', "counts for"),
        ('"rows":3000', '"rows":-1', "rows"),
        ('"edges":[', '"edges":[1e9,', "not ascending"),
        ('"named":4', '"named":9', "more categories"),
        ('"Bonn","Graz"', '"Bonn","Bonn"', "appears twice"),
        ('"Bonn","Graz"', '"Bonn",7', "several types"),
        ('{"format"', '["format"', "Invalid JSON"),
    ],
)
def test_invalid_references(old: str, new: str, problem: str) -> None:
    """Are refused, naming the file and the rule."""
    text = encode_reference(layout_of(draw(3000)).reference).decode()
    assert old in text
    with pytest.raises(BundleError, match=f"reference.json.*{problem}"):
        read_reference(text.replace(old, new, 1).encode(), "reference.json")

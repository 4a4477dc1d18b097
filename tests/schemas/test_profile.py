"""The bins of a reference, as they are written and read."""

from typing import Any

import pytest
from pydantic import ValidationError
from scoreline.schemas.profile import CategoryBins, NumberBins, ReferenceColumn


@pytest.mark.parametrize("categories", [["no", "yes"], [0, 1], [False, True], [-(2**63), 2**63 - 1]])
def test_categories_keep_their_type_in_json(categories: list[Any]) -> None:
    """`true` does not become 1, nor 1 become true."""
    bins = CategoryBins(categories=categories, named=1, complete=True)
    back = CategoryBins.model_validate_json(bins.model_dump_json())
    assert back == bins
    assert [type(one) for one in back.categories] == [type(one) for one in categories]


def test_bins_between_edges() -> None:
    """Compared and shown bins are consecutive bins up to an edge."""
    bins = NumberBins(edges=[1.0, 2.0, 3.0, 4.0], compared=[1, 3], shown=[0, 2], centers=[0, 1.5, 2.5, 3.5, 5])
    assert (bins.num_bins, bins.num_compared) == (5, 3)
    assert bins.compared_bins() == [0, 0, 1, 1, 2]
    assert bins.shown_bins() == [0, 1, 1, 2, 2]
    none = NumberBins(edges=[], compared=[], shown=[], centers=[0])
    assert (none.num_bins, none.compared_bins()) == (1, [0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"edges": [2.0, 1.0]}, "not ascending"),
        ({"edges": [1.0, 1.0]}, "not ascending"),
        ({"compared": [0, 0]}, "compared are not indices"),
        ({"shown": [2]}, "shown are not indices"),
        ({"centers": [1.0]}, "a center for each bin"),
        ({"centers": [3.0, 2.0, 1.0]}, "a center for each bin"),
    ],
)
def test_inconsistent_bins(changes: dict[str, Any], says: str) -> None:
    """Are refused."""
    fields = {"edges": [1.0, 2.0], "compared": [0], "shown": [0, 1], "centers": [0.0, 1.5, 3.0]}
    NumberBins(**fields)
    with pytest.raises(ValidationError, match=says):
        NumberBins(**fields | changes)


def test_a_count_for_each_bin() -> None:
    """No more and no fewer."""
    bins = CategoryBins(categories=["a"], named=1, complete=False)
    ReferenceColumn(name="x", bins=bins, counts=[1, 2, 3])
    with pytest.raises(ValidationError, match="column 'x' has 2 counts for 3 bins"):
        ReferenceColumn(name="x", bins=bins, counts=[1, 2])

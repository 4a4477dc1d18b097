"""Names are visible, cut and keep both ends; figures are readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.reporting.wording import and_more, moment, seconds, share, shown


@given(st.text(max_size=300), st.integers(5, 100))
def test_shown(text: str, most: int) -> None:
    """Never longer, always printable; short printable text is unchanged."""
    found = shown(text, most)
    assert len(found) <= most
    assert found.isprintable()
    if text.isprintable() and len(text) <= most:
        assert found == text


def test_both_ends_are_kept() -> None:
    """Files and columns differ at their ends."""
    assert shown("region=it/2026/part-0017.parquet", 15) == "region=…parquet"
    assert shown("a\u202eb\nc") == "a\\u202eb\\nc"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 100, "0"), (1, 0, "0"), (100, 100, "100%"), (374, 1000, "37.4%"), (1, 100_000, "< 0.01%"),
        (99_999_999, 100_000_000, "99.9%"), (2, 10_000, "0.02%"),
    ],
)  # fmt: skip
def test_share(part: int, whole: int, text: str) -> None:
    """A share that is not zero or one does not look like it."""
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4242, "0.42 s"), (7.12, "7.1 s"), (99.96, "1 min 40 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_seconds(value: float, text: str) -> None:
    """In the unit that suits them."""
    assert seconds(value) == text


def test_moments_and_rests() -> None:
    """Times without a fraction; nothing where nothing is left."""
    assert moment("2026-11-26T16:05:44.123+00:00") == "2026-11-26 16:05:44 UTC"
    assert (and_more(0, "input"), and_more(1, "input"), and_more(2000, "input")) == (
        "", "and 1 more input", "and 2,000 more inputs",
    )  # fmt: skip

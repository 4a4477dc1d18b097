"""The bytes of a profile."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.layout import Layout
from scoreline.pipeline.monitoring.profile import MAX_BYTES, Profile, decode_profile, encode_profile
from scoreline.pipeline.monitoring.reference import MAX_COLUMNS, ReferenceRows, make_reference

from monitored_rows import draw, layout_of, profile_of

LAYOUT = layout_of(draw(3000))


def same(one: Profile, other: Profile) -> bool:
    """Whether every number is equal."""
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("counts", "low", "high"))
    return arrays and (one.sampled, one.rows, one.stride) == (other.sampled, other.rows, other.stride)


@given(st.integers(0, 10**6), st.sampled_from([1, 10, 1 << 15, 1 << 30]), st.sampled_from([1, 17, 65537]))
def test_bytes_round_trip(seed: int, factor: int, stride: int) -> None:
    """With small and large counts."""
    made = profile_of(LAYOUT, draw(20, seed))
    made = replace(made, counts=made.counts * factor % (1 << 32), stride=stride)
    assert same(decode_profile(encode_profile(made, LAYOUT), LAYOUT), made)


def test_profiles_add_up_in_any_order() -> None:
    """To the profile of all rows, byte for byte."""
    frame = draw(1000)
    cuts = [0, 1, 400, 401, 1000]
    parts = [profile_of(LAYOUT, frame.iloc[a:b], first_row=a, stride=3) for a, b in pairwise(cuts)]
    whole = encode_profile(profile_of(LAYOUT, frame, stride=3), LAYOUT)
    for order in (parts, parts[::-1], parts[2:] + parts[:2]):
        assert encode_profile(sum(order[1:], start=order[0]), LAYOUT) == whole


@pytest.mark.parametrize("columns", [1, 330, 331, 1003, MAX_COLUMNS + 50])
def test_a_part_keeps_at_most_64_kb(columns: int) -> None:
    """Also of a very wide table, of which the first columns are profiled."""
    values = np.arange(100.0)
    rows = ReferenceRows(
        source="training", rows=2500, features={f"x{n}": values for n in range(columns)}, outputs={"p": values}
    )
    layout = Layout(reference=make_reference(rows), digest="sha256:" + "0" * 64)
    assert len(layout.columns) == min(columns + 1, MAX_COLUMNS)
    full = replace(Profile.empty(layout), counts=np.full(layout.num_counts, 1 << 20))
    assert len(encode_profile(full, layout)) <= MAX_BYTES


def test_other_bytes_are_refused() -> None:
    """Of another reference, cut short, or something else."""
    data = encode_profile(profile_of(LAYOUT, draw(5)), LAYOUT)
    other = layout_of(draw(3000, seed=1))
    for broken, layout in ((data, other), (data[:-1], LAYOUT), (data[:20], LAYOUT), (b"x" * len(data), LAYOUT)):
        with pytest.raises(ValueError, match="it "):
            decode_profile(broken, layout)

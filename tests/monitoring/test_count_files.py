"""Several files that are counted at once: the same profiles as of each alone."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.count import ProfileBuilder
from scoreline.pipeline.monitoring.count_files import count_files
from scoreline.pipeline.monitoring.profile import encode_profile
from scoreline.schemas.profile import NumberBins

from monitored_rows import CATEGORY, NUMBERS, draw, layout_of, sample_of

LAYOUT = layout_of(draw(3000))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 10**6), st.floats(0, 1))
def test_the_same_profiles_as_one_by_one(rows: list[int], seed: int, missing: float) -> None:
    """With values on an edge, unseen categories, and missing values, up to all of a file."""
    random, total = np.random.default_rng(seed), sum(rows)
    frame = draw(total, seed)
    for name in NUMBERS:
        bins = next(one.bins for one in LAYOUT.columns if one.name == name)
        assert isinstance(bins, NumberBins)
        on_an_edge = random.random(total) < 0.3
        frame[name] = frame[name].astype(float).where(~on_an_edge, random.choice(bins.edges, total))
        frame[name] = frame[name].where(random.random(total) >= missing)
    frame[CATEGORY] = frame[CATEGORY].where(random.random(total) >= missing / 2, None)
    frame[CATEGORY] = frame[CATEGORY].where(random.random(total) >= 0.1, "Lima")
    ends = np.cumsum(rows).tolist()
    found = count_files(LAYOUT, sample_of(LAYOUT, frame), ends)
    for profile, start, stop in zip(found, [0, *ends], ends, strict=False):
        together, alone = ProfileBuilder(LAYOUT), ProfileBuilder(LAYOUT)
        together.add_counted(profile)
        alone.add(sample_of(LAYOUT, frame.iloc[start:stop].reset_index(drop=True)))
        assert encode_profile(together.build(), LAYOUT) == encode_profile(alone.build(), LAYOUT)


def test_counts_equal_pandas() -> None:
    """Of each file alone."""
    frame = draw(90, 3)
    ends = [10, 50, 90]
    for profile, start, stop in zip(
        count_files(LAYOUT, sample_of(LAYOUT, frame), ends), [0, *ends], ends, strict=False
    ):
        rows = frame.iloc[start:stop]
        for index, one in enumerate(LAYOUT.columns):
            counts = profile.counts[LAYOUT.starts[index] : LAYOUT.starts[index + 1]].tolist()
            if isinstance(one.bins, NumberBins):
                cut = pd.cut(rows[one.name].astype(float), [-np.inf, *one.bins.edges, np.inf])
                assert counts == [0, 0, *cut.value_counts(sort=False).tolist()]
                assert (profile.low[index], profile.high[index]) == (rows[one.name].min(), rows[one.name].max())
            else:
                expected = rows[one.name].value_counts().reindex(one.bins.categories, fill_value=0).tolist()
                assert counts == [0, 0, *expected, 0, 0]

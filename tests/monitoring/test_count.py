"""Counts against pandas."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.digests import sha256
from scoreline.pipeline.monitoring import count
from scoreline.pipeline.monitoring.count import ProfileBuilder, Sample, sample_features, sample_outputs
from scoreline.pipeline.monitoring.layout import Layout, encode_reference
from scoreline.pipeline.monitoring.profile import Profile, encode_profile
from scoreline.pipeline.monitoring.reference import ReferenceRows, make_reference
from scoreline.pipeline.records import CheckedBatch, Reject
from scoreline.schemas.profile import CategoryBins, NumberBins

from monitored_rows import CATEGORY, NUMBERS, OUTPUT, counted, draw, layout_of, profile_of, sample_of

LAYOUT = layout_of(draw(3000))


def column(profile: Profile, name: str, layout: Layout = LAYOUT) -> list[int]:
    """Nulls, rejected rows, and counts by bin."""
    index = [one.name for one in layout.columns].index(name)
    return profile.counts[layout.starts[index] : layout.starts[index + 1]].tolist()


@settings(max_examples=12)
@given(st.integers(5, 60), st.integers(0, 100), st.sampled_from([1, 3, 7]), st.integers(0, 10**6))
def test_counts_equal_pandas(block_rows: int, first_row: int, stride: int, seed: int) -> None:
    """In blocks of any size, with rows that are not kept."""
    frame = draw(150, seed)
    kept = np.flatnonzero(np.random.default_rng(seed).random(150) > 0.3)
    builder = ProfileBuilder(LAYOUT)
    for start in range(0, 150, block_rows):
        block = frame.iloc[start : start + block_rows]
        own = kept[(kept >= start) & (kept < start + block_rows)] - start
        builder.add(sample_of(LAYOUT, block, first_row=first_row + start, stride=stride, kept=own))
    found = builder.build()
    numbers = np.arange(150) + first_row
    rows = frame.iloc[[row for row in kept if numbers[row] % stride == 0]]
    assert (found.rows, found.sampled) == (150, int((numbers % stride == 0).sum()))
    for name in (*NUMBERS, OUTPUT):
        index = [one.name for one in LAYOUT.columns].index(name)
        bins = LAYOUT.columns[index].bins
        assert isinstance(bins, NumberBins)
        cut = pd.cut(rows[name].astype(float), [-np.inf, *bins.edges, np.inf])
        assert column(found, name) == [0, 0, *cut.value_counts(sort=False).tolist()]
        if len(rows):
            ends = [found.low[index], found.high[index]]
            assert ends == pytest.approx([rows[name].min(), rows[name].max()], rel=1e-4 if name == OUTPUT else 0)
    (bins,) = (one.bins for one in LAYOUT.columns if one.name == CATEGORY)
    assert isinstance(bins, CategoryBins)
    expected = rows[CATEGORY].value_counts().reindex(bins.categories, fill_value=0).tolist()
    assert column(found, CATEGORY) == [0, 0, *expected, 0, 0]


@settings(max_examples=30)
@given(st.integers(1, 80), st.integers(0, 10**6), st.floats(0, 1))
def test_comparing_is_the_same_as_sorting(num_rows: int, seed: int, missing: float) -> None:
    """For columns with different numbers of edges, values on an edge, and missing ones, up to all."""
    random = np.random.default_rng(seed)
    frame = draw(num_rows, seed)
    for name in NUMBERS:
        bins = next(one.bins for one in LAYOUT.columns if one.name == name)
        assert isinstance(bins, NumberBins)
        on_an_edge = random.random(num_rows) < 0.3
        frame[name] = frame[name].astype(float).where(~on_an_edge, random.choice(bins.edges, num_rows))
        frame[name] = frame[name].where(random.random(num_rows) >= missing)
    found = []
    for few in (0, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(count, "FEW_EDGES", few)
            found.append(encode_profile(profile_of(LAYOUT, frame), LAYOUT))
    assert found[0] == found[1]


def test_missing_unseen_and_rejected_values() -> None:
    """Each has a count of its own."""
    frame = draw(10)
    frame.loc[:2, "age"] = np.nan
    frame.loc[3, CATEGORY] = "Lima"
    frame.loc[4, CATEGORY] = None
    kept = np.arange(8)
    rejects = (Reject(positions=np.array([8, 9]), stage="check", column="income", reasons=("is null", "is null")),)
    found = profile_of(LAYOUT, frame, kept=kept, rejects=rejects)
    assert column(found, "age")[:2] == [3, 0]
    assert sum(column(found, "age")[2:]) == 5
    assert column(found, "income")[:2] == [0, 2]
    nulls, rejected, *bins = column(found, CATEGORY)
    assert (nulls, rejected, bins[-1], sum(bins)) == (1, 0, 1, 7)
    sampled = profile_of(LAYOUT, frame, first_row=1, stride=3, kept=kept, rejects=rejects)
    assert column(sampled, "income")[1] == 1


def test_categories_that_are_not_listed() -> None:
    """Of many different values, only the most frequent are known, and the others are not called unseen; values of a
    complete list that have no bin of their own are others."""
    codes = np.repeat(np.arange(30), np.arange(30, 0, -1) * 10)
    ids = pa.array(np.arange(len(codes)))
    reference = make_reference(
        ReferenceRows(
            source="training", rows=len(codes), features={"code": pa.array(codes), "id": ids},
            outputs={"above": pa.array([True] * len(codes))}, known={"above": (False, True)},
        )
    )  # fmt: skip
    layout = Layout(reference=reference, digest=sha256(encode_reference(reference)))
    columns = {"code": pa.array([0, 29, 30, None]), "id": pa.array([1, 2, 3, 4])}
    batch = pa.record_batch(columns)
    checked = CheckedBatch(batch=batch, columns=columns, kept=None)
    found = counted(layout, sample_features(layout, checked, first_row=0, stride=1))
    assert column(found, "code", layout) == [1, 0, 1, *[0] * 17, 1, 1]
    assert column(found, "id", layout) == [0, 0, 4, 0]

    def outputs(columns: dict[str, pa.Array]) -> Sample:
        return sample_outputs(layout, columns, None, num_rows=3, first_row=0, stride=1)

    made = counted(layout, outputs({"above": pa.array([False, True, True])}))
    assert column(made, "above", layout) == [0, 0, 2, 1, 0, 0]
    assert column(counted(layout, outputs({})), "above", layout) == [0] * 6


def test_equal_bytes_however_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, or whenever some values are pending; also with missing values, and with -0 beside 0."""
    frame = draw(500, 4)
    frame.loc[::7, "age"] = np.nan
    frame["income"] = np.where(np.arange(500) % 2 == 0, -0.0, 0.0)
    samples = [sample_of(LAYOUT, frame.iloc[start : start + 60], first_row=start) for start in range(0, 500, 60)]
    found = []
    for pending in (1, 5000, 1 << 20):
        monkeypatch.setattr("scoreline.pipeline.monitoring.count.MAX_PENDING_BYTES", pending)
        found += [encode_profile(counted(LAYOUT, *order), LAYOUT) for order in (samples, samples[::-1])]
    assert found == [found[0]] * 6
    assert encode_profile(profile_of(LAYOUT, frame), LAYOUT) == found[0]


def test_no_rows() -> None:
    """Have the profile of no rows, whether or not there are blocks of them."""
    assert encode_profile(counted(LAYOUT), LAYOUT) == encode_profile(Profile.empty(LAYOUT), LAYOUT)
    empty = sample_of(LAYOUT, draw(3), kept=np.zeros(0, dtype=np.int64))
    found = counted(LAYOUT, empty)
    assert (found.rows, found.sampled, found.counts.sum(), np.isinf(found.low).all()) == (3, 3, 0, True)

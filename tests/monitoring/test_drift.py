"""Drift of whole runs: planted shifts are found, and nothing else."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance
from scoreline.pipeline.monitoring.drift import RunDrift
from scoreline.pipeline.monitoring.layout import Layout
from scoreline.pipeline.monitoring.profile import Profile
from scoreline.schemas.profile import ColumnProfile, NumberBins

from monitored_rows import CITIES, draw, layout_of, profile_of

LAYOUT = layout_of(draw(20_000))


def run(files: dict[str, pd.DataFrame], layout: Layout = LAYOUT) -> tuple[RunDrift, dict[str, ColumnProfile]]:
    """The drift of a run over some files."""
    drift = RunDrift(layout, len(files))
    for name, frame in files.items():
        drift.add(name, profile_of(layout, frame))
    return drift, {column.name: column for column in drift.columns()}


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age=frame["income"], income=frame["age"])


def with_nulls(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age=frame["age"].where(np.arange(len(frame)) % 8 > 0))


def with_new_category(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(city=np.where(np.arange(len(frame)) % 12 == 0, "Lima", frame["city"]))


PLANTED: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], set[str]]] = {
    "half a standard deviation": (lambda frame: frame.assign(age=frame["age"] + 5), {"age"}),
    "twice the scale": (lambda frame: frame.assign(age=40 + 2 * (frame["age"] - 40)), {"age"}),
    "a burst of nulls": (with_nulls, {"age"}),
    "a new category": (with_new_category, {"city"}),
    "swapped columns": (swapped, {"age", "income"}),
    "other shares of categories": (lambda frame: frame.assign(city=np.resize(CITIES, len(frame))), {"city"}),
    "other predictions": (lambda frame: frame.assign(probability=frame["probability"] ** 2), {"probability"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_shifts_are_found(name: str) -> None:
    """In one of twenty files of a thousand rows: these columns, and no others."""
    change, columns = PLANTED[name]
    files = {f"{number}.parquet": draw(1000, 100 + number) for number in range(20)}
    files["7.parquet"] = change(files["7.parquet"])
    drift, found = run(files)
    assert {column for column, one in found.items() if one.red + one.yellow} == columns
    for column in columns:
        assert found[column].worst[0].partition == "7.parquet"
        assert found[column].worst[0].drift.level in ("yellow", "red")
    (worst,) = drift.worst_partitions()
    assert (worst.partition, set(worst.psi), worst.sampled) == ("7.parquet", columns, 1000)
    assert drift.reference.worst is not None
    assert (drift.reference.worst.partition, drift.reference.worst.psi) == ("7.parquet", worst.worst_psi)


def test_small_clean_files_raise_no_alarm() -> None:
    """Although their PSI is far above 0.25."""
    drift, found = run({str(number): draw(30, number) for number in range(200)})
    assert max(column.worst[0].drift.psi for column in found.values()) > 0.25
    assert (drift.num_at("red"), drift.num_at("yellow"), drift.worst_partitions()) == (0, 0, [])
    assert (drift.reference.worst, drift.reference.drifted()) == (None, [])
    assert drift.tests == 201 * len(LAYOUT.columns)


def test_a_shift_of_all_files_is_one_of_the_run() -> None:
    """Too small to be seen in any file of a hundred rows, and plain in all of them together."""
    drift, found = run({str(number): draw(100, number, shift=0.4) for number in range(100)})
    assert found["age"].drift.level == "yellow"
    assert found["income"].drift.level == "none"
    assert drift.reference.worst is not None


def test_the_other_distances() -> None:
    """Of all rows, against scipy and pandas."""
    now = draw(5000, 5, shift=0.5)
    _, found = run({"a": now})
    column = found["age"]
    bins = column.reference.bins
    assert isinstance(bins, NumberBins)
    assert column.drift.ks == pytest.approx(0.197, abs=0.03)  # of two normal distributions half a deviation apart
    assert column.drift.mean_shift == pytest.approx(0.5, abs=0.05)
    expected = wasserstein_distance(bins.centers, bins.centers, column.now.counts, column.reference.counts)
    assert column.reference.std is not None
    assert column.drift.wasserstein == pytest.approx(expected / column.reference.std)
    assert found["city"].drift.ks is None
    assert found["city"].drift.jensen_shannon is not None


def test_the_run_before() -> None:
    """A shift since the last run is found, also where both differ from the reference."""
    _, last = run({"a": draw(4000, 1, shift=1)})
    totals = [column.now for column in last.values()]
    for shift, level in ((1, "none"), (0, "red")):
        drift = RunDrift(LAYOUT, 2, totals)
        for number in range(2):
            drift.add(str(number), profile_of(LAYOUT, draw(4000, 2 + number, shift=shift)))
        found = {column.name: column for column in drift.columns()}
        assert found["age"].previous_drift is not None
        assert found["age"].previous_drift.level == level
        assert found["age"].previous_red == (2 if level == "red" else 0)
        assert found["age"].drift.level == ("none" if shift == 0 else "red")


def test_files_without_rows() -> None:
    """Do not differ from anything."""
    drift = RunDrift(LAYOUT, 1)
    drift.add("empty", Profile.empty(LAYOUT))
    assert {column.drift.psi for column in drift.columns()} == {0.0}


def test_the_listed_files_are_bounded() -> None:
    """The worst are listed, and all are counted."""
    frames = {f"{number:03}": draw(200, number, shift=1 + number / 100) for number in range(70)}
    drift, found = run(frames)
    assert found["age"].red == 70
    assert len(drift.worst_partitions()) == 50
    assert len(found["age"].worst) == 3
    psi = [one.worst_psi for one in drift.worst_partitions()]
    assert psi == sorted(psi, reverse=True)
    assert found["age"].worst[0].partition == drift.worst_partitions()[0].partition

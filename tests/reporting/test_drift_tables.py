"""The map and the table of features: the figures of profile.json, the worst first."""

import pytest
from scoreline.pipeline.reporting.drift_tables import make_features, make_map

from monitored_rows import draw
from reported_runs import profile


def test_the_map() -> None:
    """A row for each input with drift, a cell for each column with drift; the others are counted."""
    known = profile((0.0, 3.0, 0.0, 1.0))
    found = make_map(known)
    assert found is not None
    assert [row.name for row in found.rows] == ["1.parquet", "3.parquet"]
    assert [column.text for column in found.columns] == ["age"]
    for row, one in zip(found.rows, known.worst_partitions, strict=True):
        assert [cell.text for cell in row.cells] == [f"{one.psi['age']:.2f}"]
        assert {row.level, row.cells[0].level} == {"alarm"}
    assert found.note == (
        "2 other inputs not shown: less drift, or none; 3 columns without drift in these inputs not shown"
    )


def test_columns_that_are_not_recorded_may_have_drifted() -> None:
    """Of an input with very many columns, only the worst are recorded."""
    known = profile()
    most = known.worst_partitions[0].model_copy(update={"red": 31})
    found = make_map(known.model_copy(update={"worst_partitions": [most]}))
    assert found is not None
    assert found.note.endswith("3 columns with less drift, or none, in these inputs not shown")


def test_no_drift() -> None:
    """No map."""
    assert make_map(profile((0.0,))) is None


def test_features() -> None:
    """The drifted one first, with its worst input; its figures are those of the rows."""
    known = profile((0.0, 1.0))
    found, note = make_features(known)
    assert (sorted(row.name for row in found), note) == (["age", "city", "income"], "")
    age, column = found[0], known.columns[0]
    assert (age.name, age.worst_input, age.worst.level) == ("age", "1.parquet", "alarm")
    assert age.worst.text == f"{column.worst[0].drift.psi:.2f}"
    assert age.drift.text == f"{column.drift.psi:.2f}"
    assert column.previous_drift is not None
    assert age.from_previous.text == f"{column.previous_drift.psi:.2f}"
    rows = [draw(1000, seed=number, shift=shift)["age"] for number, shift in enumerate((0.0, 1.0))]
    low, high = min(map(min, rows)), max(map(max, rows))
    assert age.span.now == f"{low:.4g} – {high:.4g}"
    reference = draw(4000, seed=99)["age"]
    assert age.span.reference == f"{reference.min():.4g} – {reference.max():.4g}"
    assert float(age.shift.reference) == pytest.approx((rows[1].mean() - reference.mean()) / reference.std(), abs=0.15)
    assert age.lines.worst
    assert not found[1].lines.worst
    outside = sum(((one < reference.quantile(0.005)) | (one > reference.quantile(0.995))).mean() for one in rows) / 2
    assert float(age.tails.now.rstrip("%")) == pytest.approx(100 * outside, abs=1.0)


@pytest.mark.parametrize(("end", "factor", "sign"), [("high", 10, "≥ +"), ("low", -10, "≤ -"), ("high", 1, "")])
def test_a_shift_far_beyond_the_reference_is_a_bound(end: str, factor: int, sign: str) -> None:
    """The mean of bins does not know how far the values are outside."""
    column = profile((0.0, 1.0)).columns[0]
    now = column.now.model_copy(update={end: column.reference.high * factor})  # type: ignore[operator]
    drift = column.drift.model_copy(update={"mean_shift": -0.5 if end == "low" else 0.5})
    changed = column.model_copy(update={"now": now, "drift": drift})
    (row,), _ = make_features(profile((0.0,)).model_copy(update={"columns": [changed]}))
    assert row.shift.now == (f"{sign}0.50" if sign else "+0.50")


def test_features_of_a_run_without_rows() -> None:
    """There is nothing to compare."""
    assert make_features(profile((0.0,)).model_copy(update={"sampled": 0})) == ((), "")


def test_missing_values() -> None:
    """The share of nulls and rejected cells, beside that of the reference."""
    known = profile((0.0,))
    age = known.columns[0]
    now = age.now.model_copy(update={"nulls": sum(age.now.counts)})
    missing = age.model_copy(update={"now": now})
    (row, *_), _ = make_features(known.model_copy(update={"columns": [missing]}))
    assert (row.missing.now, row.missing.reference) == ("50%", "0")

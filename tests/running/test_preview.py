"""The first rows of an input, scored by `scoreline check` as a run would score them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.options import ColumnOptions, RejectBudget
from scoreline.pipeline.running.preview import SHOWN_ROWS, TRIED_ROWS, score_first_rows

from conftest import Example
from moody_models import take_at_most
from open_files import open_paths
from open_runs import OpenRun, open_run

#: Rows without a value: more than are shown, the last one not among the rows that are tried.
REJECTED = [1, 3, 5, 7, 9, 11, 999, 1000]


@pytest.fixture
def frame(iris: Example) -> pd.DataFrame:
    """1,200 rows."""
    frame = pd.concat([iris.frame] * 8, ignore_index=True)
    frame["row_id"] = range(len(frame))
    frame.loc[REJECTED, iris.features[0]] = np.nan
    return frame


@pytest.fixture
def opened(tmp_path: Path, iris: Example, frame: pd.DataFrame) -> OpenRun:
    """A run over these rows, and a second file."""
    return run_over(tmp_path, iris, frame)


def run_over(tmp_path: Path, iris: Example, frame: pd.DataFrame | pa.Table, **options: Any) -> OpenRun:
    """A run over a file with these rows, in one split, and a second file."""
    (tmp_path / "data").mkdir(exist_ok=True)
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "data" / "a.parquet")
    iris.frame.to_parquet(tmp_path / "data" / "b.parquet", index=False)
    return open_run(iris.bundle, tmp_path / "data", split_rows=1 << 16, **options)


def preview(opened: OpenRun) -> dict[str, Any]:
    """What `check` shows of a run."""
    return score_first_rows(opened.plan, opened.scorer, opened.job)


def test_rows_and_rejects(opened: OpenRun, iris: Example, frame: pd.DataFrame) -> None:
    """A thousand rows are tried in one block; five of them, and five rejects, are shown with everything in them."""
    found = preview(opened)
    assert (found["source"], found["tried"], found["rejected"]) == ("a.parquet", TRIED_ROWS, 7)
    passed = frame.drop(REJECTED).head(SHOWN_ROWS)
    raw = iris.raw(passed)
    probabilities = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    assert [row["row_id"] for row in found["scored"]] == [0, 2, 4, 6, 8]
    assert [row["prediction"] for row in found["scored"]] == [iris.labels[n] for n in raw.argmax(1)]
    for row, expected in zip(found["scored"], probabilities, strict=True):
        got = [row[f"probability_{label}"] for label in iris.labels]
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert [one["row_number"] for one in found["rejects"]] == REJECTED[:5]
    assert found["rejects"][0] == {
        "source": "a.parquet", "row_number": 1, "stage": "check", "column": iris.features[0], "reason": "is null",
    }  # fmt: skip
    assert found["retried"] == []


@pytest.mark.parametrize(
    ("budget", "within"),
    [
        (RejectBudget(count=6), False),
        (RejectBudget(count=7), True),
        (RejectBudget(count=None, share=Fraction(6, 1000)), False),
        (RejectBudget(count=None, share=Fraction(7, 1000)), True),
    ],
    ids=str,
)
def test_the_budget(tmp_path: Path, iris: Example, frame: pd.DataFrame, budget: RejectBudget, within: bool) -> None:
    """A share is one of the rows that were tried."""
    found = preview(run_over(tmp_path, iris, frame, max_rejects=budget))
    assert found["within_budget"] is within


def test_blocks_that_pass_in_pieces(tmp_path: Path, iris: Example, frame: pd.DataFrame) -> None:
    """With the error of the model."""
    opened = run_over(tmp_path, iris, frame, batch_rows=2000)
    take_at_most(opened.scorer, 600, ValueError)
    assert "600 rows at most, not 993" in preview(opened)["retried"]


def test_the_columns_of_a_job(tmp_path: Path, iris: Example, frame: pd.DataFrame) -> None:
    """Are those that a run would write."""
    columns = ColumnOptions(keys=("row_id",), prefix="p_", probabilities="none", top_k=2)
    row = preview(run_over(tmp_path, iris, frame, columns=columns))["scored"][0]
    assert list(row) == ["row_id", "p_prediction", "p_top_1", "p_top_1_probability", "p_top_2", "p_top_2_probability"]


def test_times_that_python_does_not_have(tmp_path: Path, iris: Example) -> None:
    """A date after the year 9999, or an unknown time zone, is shown as Arrow prints it; other rows are not affected."""
    days = pa.array([2_932_896, 2_932_897, None], pa.date32())
    table = pa.Table.from_pandas(iris.frame.head(3), preserve_index=False).append_column("day", days)
    table = table.append_column("at", pa.array([None, 1, 2], pa.timestamp("us", tz="No/Where")))
    found = preview(run_over(tmp_path, iris, table))
    assert [str(row["day"]) for row in found["scored"]] == ["9999-12-31", "10000-01-01", "None"]
    assert [row["at"] for row in found["scored"]] == [
        None, "1970-01-01 00:00:00.000001Z", "1970-01-01 00:00:00.000002Z",
    ]  # fmt: skip


def test_a_file_without_rows(tmp_path: Path, iris: Example) -> None:
    """Nothing is tried."""
    found = preview(run_over(tmp_path, iris, iris.frame.head(0), max_rejects=RejectBudget()))
    assert found == {
        "source": "a.parquet", "tried": 0, "scored": [], "rejected": 0, "rejects": [], "within_budget": True,
    }  # fmt: skip


def test_nothing_to_score(opened: OpenRun) -> None:
    """Every part is up to date."""
    found = score_first_rows(replace(opened.plan, partitions=()), opened.scorer, opened.job)
    assert found == {
        "source": "no file", "tried": 0, "scored": [], "rejected": 0, "rejects": [], "within_budget": True,
    }  # fmt: skip


def test_a_file_that_cannot_be_read(opened: OpenRun) -> None:
    """Its error is raised."""
    Path(opened.plan.partitions[0].partition.path).unlink()
    with pytest.raises(PartitionError, match=r"^a\.parquet: "):
        preview(opened)


def test_the_file_is_closed(opened: OpenRun, tmp_path: Path) -> None:
    """Though only its first rows were read."""
    preview(opened)
    assert not open_paths(tmp_path / "data")

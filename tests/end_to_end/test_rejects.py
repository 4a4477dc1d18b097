"""Rows that cannot be scored, and how many a run allows."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import closed, recorded, visible

Command = Callable[..., Result]


class TestRejects:
    """Invalid rows, one by one."""

    def bad(self, iris: Example, tmp_path: Path, suffix: str) -> Path:
        frame = iris.frame.astype(dict.fromkeys(iris.features, float))
        for row, column, value in ((3, 0, np.nan), (70, 2, np.inf), (149, 3, -np.inf)):
            frame.loc[row, iris.features[column]] = value
        file = tmp_path / f"in{suffix}"
        if suffix == ".parquet":
            table = pa.Table.from_pandas(frame, preserve_index=False)  # NaN becomes null
            pq.write_table(table, file, row_group_size=31)
        else:
            frame.to_csv(file, index=False)
        return file

    @pytest.mark.parametrize("suffix", [".parquet", ".csv"])
    def test_none_are_allowed_by_default(self, score: Command, tmp_path: Path, iris: Example, suffix: str) -> None:
        result = score(self.bad(iris, tmp_path, suffix))
        closed(result, 65, f"in{suffix}: row 3: column 'sepal length (cm)' is null", "--max-rejects")
        assert visible(tmp_path / "out") == []

    @pytest.mark.parametrize("suffix", [".parquet", ".csv"])
    @pytest.mark.parametrize("budget", ["3", "2%"])
    @pytest.mark.parametrize("batch_size", ["auto", "7"])
    def test_within_the_budget_they_are_written_with_their_reasons(
        self, score: Command, tmp_path: Path, iris: Example, suffix: str, budget: str, batch_size: str
    ) -> None:
        file = self.bad(iris, tmp_path, suffix)
        result = score(file, "--max-rejects", budget, "--batch-size", batch_size)
        assert result.code == 0, result.err
        target = f"in{'' if suffix == '.parquet' else suffix}"
        rows = pq.read_table(tmp_path / "out" / f"{target}.parquet")
        kept = [row for row in range(150) if row not in (3, 70, 149)]
        assert [int(value) for value in rows["row_id"].to_pylist()] == iris.frame["row_id"][kept].tolist()
        with pa.ipc.open_file(tmp_path / "out" / "_rejects" / f"{target}.arrow") as reader:
            rejects = reader.read_all()
        assert [int(value) for value in rejects["row_id"].to_pylist()] == iris.frame["row_id"][[3, 70, 149]].tolist()
        assert rejects["reject"].to_pylist() == [
            {"source": file.name, "row_number": row, "stage": "check", "column": column, "reason": reason}
            for row, column, reason in (
                (3, "sepal length (cm)", "is null"),
                (70, "petal length (cm)", "is infinite"),
                (149, "petal width (cm)", "is minus infinite"),
            )
        ]
        run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
        assert (run["rows_in"], run["rows_scored"], run["rows_rejected"]) == (150, 147, 3)
        (part,) = recorded(tmp_path / "out")
        assert (part["target"], part["rows_rejected"]) == (f"{target}.parquet", 3)

    def test_a_share_is_exact(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """29% of 100 rows are 29 rows."""
        frame = iris.frame.head(100).assign(**{iris.features[0]: [None] * 29 + [1.0] * 71})
        frame.to_parquet(tmp_path / "in.parquet", index=False)
        assert score(tmp_path / "in.parquet", "--max-rejects", "29%").code == 0

    def test_rejects_of_a_file_that_fails_do_not_count(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """The message is the error of the file."""
        (tmp_path / "data").mkdir()
        bad = iris.frame.assign(**{iris.features[0]: [None] * 100 + [1.0] * 50}).to_csv(index=False)
        (tmp_path / "data" / "a.csv").write_text(bad + '"')
        iris.frame.to_csv(tmp_path / "data" / "b.csv", index=False)
        result = score(tmp_path / "data", "--max-rejects", "1%", "--batch-size", "10")
        closed(result, 65, "a.csv: cannot be read as CSV", "1 of 2")
        assert visible(tmp_path / "out") == ["b.csv.parquet"]

    @pytest.mark.parametrize("budget", ["2", "1.9%"])
    @pytest.mark.parametrize("suffix", [".parquet", ".csv"])
    def test_beyond_the_budget_there_is_no_success(
        self, score: Command, tmp_path: Path, iris: Example, budget: str, suffix: str
    ) -> None:
        closed(score(self.bad(iris, tmp_path, suffix), "--max-rejects", budget), 65, "3 rows rejected", "allowed")
        assert "_SUCCESS" not in visible(tmp_path / "out")

    def test_rejects_of_an_earlier_run_do_not_stay(self, score: Command, tmp_path: Path, iris: Example) -> None:
        file = self.bad(iris, tmp_path, ".parquet")
        assert score(file, "--max-rejects", "3").code == 0
        iris.frame.to_parquet(file, index=False)
        assert score(file).code == 0
        assert not list((tmp_path / "out" / "_rejects").rglob("*.arrow"))

    def test_a_file_of_rejects_alone(self, score: Command, tmp_path: Path, iris: Example) -> None:
        iris.frame.assign(**{iris.features[1]: None}).to_parquet(tmp_path / "in.parquet", index=False)
        assert score(tmp_path / "in.parquet", "--max-rejects", "100%").code == 0
        assert pq.read_table(tmp_path / "out" / "in.parquet").num_rows == 0

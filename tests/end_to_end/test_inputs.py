"""Invalid input: exit codes and messages."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import closed, recorded, visible

Command = Callable[..., Result]


class TestInputs:
    """Exit codes 65 and 66."""

    def test_no_input(self, score: Command, tmp_path: Path) -> None:
        closed(score(tmp_path / "nowhere"), 66, "does not exist")
        (tmp_path / "empty").mkdir()
        closed(score(tmp_path / "empty"), 66, "no .parquet")
        (tmp_path / "empty" / "a.parquet").touch()
        closed(score(tmp_path / "empty"), 66, "0 bytes")

    @pytest.mark.parametrize("suffix", [".parquet", ".csv"])
    def test_no_rows_give_an_empty_output_with_its_schema(
        self, score: Command, tmp_path: Path, iris: Example, suffix: str
    ) -> None:
        nothing, file = iris.frame.iloc[:0], tmp_path / f"in{suffix}"
        nothing.to_parquet(file, index=False) if suffix == ".parquet" else nothing.to_csv(file, index=False)
        assert score(file).code == 0
        got = pq.read_table(tmp_path / "out" / ("in.parquet" if suffix == ".parquet" else "in.csv.parquet"))
        assert got.num_rows == 0
        assert got.column_names == [
            "row_id", "truth", "prediction", "probability_0", "probability_1", "probability_2",
        ]  # fmt: skip

    def test_zero_row_groups(self, score: Command, tmp_path: Path, iris: Example) -> None:
        schema = pa.Table.from_pandas(iris.frame, preserve_index=False).schema
        pq.ParquetWriter(tmp_path / "in.parquet", schema).close()
        assert score(tmp_path / "in.parquet").code == 0
        assert pq.read_table(tmp_path / "out" / "in.parquet").num_rows == 0

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda f: f.drop(columns="petal width (cm)"), ("'petal width (cm)' is missing", "in.parquet")),
            (lambda f: f.rename(columns=str.upper), ("are missing", "'SEPAL LENGTH (CM)' is there")),
            (lambda f: f.assign(**{"petal width (cm)": "x"}), ("'petal width (cm)' is ", "string")),
            (lambda f: f.assign(**{"petal width (cm)": [[1.0]] * len(f)}), ("'petal width (cm)' is list",)),
            (lambda f: f.assign(prediction=1), ("'prediction' is also the name of an output", "--prefix")),
        ],
    )
    def test_wrong_columns_refuse_the_whole_run(
        self, score: Command, tmp_path: Path, iris: Example, change: Any, says: tuple[str, ...]
    ) -> None:
        change(iris.frame).to_parquet(tmp_path / "in.parquet", index=False)
        closed(score(tmp_path / "in.parquet"), 65, *says)
        assert not (tmp_path / "out").exists()

    def test_duplicate_columns(self, score: Command, tmp_path: Path, iris: Example) -> None:
        table = pa.Table.from_pandas(iris.frame, preserve_index=False)
        pq.write_table(table.append_column(iris.features[0], table["truth"]), tmp_path / "in.parquet")
        closed(score(tmp_path / "in.parquet"), 65, repr(iris.features[0]), "appears twice")
        pq.write_table(table.append_column("row_id", table["truth"]), tmp_path / "in.parquet")
        closed(score(tmp_path / "in.parquet"), 65, "'row_id' appears twice", "--keys")
        assert score(tmp_path / "in.parquet", "--keys", "truth").code == 0

    def test_an_unknown_key(self, score: Command, iris_file: Path) -> None:
        closed(score(iris_file, "--keys", "nobody"), 65, "in.parquet: column 'nobody' is missing", "'row_id'")

    @pytest.mark.parametrize("where", [0, 3, 4, 8, 0.5, -1])
    def test_one_broken_file_of_several_fails_alone(
        self, score: Command, tmp_path: Path, iris: Example, where: float
    ) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        for name in "abc":
            iris.frame.to_parquet(folder / f"{name}.parquet", index=False)
        whole = (folder / "b.parquet").read_bytes()
        at = int(len(whole) * where) if isinstance(where, float) else where
        (folder / "b.parquet").write_bytes(whole[:at])
        result = score(folder)
        closed(result, 65, "b.parquet", "1 of 3 inputs", "the others are published")
        assert visible(tmp_path / "out") == ["a.parquet", "c.parquet"]
        run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
        assert (run["status"], run["inputs"], run["inputs_failed"]) == ("failed", 3, 1)
        assert [(part["source"], bool(part["error"])) for part in recorded(tmp_path / "out")] == [
            ("a.parquet", False),
            ("b.parquet", True),
            ("c.parquet", False),
        ]

    def test_damage_inside_a_file_is_caught_by_its_checksums(
        self, score: Command, tmp_path: Path, iris: Example
    ) -> None:
        """B2: a flipped bit in a page never becomes a value; what was written for the file is removed."""
        file = tmp_path / "in.parquet"
        table = pa.Table.from_pandas(pd.concat([iris.frame] * 40), preserve_index=False)
        pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        closed(score(file, "--batch-size", "64"), 65, "in.parquet", "cannot be read as Parquet")
        assert visible(tmp_path / "out") == []


class TestOddFiles:
    """Unusual files and folders."""

    def test_links_to_folders_are_followed_once(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "data").mkdir()
        iris.frame.to_parquet(tmp_path / "store" / "a.parquet", index=False)
        (tmp_path / "data" / "date=1").symlink_to(tmp_path / "store")
        (tmp_path / "store" / "loop").symlink_to(tmp_path / "store")
        assert score(tmp_path / "data").code == 0
        assert visible(tmp_path / "out") == ["_SUCCESS", "date=1/a.parquet"]

    def test_pipes_are_ignored(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        os.mkfifo(tmp_path / "data" / "x.csv")
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        assert score(tmp_path / "data").code == 0
        run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
        assert run["first_ignored"] == ["x.csv"]

    def test_a_name_that_is_not_utf8(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        (tmp_path / "data" / "a.csv").rename(tmp_path / "data" / os.fsdecode(b"\xe9.csv"))
        closed(score(tmp_path / "data"), 2, "is not UTF-8")

    @pytest.mark.parametrize("pattern", ["*/*.parquet", "**/a.parquet"])
    def test_a_dangling_link_that_does_not_match(
        self, score: Command, tmp_path: Path, iris: Example, pattern: str
    ) -> None:
        """One that is named as a file, and where a file would not be an input either."""
        (tmp_path / "data" / "x").mkdir(parents=True)
        iris.frame.to_parquet(tmp_path / "data" / "x" / "a.parquet", index=False)
        (tmp_path / "data" / "old.parquet").symlink_to(tmp_path / "nowhere")
        assert score(tmp_path / "data" / pattern).code == 0

    def test_a_name_that_python_does_not_read_as_utf8(self, process: Command, tmp_path: Path, iris: Example) -> None:
        """Where UTF-8 is turned off: not the name is wrong."""
        iris.frame.to_csv(tmp_path / "größe.csv", index=False)
        words = ["score", "--bundle", iris.bundle, "--input", tmp_path, "--output", "/tmp/never"]
        closed(
            process(*words, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
            2,
            "größe.csv' is UTF-8, but Python reads names as ascii here; set PYTHONUTF8=1",
        )

    def test_a_dangling_link_fails_alone(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_parquet(tmp_path / "data" / "a.parquet", index=False)
        (tmp_path / "data" / "b.parquet").symlink_to(tmp_path / "nowhere")
        closed(score(tmp_path / "data"), 65, "b.parquet", "1 of 2", "; make such files readable, then run again")
        assert visible(tmp_path / "out") == ["a.parquet"]

    @pytest.mark.parametrize("pattern", ["", "*", "*/*.parquet", "**", "**/*.parquet", "date=*/"])
    def test_a_dangling_link_that_may_be_a_folder(
        self, score: Command, tmp_path: Path, iris: Example, pattern: str
    ) -> None:
        """A folder whose mount is missing: nothing is scored, and nothing removed, as if it had no files."""
        data, store = tmp_path / "data", tmp_path / "store"
        for folder in (data / "date=1", store / "mounted"):
            folder.mkdir(parents=True)
            iris.frame.to_parquet(folder / "a.parquet", index=False)
        (data / "date=2").symlink_to(store / "mounted")
        assert score(data / pattern).code == 0
        before = visible(tmp_path / "out")
        (store / "mounted").rename(store / "away")
        closed(score(data / pattern, "--prune"), 66, "date=2' is a broken link")
        assert visible(tmp_path / "out") == before
        (data / "date=2").unlink()
        assert score(data / pattern).code == 0

    def test_a_header_without_its_newline(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "a.csv").write_text(",".join(["id", *iris.features]))
        assert score(tmp_path / "a.csv").code == 0
        assert pq.read_table(tmp_path / "out" / "a.csv.parquet").num_rows == 0

    def test_gzip_by_any_spelling(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "A.CSV.GZ").write_bytes(gzip.compress(iris.frame.to_csv(index=False).encode()))
        assert score(tmp_path / "A.CSV.GZ").code == 0

    def test_dictionaries_that_differ_between_row_groups(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """In keys and in rejects."""
        table = pa.Table.from_pandas(iris.frame, preserve_index=False)
        table = table.set_column(1, iris.features[0], pa.array([None, *[1.0] * 49] * 3))
        kind = pa.dictionary(pa.int32(), pa.string())
        table = table.append_column("key", pa.array([f"k{n}" for n in range(150)]).cast(kind))
        schema = table.schema
        with pq.ParquetWriter(tmp_path / "in.parquet", schema) as writer:
            for start in (0, 50, 100):
                writer.write_table(table.slice(start, 50).unify_dictionaries())
        assert score(tmp_path / "in.parquet", "--max-rejects", "3", "--batch-size", "40").code == 0
        keys = pq.read_table(tmp_path / "out" / "in.parquet")["key"]
        assert keys.to_pylist() == [f"k{n}" for n in range(150) if n % 50]
        with pa.ipc.open_file(tmp_path / "out" / "_rejects" / "in.arrow") as reader:
            assert reader.read_all()["key"].to_pylist() == ["k0", "k50", "k100"]

    def test_views_as_keys(self, score: Command, tmp_path: Path, iris: Example) -> None:
        table = pa.Table.from_pandas(iris.frame, preserve_index=False).append_column(
            "view", pa.array(["x", None, "a long text beyond twelve bytes"] * 50, pa.string_view())
        )
        table = table.set_column(1, iris.features[0], pa.array([None, *[1.0] * 149]))
        pq.write_table(table, tmp_path / "in.parquet")
        assert score(tmp_path / "in.parquet", "--max-rejects", "1").code == 0
        got = pq.read_table(tmp_path / "out" / "in.parquet")["view"]
        assert got == pq.read_table(tmp_path / "in.parquet")["view"][1:]

    def test_integers_beyond_any_float(self, score: Command, tmp_path: Path, iris: Example) -> None:
        features = {name: pa.array([2**64 - 1, 5], pa.uint64()) for name in iris.features}
        pq.write_table(pa.table(features), tmp_path / "in.parquet")
        closed(score(tmp_path / "in.parquet"), 65, "18446744073709551615, outside ±2^53")
        rows = [",".join(iris.features), ",".join(["9" * 5000] * 4), "1,1,1,1"]
        (tmp_path / "in.csv").write_text("\n".join(rows))
        closed(score(tmp_path / "in.csv"), 65, "is infinite")

    def test_a_hive_key_named_like_an_output(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data" / "prediction=1").mkdir(parents=True)
        iris.frame.to_parquet(tmp_path / "data" / "prediction=1" / "a.parquet", index=False)
        closed(score(tmp_path / "data"), 65, "'prediction'", "--prefix")
        assert score(tmp_path / "data", "--prefix", "p_").code == 0

    def test_urls_are_not_folders(self, scoreline: Command, tmp_path: Path, iris_file: Path, iris: Example) -> None:
        result = scoreline("score", "--bundle", iris.bundle, "--input", iris_file, "--output", "ftp://host/x")
        closed(result, 2, "'ftp://host/x' is a URL")

"""Bad input, by exit code and message; and how a run is asked for: job file, environment, dates."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result

Command = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """Iris as one Parquet file."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    return tmp_path / "in.parquet"


@pytest.fixture
def score(scoreline: Command, iris: Example, tmp_path: Path) -> Command:
    """`scoreline score` of an input into tmp_path/out."""

    def call(data: Path, *words: object) -> Result:
        return scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", *words)

    return call


def visible(folder: Path) -> list[str]:
    """What a reader of the output would see, and any temporary left behind."""
    return sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and (file.suffix == ".parquet" or ".tmp" in file.name or file.name == "_SUCCESS")
    )


def closed(result: Result, code: int, *says: str) -> None:
    """A documented exit code, one clear line, no traceback."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert "\n" not in result.message.strip()
    for words in says:
        assert words in result.message, result.message


class TestBundles:
    """78, before anything is read."""

    def test_not_a_bundle(self, scoreline: Command, data: Path, tmp_path: Path) -> None:
        result = scoreline("score", "--bundle", tmp_path, "--input", data, "--output", tmp_path / "out")
        closed(result, 78, "is no bundle", "save_bundle")
        assert not (tmp_path / "out").exists()

    def test_tampered(self, scoreline: Command, data: Path, tmp_path: Path, iris: Example) -> None:
        for file in iris.bundle.iterdir():
            (tmp_path / "b").mkdir(exist_ok=True)
            (tmp_path / "b" / file.name).write_bytes(file.read_bytes())
        fields = json.loads((tmp_path / "b" / "bundle.json").read_text())
        fields["steps"][0]["mean"][2] += 1
        (tmp_path / "b" / "bundle.json").write_text(json.dumps(fields))
        result = scoreline("score", "--bundle", tmp_path / "b", "--input", data, "--output", tmp_path / "out")
        closed(result, 78, "golden rows do not come out", "differs by")
        assert visible(tmp_path / "out") == []


class TestInputs:
    """65 and 66."""

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
            (lambda f: f.rename(columns=str.upper), ("is missing", "'SEPAL LENGTH (CM)' is there")),
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

    def test_doubled_columns(self, score: Command, tmp_path: Path, iris: Example) -> None:
        table = pa.Table.from_pandas(iris.frame, preserve_index=False)
        pq.write_table(table.append_column(iris.features[0], table["truth"]), tmp_path / "in.parquet")
        closed(score(tmp_path / "in.parquet"), 65, repr(iris.features[0]), "stands 2 times")
        pq.write_table(table.append_column("row_id", table["truth"]), tmp_path / "in.parquet")
        closed(score(tmp_path / "in.parquet"), 65, "'row_id' stands 2 times", "--keys")
        assert score(tmp_path / "in.parquet", "--keys", "truth").code == 0

    def test_an_unknown_key(self, score: Command, data: Path) -> None:
        closed(score(data, "--keys", "nobody"), 65, "in.parquet: key column 'nobody' is missing", "'row_id'")

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
        assert run["status"] == "failed"
        assert [(part["source"], bool(part["error"])) for part in run["partitions"]] == [
            ("a.parquet", False),
            ("b.parquet", True),
            ("c.parquet", False),
        ]

    def test_damage_inside_a_file_is_caught_by_its_checksums(
        self, score: Command, tmp_path: Path, iris: Example
    ) -> None:
        """B2: a flipped bit in a page is no value; what had been written of the file is gone."""
        file = tmp_path / "in.parquet"
        table = pa.Table.from_pandas(pd.concat([iris.frame] * 40), preserve_index=False)
        pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        closed(score(file, "--batch-size", "64"), 65, "in.parquet", "cannot be read as Parquet")
        assert visible(tmp_path / "out") == []


class TestOddFiles:
    """What lies in folders in the wild."""

    def test_links_to_folders_are_followed_once(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "data").mkdir()
        iris.frame.to_parquet(tmp_path / "store" / "a.parquet", index=False)
        (tmp_path / "data" / "date=1").symlink_to(tmp_path / "store")
        (tmp_path / "store" / "loop").symlink_to(tmp_path / "store")
        assert score(tmp_path / "data").code == 0
        assert visible(tmp_path / "out") == ["_SUCCESS", "date=1/a.parquet"]

    def test_pipes_are_no_files(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        os.mkfifo(tmp_path / "data" / "x.csv")
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        assert score(tmp_path / "data").code == 0
        run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
        assert run["ignored"] == ["x.csv"]

    def test_a_name_that_is_no_text(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        (tmp_path / "data" / "a.csv").rename(tmp_path / "data" / os.fsdecode(b"\xe9.csv"))
        closed(score(tmp_path / "data"), 2, "is not UTF-8")

    def test_a_dangling_link_fails_alone(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_parquet(tmp_path / "data" / "a.parquet", index=False)
        (tmp_path / "data" / "b.parquet").symlink_to(tmp_path / "nowhere")
        closed(score(tmp_path / "data"), 65, "b.parquet", "1 of 2")
        assert visible(tmp_path / "out") == ["a.parquet"]

    def test_a_header_without_its_newline(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "a.csv").write_text(",".join(["id", *iris.features]))
        assert score(tmp_path / "a.csv").code == 0
        assert pq.read_table(tmp_path / "out" / "a.csv.parquet").num_rows == 0

    def test_gzip_by_any_spelling(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "A.CSV.GZ").write_bytes(gzip.compress(iris.frame.to_csv(index=False).encode()))
        assert score(tmp_path / "A.CSV.GZ").code == 0

    def test_dictionaries_that_differ_between_row_groups(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """As keys and among the rejects."""
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
        closed(score(tmp_path / "in.parquet"), 65, "18446744073709551615, beyond 2^53")
        rows = [",".join(iris.features), ",".join(["9" * 5000] * 4), "1,1,1,1"]
        (tmp_path / "in.csv").write_text("\n".join(rows))
        closed(score(tmp_path / "in.csv"), 65, "is infinite")

    def test_a_hive_key_named_like_an_output(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data" / "prediction=1").mkdir(parents=True)
        iris.frame.to_parquet(tmp_path / "data" / "prediction=1" / "a.parquet", index=False)
        closed(score(tmp_path / "data"), 65, "'prediction'", "--prefix")
        assert score(tmp_path / "data", "--prefix", "p_").code == 0

    def test_addresses_are_no_folders(self, scoreline: Command, tmp_path: Path, data: Path, iris: Example) -> None:
        result = scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", "s3://bucket/x")
        closed(result, 2, "'s3://bucket/x' is an address")


class TestRejects:
    """Bad rows, one by one."""

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
        assert run["partitions"][0]["parts"][0]["rejects"] == f"_rejects/{target}.arrow"

    def test_a_share_is_exact(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """29% of 100 rows are 29 rows."""
        frame = iris.frame.head(100).assign(**{iris.features[0]: [None] * 29 + [1.0] * 71})
        frame.to_parquet(tmp_path / "in.parquet", index=False)
        assert score(tmp_path / "in.parquet", "--max-rejects", "29%").code == 0

    def test_rejects_of_a_file_that_fails_do_not_count(self, score: Command, tmp_path: Path, iris: Example) -> None:
        """Its own error is the one that is told."""
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


class TestOutputs:
    """69, 73, 74: before or after, nothing half-written under a final name."""

    def test_a_device_that_is_absent(self, score: Command, data: Path, tmp_path: Path) -> None:
        closed(score(data, "--device", "cuda:9"), 69, "'cuda:9' is not available")
        closed(score(data, "--device", "tpu"), 69, "'tpu'")
        assert visible(tmp_path / "out") == []

    def test_an_output_that_cannot_be_created(self, scoreline: Command, data: Path, iris: Example) -> None:
        for place in (data, data / "below", "/proc/nowhere"):
            result = scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", place)
            closed(result, 73, "output")

    def test_input_and_output_apart(self, scoreline: Command, data: Path, iris: Example) -> None:
        folder = data.parent
        for place in (folder, folder / "below"):
            result = scoreline("score", "--bundle", iris.bundle, "--input", folder, "--output", place)
            closed(result, 73, "lie within each other")
        result = scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", folder)
        closed(result, 73, "lies within the output")
        assert pq.read_table(data).num_rows == 150

    def test_a_parquet_that_is_not_ours_is_refused(self, score: Command, data: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.parquet").write_bytes(data.read_bytes())
        closed(score(data), 73, "theirs.parquet was not written by scoreline")

    def test_two_inputs_that_meet_in_one_output(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        iris.frame.to_parquet(tmp_path / "data" / "a.csv.parquet", index=False)
        closed(score(tmp_path / "data"), 2, "'a.csv'", "'a.csv.parquet'", "rename one")

    def test_a_full_disk(self, score: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last fsync says so: nothing is published, and after there is room the same command works."""

        def full(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            closed(score(data), 74, "No space left", "make room")
        assert visible(tmp_path / "out") == []
        assert score(data).code == 0
        assert visible(tmp_path / "out") == ["_SUCCESS", "in.parquet"]

    def test_again_over_a_finished_output(self, score: Command, data: Path, tmp_path: Path) -> None:
        """The same command gives the same bytes."""
        assert score(data).code == 0
        before = (tmp_path / "out" / "in.parquet").read_bytes()
        assert score(data, "--run-id", "another").code == 0
        assert (tmp_path / "out" / "in.parquet").read_bytes() == before


class TestAsking:
    """Job file, environment, dates, words that are wrong."""

    def job(self, tmp_path: Path, text: str) -> Path:
        (tmp_path / "night").mkdir(exist_ok=True)
        (tmp_path / "night" / "job.toml").write_text(text)
        return tmp_path / "night" / "job.toml"

    def test_job_file_environment_command_line(
        self, process: Command, data: Path, tmp_path: Path, iris: Example
    ) -> None:
        """The command line wins, then the environment, then the file, whose paths are relative to it."""
        job = self.job(
            tmp_path,
            f'bundle = "{iris.bundle}"\ninput = "../in.parquet"\noutput = "../out-{{run_date}}"\n'
            'batch_size = "1k"\nkeys = ["row_id"]\nprefix = "f_"\nprobabilities = "none"\nmax_rejects = 3\n'
            "progress = false\n",
        )
        result = process(
            "score", "--job", job, "--run-date", "2026-11-24", "--prefix", "c_",
            SCORELINE_PREFIX="e_", SCORELINE_PROBABILITIES="list",
        )  # fmt: skip
        assert result.code == 0, result.err
        got = pq.read_table(tmp_path / "out-2026-11-24" / "in.parquet")
        assert got.column_names == ["row_id", "c_prediction", "c_probabilities"]
        run = json.loads((tmp_path / "out-2026-11-24" / "_scoreline/run.json").read_text())
        assert run["options"]["batch_rows"] == 1000
        assert run["options"]["max_rejects"] == "3"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("bundel = 'x'", "bundel"),
            ("bundle = ", "not TOML"),
            ("progress = 3", "progress"),
            ('progress = "yes"', "progress"),
            ("batch_size = true", "batch_size"),
            ("max-rejects = 3", "is not a flag of scoreline score; write max_rejects"),
            ("max_rejects = [1]", "max_rejects"),
        ],
    )
    def test_a_job_file_that_is_wrong(self, scoreline: Command, tmp_path: Path, text: str, says: str) -> None:
        closed(scoreline("score", "--job", self.job(tmp_path, text)), 78, "job.toml", says)
        closed(scoreline("score", "--job", tmp_path / "no.toml"), 78, "no.toml", "cannot be read")

    def test_a_date_that_is_asked_for(self, scoreline: Command, data: Path, iris: Example) -> None:
        words = ["score", "--bundle", iris.bundle, "--input", data, "--output", str(data.parent / "{run_date}")]
        closed(scoreline(*words), 2, "--run-date")

    @pytest.mark.parametrize(
        "words",
        [("--batch-size", "0"), ("--batch-size", "many"), ("--max-rejects", "101%"), ("--max-rejects", "-1"),
         ("--keys", "a,,b"), ("--format", "xml"), ("--run-date", "24.11.2026"), ("--nonsense",)],
    )  # fmt: skip
    def test_wrong_words_are_usage(self, score: Command, data: Path, words: tuple[str, ...]) -> None:
        result = score(data, *words)
        assert result.code == 2
        assert "Usage:" in result.err

    def test_text_on_request(self, score: Command, data: Path) -> None:
        """Lines for people, and the stage table as the answer."""
        result = score(data, "--log-format", "text")
        assert result.code == 0
        assert "run_end" in result.err
        assert not result.events
        lines = result.out.splitlines()
        assert [line.split()[0] for line in lines[2:12]] == [
            "start-up", "discover", "read", "check", "scale", "transfer", "forward", "decode", "write", "publish",
        ]  # fmt: skip
        assert "150 rows scored" in lines[-1]
        assert "waited for" in lines[-1]

    @pytest.mark.parametrize("words", ["--help", "--version"])
    def test_streams_that_are_closed(self, words: str) -> None:
        """No stdout, no stderr: no traceback, nothing to say it to."""
        code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        done = subprocess.run([sys.executable, "-c", code, "-m", "scoreline", words], cwd="/", check=False)
        assert done.returncode == 0

    def test_a_reader_that_leaves_early(self, process: Command, data: Path, tmp_path: Path, iris: Example) -> None:
        """P23: stdout closed, the output right, no traceback."""
        words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--input", str(data)]
        words += ["--output", str(tmp_path / "out"), "--log-format", "text"]
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd="/")
        os.close(write)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
        assert visible(tmp_path / "out") == ["_SUCCESS", "in.parquet"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_within_seconds(tmp_path: Path, iris: Example, number: signal.Signals, code: int) -> None:
    """P3: no part half-written, no temporary, no `_SUCCESS`; the manifest says what happened."""
    many = pd.concat([iris.frame] * 4000, ignore_index=True)
    (tmp_path / "data").mkdir()
    for n in range(6):
        many.to_parquet(tmp_path / "data" / f"{n}.parquet", index=False)
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--batch-size", "500"]
    words += ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd="/")
    deadline = time.monotonic() + 60
    while not any((tmp_path / "out").glob("0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == code, err
    assert "Traceback" not in err
    left = visible(tmp_path / "out")
    assert left
    assert all(name.endswith(".parquet") and ".tmp" not in name for name in left)
    run = json.loads((tmp_path / "out/_scoreline/run.json").read_text())
    assert run["status"] == "failed"
    assert "interrupted" in run["error"]
    # a signal between a rename and the entry of it leaves a part that the next run reads whole before it believes it
    assert {part["target"] for one in run["partitions"] for part in one["parts"]} <= set(left)


def test_a_signal_is_no_exception_of_the_model(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come while golden rows are replayed, where anything a model raises is a bad bundle."""
    from scoreline.pipeline.scoring import scorer

    monkeypatch.setattr(scorer.Scorer, "scale", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline("score", *words).code == 143


def test_a_signal_in_a_destructor_is_not_lost(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python swallows what is raised there; it is raised again at the next block, and nothing is printed of it."""
    from scoreline.pipeline.running import publisher

    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    real = publisher.Publisher.publish

    def and_collect(self: publisher.Publisher, end: publisher.SplitEnd) -> None:
        real(self, end)
        if end.split.index == 0:
            Dying()

    monkeypatch.setattr(publisher.Publisher, "publish", and_collect)
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, "--split-rows", "40")
    assert result.code == 143
    assert "Traceback" not in result.err
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_signal_while_torch_is_imported_waits_for_it(iris: Example, tmp_path: Path) -> None:
    """Torch would abort the process over an exception then."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    code = (
        "import os, signal, sys; from scoreline.jobs.cli import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch.nn.modules': os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder()); main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 143, done.stderr
    assert "interrupted by signal 15" in done.stderr
    assert not (tmp_path / "out" / "in.parquet").exists()

"""Options of a run: bundles, outputs, job file, environment, dates; exit codes and messages."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import closed, visible

Command = Callable[..., Result]


class TestBundles:
    """Exit code 78, before anything is read."""

    def test_not_a_bundle(self, scoreline: Command, iris_file: Path, tmp_path: Path) -> None:
        result = scoreline("score", "--bundle", tmp_path, "--input", iris_file, "--output", tmp_path / "out")
        closed(result, 78, "is not a bundle", "save_bundle")
        assert not (tmp_path / "out").exists()

    def test_tampered(self, scoreline: Command, iris_file: Path, tmp_path: Path, iris: Example) -> None:
        for file in iris.bundle.iterdir():
            (tmp_path / "b").mkdir(exist_ok=True)
            (tmp_path / "b" / file.name).write_bytes(file.read_bytes())
        fields = json.loads((tmp_path / "b" / "bundle.json").read_text())
        fields["steps"][0]["mean"][2] += 1
        (tmp_path / "b" / "bundle.json").write_text(json.dumps(fields))
        result = scoreline("score", "--bundle", tmp_path / "b", "--input", iris_file, "--output", tmp_path / "out")
        closed(result, 78, "golden rows were not reproduced", "differs by")
        assert visible(tmp_path / "out") == []


class TestOutputs:
    """Exit codes 69, 73, 74: before or after scoring, nothing half-written has a final name."""

    def test_a_device_that_is_absent(self, score: Command, iris_file: Path, tmp_path: Path) -> None:
        closed(score(iris_file, "--device", "cuda:9"), 69, "'cuda:9' is not available")
        closed(score(iris_file, "--device", "tpu"), 69, "'tpu'")
        assert visible(tmp_path / "out") == []

    def test_an_output_that_cannot_be_created(self, scoreline: Command, iris_file: Path, iris: Example) -> None:
        for output in (iris_file, iris_file / "below", "/proc/nowhere"):
            result = scoreline("score", "--bundle", iris.bundle, "--input", iris_file, "--output", output)
            closed(result, 73, "output")

    def test_input_and_output_apart(self, scoreline: Command, iris_file: Path, iris: Example) -> None:
        folder = iris_file.parent
        for output in (folder, folder / "below"):
            result = scoreline("score", "--bundle", iris.bundle, "--input", folder, "--output", output)
            closed(result, 73, "overlap")
        result = scoreline("score", "--bundle", iris.bundle, "--input", iris_file, "--output", folder)
        closed(result, 73, "is within the output")
        assert pq.read_table(iris_file).num_rows == 150

    @pytest.mark.parametrize("flag", ["--metrics", "--trace"])
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("in.parquet", "is another file, which it would replace"),
            ("notes.txt", "is another file, which it would replace"),
            ("link", "is another file, which it would replace"),
            ("out/_SUCCESS", "is within the output"),
            ("out/_scoreline/run.json", "is within the output"),
            ("out/new.json", "is within the output"),
        ],
    )
    def test_a_file_beside_the_run_replaces_nothing_else(
        self, score: Command, iris_file: Path, tmp_path: Path, flag: str, name: str, says: str
    ) -> None:
        """An input, a part, a file of the user: it is unchanged, and nothing is scored."""
        data = iris_file.rename(tmp_path / "in.parquet")
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "link").symlink_to(data)
        assert score(data).code == 0
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        closed(score(data, flag, tmp_path / name, "--force"), 2, says)
        if "within" not in says:  # a usage error, where the output is not known
            assert score(data, flag, tmp_path / name, "--nonsense").code == 2
        assert all(path.read_bytes() == content for path, content in before.items() if "history" not in path.name)

    @pytest.mark.parametrize("flag", ["--metrics", "--trace"])
    def test_a_file_beside_the_run_is_replaced_by_the_next(
        self, score: Command, iris_file: Path, tmp_path: Path, flag: str
    ) -> None:
        """Also one that is empty, as `mktemp` makes it."""
        (tmp_path / "file").touch()
        for _ in range(2):
            assert score(iris_file, flag, tmp_path / "file", "--force").code == 0
            assert (tmp_path / "file").stat().st_size > 100

    @pytest.mark.parametrize("flag", ["--metrics", "--trace"])
    def test_the_folder_of_a_file_beside_the_run(
        self, score: Command, iris_file: Path, tmp_path: Path, flag: str
    ) -> None:
        """Is created; one that cannot be ends the run before it scores, where a trace is concerned."""
        assert score(iris_file, flag, tmp_path / "new" / "folder" / "file").code == 0
        assert (tmp_path / "new" / "folder" / "file").stat().st_size > 100
        result = score(iris_file, flag, iris_file / "below" / "file", "--force")
        closed(result, 74, "cannot be")
        assert (tmp_path / "out" / "_SUCCESS").exists()

    @pytest.mark.parametrize("path", [".", "/"])
    @pytest.mark.parametrize("flag", ["--metrics", "--trace"])
    def test_a_folder_in_place_of_a_file_beside_the_run(
        self, score: Command, iris_file: Path, flag: str, path: str
    ) -> None:
        closed(score(iris_file, flag, path), 74, "cannot be written: it is a folder, not a file; choose another path")

    def test_a_foreign_parquet_file_is_refused(self, score: Command, iris_file: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.parquet").write_bytes(iris_file.read_bytes())
        closed(score(iris_file), 73, "theirs.parquet was not written by scoreline")

    def test_two_inputs_that_meet_in_one_output(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "data").mkdir()
        iris.frame.to_csv(tmp_path / "data" / "a.csv", index=False)
        iris.frame.to_parquet(tmp_path / "data" / "a.csv.parquet", index=False)
        closed(score(tmp_path / "data"), 2, "'a.csv'", "'a.csv.parquet'", "rename one")

    def test_a_full_disk(
        self, score: Command, iris_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last fsync fails: nothing is published, and once there is space the same command works."""

        def full(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            closed(score(iris_file), 74, "No space left", "free some space")
        assert visible(tmp_path / "out") == []
        assert score(iris_file).code == 0
        assert visible(tmp_path / "out") == ["_SUCCESS", "in.parquet"]

    def test_again_over_a_finished_output(self, score: Command, iris_file: Path, tmp_path: Path) -> None:
        """The same command gives the same bytes."""
        assert score(iris_file).code == 0
        before = (tmp_path / "out" / "in.parquet").read_bytes()
        assert score(iris_file, "--run-id", "another").code == 0
        assert (tmp_path / "out" / "in.parquet").read_bytes() == before


class TestOptions:
    """Job file, environment, dates, invalid options."""

    def job(self, tmp_path: Path, text: str) -> Path:
        (tmp_path / "night").mkdir(exist_ok=True)
        (tmp_path / "night" / "job.toml").write_text(text)
        return tmp_path / "night" / "job.toml"

    def test_job_file_environment_command_line(
        self, scoreline: Command, iris_file: Path, tmp_path: Path, iris: Example, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The command line takes precedence, then the environment, then the file, whose paths are relative to it."""
        job = self.job(
            tmp_path,
            f'bundle = "{iris.bundle}"\ninput = "../in.parquet"\noutput = "../out-{{run_date}}"\n'
            'batch_size = "1k"\nkeys = ["row_id"]\nprefix = "f_"\nprobabilities = "none"\nmax_rejects = 3\n'
            "progress = false\n",
        )
        monkeypatch.setenv("SCORELINE_PREFIX", "e_")
        monkeypatch.setenv("SCORELINE_PROBABILITIES", "list")
        result = scoreline("score", "--job", job, "--run-date", "2026-11-24", "--prefix", "c_")
        assert result.code == 0, result.err
        got = pq.read_table(tmp_path / "out-2026-11-24" / "in.parquet")
        assert got.column_names == ["row_id", "c_prediction", "c_probabilities"]
        run = json.loads((tmp_path / "out-2026-11-24" / "_scoreline/run.json").read_text())
        assert run["options"]["batch_rows"] == 1000
        assert run["options"]["max_rejects"] == "3"

    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("SCORELINE_MAX_REJECT", "SCORELINE_MAX_REJECTS"),
            ("SCORELINE_TRESHOLD", "SCORELINE_THRESHOLD"),
            ("SCORELINE_BATCHSIZE", "SCORELINE_BATCH_SIZE"),
            ("SCORELINE_max_rejects", "SCORELINE_MAX_REJECTS"),
            ("SCORELINE_JOBS", "SCORELINE_JOB"),
        ],
    )
    def test_a_misspelt_variable_is_refused(
        self,
        score: Command,
        iris_file: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        meant: str,
    ) -> None:
        """A limit that is not applied would not be noticed."""
        monkeypatch.setenv(variable, "1")
        closed(score(iris_file), 2, f"{variable} has no effect; use {meant}, or remove it")
        assert visible(tmp_path / "out") == []

    def test_finish_refuses_a_misspelt_variable(
        self, scoreline: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SCORELINE_MAX_DRIFTS", "1")
        closed(scoreline("finish", tmp_path), 2, "SCORELINE_MAX_DRIFTS has no effect; use SCORELINE_MAX_DRIFT, or")

    def test_other_variables_are_the_users(
        self, score: Command, iris_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Among them those that Kubernetes sets for a service of this name."""
        for name in (
            "PORT",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "PORT_80_TCP_ADDR",
            "IMAGE",
            "DATA",
            "INSTANCE_CREDENTIALS",
        ):
            monkeypatch.setenv(f"SCORELINE_{name}", "1")
        assert score(iris_file).code == 0

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("bundel = 'x'", "bundel"),
            ("bundle = ", "not TOML"),
            ("progress = 3", "progress"),
            ('progress = "yes"', "progress"),
            ("batch_size = true", "batch_size"),
            ("max-rejects = 3", "is not an option of scoreline score; did you mean max_rejects?"),
            ("max_rejects = [1]", "max_rejects"),
        ],
    )
    def test_a_job_file_that_is_wrong(self, scoreline: Command, tmp_path: Path, text: str, says: str) -> None:
        closed(scoreline("score", "--job", self.job(tmp_path, text)), 78, "job.toml", says)
        closed(scoreline("score", "--job", tmp_path / "no.toml"), 78, "no.toml", "cannot be read")

    def test_a_run_date_that_is_required(self, scoreline: Command, iris_file: Path, iris: Example) -> None:
        words = [
            "score",
            "--bundle",
            iris.bundle,
            "--input",
            iris_file,
            "--output",
            str(iris_file.parent / "{run_date}"),
        ]
        closed(scoreline(*words), 2, "--run-date")

    def test_a_run_date_in_every_path(
        self, scoreline: Command, iris_file: Path, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the bundle, the input, the output and the trace, in a job file as well; the metrics file refuses it."""
        day = "2026-11-24"
        (tmp_path / f"bundle-{day}").symlink_to(Path(iris.bundle).resolve())
        iris_file.rename(tmp_path / f"in-{day}.parquet")
        names = {"bundle": "../bundle-{run_date}", "input": "../in-{run_date}.parquet", "output": "../out-{run_date}",
                 "trace": "../trace-{run_date}.json"}  # fmt: skip
        text = "".join(f'{name} = "{value}"\n' for name, value in names.items())
        job = self.job(tmp_path, text)
        assert scoreline("score", "--job", job, "--run-date", day).code == 0
        assert (tmp_path / f"out-{day}" / "_SUCCESS").exists()
        assert (tmp_path / f"trace-{day}.json").exists()
        assert f"bundle-{day}" in scoreline("check", "--job", job, "--run-date", day).out
        closed(scoreline("check", "--job", job), 2, "--bundle", "--run-date")
        monkeypatch.chdir(tmp_path)
        result = scoreline("score", "--job", job, "--run-date", day, "--metrics", "{run_date}.prom")
        assert result.code == 2
        assert "give it the same name every day" in result.err
        job = self.job(tmp_path, text + 'metrics = "{run_date}.prom"\n')
        closed(scoreline("score", "--job", job, "--run-date", day), 78, "metrics", "same name")
        assert not list(tmp_path.rglob("*.prom"))

    def test_a_relative_run_date(self, score: Command, iris_file: Path, tmp_path: Path, iris: Example) -> None:
        """Two days ago, in a time zone, from the command line and from a job file."""
        days = {datetime.now(UTC).date() - timedelta(days=2)}
        assert score(iris_file, "--constant", "day={run_date}", "--run-date", "-2", "--time-zone", "UTC").code == 0
        days.add(datetime.now(UTC).date() - timedelta(days=2))
        found = set(pq.read_table(tmp_path / "out" / "in.parquet").column("day").to_pylist())
        assert found <= {day.isoformat() for day in days}
        job = self.job(tmp_path, 'run_date = "yesterday"\ntime_zone = "Mars/Olympus"\n')
        closed(score(iris_file, "--job", job), 78, "time_zone: 'Mars/Olympus' is not a time zone")

    @pytest.mark.parametrize(
        "words",
        [("--batch-size", "0"), ("--batch-size", "many"), ("--max-rejects", "101%"), ("--max-rejects", "-1"),
         ("--keys", "a,,b"), ("--format", "xml"), ("--run-date", "24.11.2026"), ("--nonsense",)],
    )  # fmt: skip
    def test_invalid_options_are_usage_errors(self, score: Command, iris_file: Path, words: tuple[str, ...]) -> None:
        result = score(iris_file, *words)
        assert result.code == 2
        assert "Usage:" in result.err

    def test_text_on_request(self, score: Command, iris_file: Path, tmp_path: Path) -> None:
        """Lines for people, and the stage table at the end."""
        result = score(iris_file, "--log-format", "text")
        assert result.code == 0
        assert "the output is complete: 150 rows scored" in result.err
        assert not result.events
        lines = result.out.splitlines()
        assert [line.split()[0] for line in lines[2:14]] == [
            "start-up", "discover", "read", "check", "profile", "scale", "transfer", "forward", "decode",
            "profile_outputs", "write", "publish",
        ]  # fmt: skip
        assert "150 rows scored" in lines[-2]
        assert "waited for" in lines[-2]
        out = tmp_path / "out"
        assert lines[-1] == f"the predictions are in {out}, the report is {out}/_scoreline/report.html"
        assert "1 input in" in result.err
        assert score(iris_file, "--log-format", "text").out.splitlines()[-1] == lines[-1]

    def test_the_last_line_of_a_run_with_rejects(self, score: Command, four_files: Path, tmp_path: Path) -> None:
        """It has the command that shows them."""
        result = score(four_files, "--log-format", "text", "--max-rejects", "2")
        line = result.out.splitlines()[-1]
        out = tmp_path / "out"
        report = f"{out}/_scoreline/report.html"
        assert line == (
            f"the predictions are in {out}, the report is {report}; 2 rejected rows: scoreline rejects {out}"
        )

    @pytest.mark.parametrize("words", ["--help", "--version"])
    def test_streams_that_are_closed(self, words: str) -> None:
        """No stdout, no stderr: no traceback."""
        code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        done = subprocess.run([sys.executable, "-c", code, "-m", "scoreline", words], cwd="/", check=False)
        assert done.returncode == 0

    def test_a_reader_that_leaves_early(self, process: Command, iris_file: Path, tmp_path: Path, iris: Example) -> None:
        """P23: stdout is closed; the output is correct, without a traceback."""
        words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--input", str(iris_file)]
        words += ["--output", str(tmp_path / "out"), "--log-format", "text"]
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd="/")
        os.close(write)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
        assert visible(tmp_path / "out") == ["_SUCCESS", "in.parquet"]

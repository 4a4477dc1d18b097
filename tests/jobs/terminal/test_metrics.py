"""The metrics file is written at every end of the command: success, failure before and after a run began, usage errors
and signals."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scoreline.jobs.terminal.metrics import MetricsFile

from conftest import Example, Result

Command = Callable[..., Result]


def values(path: Path) -> dict[str, float]:
    """The values without labels other than the job's name, which is that of the file."""
    samples = [one for family in text_string_to_metric_families(path.read_text()) for one in family.samples]
    assert {one.labels["job_name"] for one in samples} == {path.stem}
    return {one.name.removeprefix("scoreline_"): one.value for one in samples if len(one.labels) == 1}


def test_every_end(scoreline: Command, iris: Example, iris_file: Path, tmp_path: Path) -> None:
    """The exit code of the command; the last success is kept."""
    file = tmp_path / "nightly.prom"
    words = ["score", "--bundle", iris.bundle, "--input", iris_file, "--output", tmp_path / "out", "--metrics", file]
    missing = [word if word != iris_file else tmp_path / "nowhere" for word in words]

    assert scoreline(*words[:3], f"--metrics={file}").code == 2  # no input
    assert values(file)["last_exit_code"] == 2
    assert "last_success_timestamp_seconds" not in values(file)
    assert scoreline(*words).code == 0
    success = values(file)["last_success_timestamp_seconds"]
    assert values(file)["last_exit_code"] == 0
    assert values(file)["last_run_timestamp_seconds"] == success
    assert 'outcome="scored"} 150' in file.read_text()
    assert scoreline(*missing).code == 66
    assert values(file)["last_exit_code"] == 66
    assert values(file)["last_success_timestamp_seconds"] == success
    again = scoreline(*words)
    assert again.event("nothing_to_do")
    assert values(file)["last_success_timestamp_seconds"] > success
    assert 'outcome="scored"} 150' in file.read_text()
    assert "bundle_info" in file.read_text()
    assert scoreline(*words, "--nonsense").code == 2
    assert values(file)["last_exit_code"] == 2
    assert [one.name for one in tmp_path.glob(".*")] == []


def test_a_run_that_fails(scoreline: Command, iris: Example, four_files: Path, tmp_path: Path) -> None:
    """Has the rows of the splits that it published."""
    words = ["score", "--bundle", iris.bundle, "--input", four_files, "--output", tmp_path / "out"]
    assert scoreline(*words, "--metrics", tmp_path / "m.prom").code == 65
    assert values(tmp_path / "m.prom")["last_exit_code"] == 65
    assert 'outcome="rejected"' in (tmp_path / "m.prom").read_text()


def test_where_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Command) -> None:
    """By the flag, the environment or the job file, which may be broken otherwise; of scoreline score only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.toml").write_text('metrics = "job.prom"\nnonsense = 1\n')
    (tmp_path / "broken.toml").write_text('metrics = "x.prom"\n[')
    assert scoreline("score", "--job", "jobs/job.toml").code == 78
    assert values(tmp_path / "jobs" / "job.prom")["last_exit_code"] == 78
    assert scoreline("score", "--job", "broken.toml").code == 78
    assert not (tmp_path / "x.prom").exists()
    monkeypatch.setenv("SCORELINE_METRICS", "env.prom")
    assert scoreline("score").code == 2
    assert values(tmp_path / "env.prom")["last_exit_code"] == 2
    assert scoreline("score", "--metrics", "flag.prom").code == 2
    assert values(tmp_path / "flag.prom")["last_exit_code"] == 2
    for args in (["verify", "--metrics", "no.prom"], ["score", "--help", "--metrics", "no.prom"], ["--help"], []):
        assert MetricsFile.requested(args) is None


def test_a_file_that_cannot_be_written(scoreline: Command, iris: Example, iris_file: Path, tmp_path: Path) -> None:
    """The run is complete, and the command ends with 74; a failure keeps its own exit code."""
    words = ["score", "--bundle", iris.bundle, "--input", iris_file, "--output", tmp_path / "out"]
    (tmp_path / "file").touch()
    result = scoreline(*words, "--metrics", tmp_path / "file" / "m.prom")
    assert result.code == 74
    assert "the metrics file" in result.message
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert scoreline("score", "--metrics", tmp_path / "file" / "m.prom").code == 2


def test_its_folder_is_created(scoreline: Command, iris: Example, iris_file: Path, tmp_path: Path) -> None:
    """As that of the output: a nightly job must not fail over it when all is scored."""
    words = ["score", "--bundle", iris.bundle, "--input", iris_file, "--output", tmp_path / "out"]
    assert scoreline(*words, "--metrics", tmp_path / "new" / "folder" / "m.prom").code == 0
    assert "scoreline_last_run_timestamp_seconds" in (tmp_path / "new" / "folder" / "m.prom").read_text()


@pytest.mark.parametrize("times", [1, 2])
def test_signals(tmp_path: Path, times: int) -> None:
    """The first raises an exception, the second ends the process at once."""
    code = (
        "import os, sys, signal, time\n"
        "from scoreline.jobs import cli\n"
        "from scoreline.jobs.terminal.process import tune\n"
        "def work(**words):\n"
        "    for _ in range(int(sys.argv[1])):\n"
        "        try:\n"
        "            print('ready', flush=True); time.sleep(20)\n"
        "        except BaseException as error: last = error\n"
        "    raise last\n"
        "tune(); cli.cli.main = work\n"
        "sys.exit(cli.run(['score', '--metrics', sys.argv[2]]))\n"
    )
    file = tmp_path / "m.prom"
    words = [sys.executable, "-c", code, str(times), str(file)]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for _ in range(times):
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
    running.communicate(timeout=20)
    assert running.returncode == 143
    assert values(file)["last_exit_code"] == 143

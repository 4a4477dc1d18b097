"""Which engine scores a run: processes where there are many small files, threads otherwise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scoreline.pipeline.cores import Cores
from scoreline.pipeline.engines import auto
from scoreline.pipeline.engines.auto import FEWEST_FILES, MODEL_BYTES, SMALL_FILE_BYTES, suit_processes
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.records import Partition
from scoreline.pipeline.running import run

from conftest import Example, Result
from outcomes import parts

Command = Callable[..., Result]
JOB = ScoreJob(bundle="b", input="in", output="out", run_id="one")


def files(number: int, size: int = 1000, path: str = "/in") -> list[Partition]:
    """Inputs of a size."""
    return [
        Partition(path=f"{path}/{index}", name=str(index), format="parquet", size=size, mtime_ns=1)
        for index in range(number)
    ]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one."""
    monkeypatch.setattr(auto, "_GPU_FILES", ("/does/not/exist",))


def test_many_small_files_suit_processes() -> None:
    """Whether the device is a CPU because of the option or because there is no other."""
    assert suit_processes(JOB, files(FEWEST_FILES), 1000)
    assert suit_processes(replace(JOB, device="cpu"), files(FEWEST_FILES), 1000)


@pytest.mark.parametrize(
    ("job", "inputs", "model_bytes"),
    [
        (JOB, files(FEWEST_FILES - 1), 1000),
        (JOB, files(FEWEST_FILES, SMALL_FILE_BYTES + 1), 1000),
        (JOB, files(FEWEST_FILES, path="s3://bucket"), 1000),
        (replace(JOB, output="s3://bucket/out"), files(FEWEST_FILES), 1000),
        (JOB, files(FEWEST_FILES), MODEL_BYTES + 1),
        (replace(JOB, device="cuda"), files(FEWEST_FILES), 1000),
        (replace(JOB, compile=True), files(FEWEST_FILES), 1000),
        (replace(JOB, memory_bytes=10**9), files(FEWEST_FILES), 1000),
    ],
)
def test_what_does_not(job: ScoreJob, inputs: list[Partition], model_bytes: int) -> None:
    """Few or large files, those that are waited for, large models, a GPU, a compiler, a limit for the memory."""
    assert not suit_processes(job, inputs, model_bytes)


def test_a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Uses it from one process, unless the device is a CPU."""
    monkeypatch.setattr(auto, "_GPU_FILES", (str(tmp_path),))
    assert not suit_processes(JOB, files(FEWEST_FILES), 1000)
    assert suit_processes(replace(JOB, device="cpu"), files(FEWEST_FILES), 1000)


@pytest.fixture
def job(iris: Example, tmp_path: Path) -> list[object]:
    """Twelve small files."""
    (tmp_path / "data").mkdir()
    for number in range(12):
        iris.frame.iloc[number : number + 9].to_parquet(tmp_path / "data" / f"{number}.parquet", index=False)
    return ["score", "--bundle", iris.bundle, "--input", tmp_path / "data"]


def test_the_default(scoreline: Command, job: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads for a few files; processes from a number on, also where only that many are left, with the same bytes. A
    trace records threads."""
    few = scoreline(*job, "--output", tmp_path / "few")
    assert (few.code, "workers_started" in few.err) == (0, False)
    monkeypatch.setattr(auto, "FEWEST_FILES", 10)
    many = scoreline(*job, "--output", tmp_path / "many")
    assert (many.code, many.event("workers_started")["workers"]) == (0, 2)
    assert parts(tmp_path / "many") == parts(tmp_path / "few")
    for number in range(10):
        (tmp_path / "many" / f"{number}.parquet").unlink()
    assert "workers_started" in scoreline(*job, "--output", tmp_path / "many").err
    (tmp_path / "many" / "3.parquet").unlink()
    assert "workers_started" not in scoreline(*job, "--output", tmp_path / "many").err
    traced = scoreline(*job, "--output", tmp_path / "traced", "--trace", tmp_path / "trace.json")
    assert (traced.code, "workers_started" in traced.err) == (0, False)
    assert parts(tmp_path / "many") == parts(tmp_path / "few") == parts(tmp_path / "traced")


def test_one_core(scoreline: Command, job: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has nothing to gain from processes."""
    monkeypatch.setattr(auto, "FEWEST_FILES", 1)
    monkeypatch.setattr(run, "available_cores", lambda: Cores(count=1, limited_by="the test"))
    result = scoreline(*job, "--output", tmp_path / "out")
    assert (result.code, "workers_started" in result.err) == (0, False)

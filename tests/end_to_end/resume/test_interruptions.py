"""Whatever happens during a run, the final output equals that of an undisturbed run."""

import fcntl
import json
import os
import random
import shutil
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
from outcomes import parts

Command = Callable[..., Result]


def test_one_run_at_a_time(score: Command, tmp_path: Path, iris: Example, data: Path) -> None:
    """P9, P10: a second run exits with 75 at once and names the holder; a lock file without a holder has no effect."""
    assert score().code == 0
    lock = tmp_path / "out" / "_scoreline" / "lock"
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate()
        file.write(json.dumps({"pid": 4711, "host": "elsewhere", "run_id": "nightly"}))
        file.flush()
        result = score()
        assert result.code == 75
        assert "process 4711 on elsewhere, run nightly" in result.message
    assert score().code == 0


def test_an_input_that_changes_while_it_is_read_is_not_published(
    score: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16: it fails alone; the next run reads its new content."""
    from scoreline.pipeline.inputs.parquet import Parquet

    real = Parquet.read_rows

    def touching(self, partition, schema, **options):  # type: ignore[no-untyped-def]
        yield from real(self, partition, schema, **options)
        if partition.name == "2.parquet":
            os.utime(partition.path)

    with monkeypatch.context() as patched:
        patched.setattr(Parquet, "read_rows", touching)
        result = score()
    assert result.code == 65
    assert "2.parquet: changed while it was read" in result.message
    assert sorted(parts(tmp_path / "out")) == [
        "0.parquet", "1.parquet", "3.parquet", "_rejects/1.arrow", "_rejects/3.arrow",
    ]  # fmt: skip
    assert score().code == 0


@pytest.mark.parametrize("second", [(), ("--force",), ("--prefix", "p_"), ("--split-rows", "400"), "another input"])
def test_an_input_that_was_replaced_while_it_was_read_is_read_anew(
    scoreline: Command, iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: tuple[str, ...] | str
) -> None:
    """By a file of the same size and time, as `cp -p` makes it: its fingerprint is the same. Whatever the next run is,
    and also where it does not end."""
    from scoreline.pipeline.errors import StorageError
    from scoreline.pipeline.running.writer import Writer

    data, other, real, finished = tmp_path / "in", tmp_path / "other.parquet", Writer._finish_split, []
    data.mkdir()
    for path, frame in ((data / "a.parquet", iris.frame), (other, iris.frame[::-1])):
        table = pa.Table.from_pandas(pd.concat([frame] * 20), preserve_index=False)
        pq.write_table(table, path, use_dictionary=False, compression="none")
    was = (data / "a.parquet").stat()
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert other.stat().st_size == was.st_size
    base = ["score", "--bundle", iris.bundle, "--output", tmp_path / "out", "--input"]
    words = [*base, data, "--split-rows", "500"]

    def replacing(self: Writer, *args: Any) -> None:
        real(self, *args)
        finished.append(1)
        if len(finished) == 2:
            other.rename(data / "a.parquet")

    def failing(self: Writer, *args: Any) -> None:
        raise StorageError("no more room")

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_finish_split", replacing)
        result = scoreline(*words)
    assert (result.code, "changed while it was read" in result.message) == (65, True)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2
    if second == "another input":
        iris.frame.to_parquet(data / "b.parquet", index=False)
        assert scoreline(*base, data / "b.parquet").code == 0
    else:
        with monkeypatch.context() as patched:
            patched.setattr(Writer, "_finish_split", failing)
            result = scoreline(*words, *second)
        assert result.code == 74
        if not second:
            assert result.event("run_started")["to_score"] == {"input changed while it was read": 6}
    assert not list((tmp_path / "out").glob("a*.parquet"))
    assert scoreline(*words).code == 0
    truth = iris.frame["truth"].tolist()[::-1] * 20
    made = sorted((tmp_path / "out").glob("a*.parquet"))
    assert [value for part in made for value in pq.read_table(part)["truth"].to_pylist()] == truth


@pytest.mark.parametrize("times", [2, pytest.param(4, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_ends_up_the_same(tmp_path: Path, iris: Example, times: int) -> None:
    """P1, P26, short form: SIGKILL at random moments, restarted each time; every byte equals that of an uninterrupted
    run."""
    many = pd.concat([iris.frame] * 400, ignore_index=True)
    many.loc[::9973, iris.features[1]] = np.nan
    (tmp_path / "data").mkdir()
    for n in range(6):
        many.to_parquet(tmp_path / "data" / f"{n}.parquet", index=False)
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--batch-size", "2000"]
    words += ["--input", str(tmp_path / "data"), "--max-rejects", "1%"]
    start_s = time.monotonic()
    subprocess.run([*words, "--output", str(tmp_path / "whole")], check=True, capture_output=True, cwd="/")
    length_s = time.monotonic() - start_s
    draw, kills = random.Random(4), 0
    while kills < times:
        running = subprocess.Popen([*words, "--output", str(tmp_path / "out")], stderr=subprocess.DEVNULL, cwd="/")
        try:
            running.wait(timeout=draw.uniform(0.5, 0.95) * length_s)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            kills += 1
            continue
        assert running.returncode == 0
        break
    else:
        subprocess.run([*words, "--output", str(tmp_path / "out")], check=True, capture_output=True, cwd="/")
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob(".*.tmp"))


@pytest.mark.parametrize("what", ["part", "output"])
def test_an_output_that_is_removed_during_a_run(
    score: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The run fails, and the next run finishes it."""
    from scoreline.pipeline.running import publisher

    real, published = publisher.Publisher._publish, []

    def and_remove(self: publisher.Publisher, finished: publisher.Finished) -> None:
        real(self, finished)
        published.append(finished.planned.partition.name)
        if len(published) == 3:
            (tmp_path / "out" / published[0]).unlink() if what == "part" else shutil.move(
                tmp_path / "out", tmp_path / "x"
            )

    monkeypatch.setattr(publisher.Publisher, "_publish", and_remove)
    result = score()
    assert result.code in (73, 74)
    assert "_SUCCESS" not in parts(tmp_path / "out")
    monkeypatch.undo()
    assert score().code == 0
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 4


def test_a_killed_lock_holder_frees_the_output(tmp_path: Path, iris: Example, data: Path) -> None:
    """P10: the next run takes over at once."""
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--input", str(data)]
    words += ["--output", str(tmp_path / "out"), "--max-rejects", "9"]
    first = subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd="/")
    deadline = time.monotonic() + 20
    while not (tmp_path / "out" / "_scoreline" / "lock").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.kill()
    first.wait()
    assert subprocess.run(words, capture_output=True, cwd="/", check=False).returncode == 0

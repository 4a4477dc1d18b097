"""The same command again: what stands is kept, what differs is made anew, and whatever happens in between, the output
ends up byte for byte what an uninterrupted run makes."""

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

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from scoreline import save_bundle

Command = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """Four files, two of them with a reject."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(4):
        frame = iris.frame.assign(row_id=iris.frame["row_id"] + n)
        if n % 2:
            frame.loc[17, iris.features[0]] = np.nan
        frame.to_parquet(folder / f"{n}.parquet", index=False)
    return folder


@pytest.fixture
def score(scoreline: Command, iris: Example, data: Path, tmp_path: Path) -> Command:
    def call(*words: object) -> Result:
        return scoreline(
            "score",
            "--bundle",
            iris.bundle,
            "--input",
            data,
            "--output",
            tmp_path / "out",
            "--max-rejects",
            "9",
            *words,
        )

    return call


def parts(out: Path) -> dict[str, bytes]:
    """Every byte that a reader, or a later run, could see; not the accounts of a particular run."""
    files = [file for file in out.rglob("*") if file.is_file() and "_scoreline" not in file.parts]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def mtimes(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")}


def test_again_does_nothing_and_needs_no_torch(process: Command, iris: Example, data: Path, tmp_path: Path) -> None:
    """P15: mtimes unchanged, `_SUCCESS` stays, no input is opened, torch is not imported."""
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "9"]
    assert process(*words).code == 0
    before, success = mtimes(tmp_path / "out"), (tmp_path / "out" / "_SUCCESS").stat().st_mtime_ns
    code = (
        "import sys; from scoreline.jobs.cli import run; opened = []\n"
        "def hook(event, args):\n"
        f"    if event == 'open' and str(args[0]).startswith({str(data)!r}): opened.append(args[0])\n"
        "sys.addaudithook(hook); code = run(sys.argv[1:])\n"
        "assert not opened, opened; assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "nothing_to_do" in done.stderr
    assert mtimes(tmp_path / "out") == before
    assert (tmp_path / "out" / "_SUCCESS").stat().st_mtime_ns == success


def test_only_what_is_missing_or_differs_is_made_anew(
    score: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """P12, P14, P25: each reason by its name, everything else kept."""
    out = tmp_path / "out"
    assert score().code == 0
    whole = parts(out)

    def again(reason: str, count: int = 1, *words: object) -> None:
        result = score(*words)
        assert result.code == 0, result.err
        start = result.event("run_started")
        assert start["to_score"] == {reason: count}
        assert start["kept"] == 4 - count

    (out / "1.parquet").unlink()
    again("missing")
    (out / "2.parquet").write_bytes(whole["2.parquet"][:-9])
    again("torn")
    (out / "_rejects" / "3.arrow").unlink()
    again("rejects missing or changed")
    assert parts(out) == whole
    changed = pd.read_parquet(data / "0.parquet").iloc[::-1]
    changed.to_parquet(data / "0.parquet", index=False)
    again("input changed")
    assert pq.read_table(out / "0.parquet")["row_id"].to_pylist() == changed["row_id"].tolist()
    again("option prefix changed", 4, "--prefix", "p_")
    again("forced", 4, "--prefix", "p_", "--force")
    run = json.loads((out / "_scoreline" / "run.json").read_text())
    assert (run["rows_in"], run["rows_scored"], run["rows_rejected"]) == (600, 598, 2)


def test_another_model_is_never_mixed_with_the_old(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """P14: every part is made anew, and `_SUCCESS` is away meanwhile."""
    assert score().code == 0
    save_bundle(
        tmp_path / "other", iris.model, features=iris.features, scaler=iris.scaler, task="multiclass",
        labels=["a", "b", "c"], sample=iris.frame,
    )  # fmt: skip
    words = ["score", "--bundle", tmp_path / "other", "--input", data, "--output", tmp_path / "out"]
    refused = scoreline(*words)
    assert refused.code == 65
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    result = scoreline(*words, "--max-rejects", "2")
    assert result.event("run_started")["kept"] == 1  # 0.parquet was published before the first reject ended the run
    assert result.event("run_started")["to_score"] == {"model changed": 3}
    labels = {v for n in range(4) for v in pq.read_table(tmp_path / "out" / f"{n}.parquet")["prediction"].to_pylist()}
    assert labels <= {"a", "b", "c"}


def test_rejects_that_stand_count(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """A smaller budget over kept parts is held as well."""
    assert score().code == 0
    (tmp_path / "out" / "0.parquet").unlink()
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "1"]
    result = scoreline(*words)
    assert result.code == 65
    assert "2 rows rejected, 1 allowed" in result.message


def test_nothing_to_do_is_held_to_the_budget_and_to_the_inputs(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """Everything stands, but more was rejected than this run allows, or an input is gone."""
    assert score().code == 0
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out"]
    result = scoreline(*words)
    assert result.code == 65
    assert "the first are in '_rejects/1.arrow'; 2 rows rejected, 0 allowed" in result.message
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert score().code == 0
    (data / "0.parquet").unlink()
    assert score().code == 0
    run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert run["orphaned_parts"] == ["0.parquet"]
    assert [part["source"] for part in run["partitions"]] == ["1.parquet", "2.parquet", "3.parquet"]


def test_a_share_is_of_all_rows_also_when_most_of_them_stand(
    scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """Two rejects in 600 rows are within 0.5%; that both stand in kept parts, and 150 rows remain, changes nothing."""
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "0.5%"]
    assert scoreline(*words).code == 0
    (tmp_path / "out" / "0.parquet").unlink()
    again = scoreline(*words)
    assert again.code == 0, again.err
    assert again.event("run_started")["kept"] == 3


def test_orphaned_parts_stay_are_listed_and_go_when_asked(score: Command, data: Path, tmp_path: Path) -> None:
    """Their input is gone; readers still see them."""
    assert score().code == 0
    (data / "3.parquet").unlink()
    result = score()
    assert result.event("orphaned_parts_found")["first"] == "3.parquet"
    assert (tmp_path / "out" / "3.parquet").exists()
    result = score("--prune")
    assert result.code == 0
    assert not (tmp_path / "out" / "3.parquet").exists()
    assert not (tmp_path / "out" / "_rejects" / "3.arrow").exists()
    assert (tmp_path / "out" / "2.parquet").exists()


def test_a_part_without_a_record_is_read_whole_before_it_is_believed(score: Command, tmp_path: Path) -> None:
    """A run that was killed has left no digests: a flipped bit in a page is found by its checksum."""
    out = tmp_path / "out"
    assert score().code == 0
    whole = parts(out)
    (out / "_scoreline" / "run.json").unlink()
    damaged = bytearray(whole["2.parquet"])
    damaged[len(damaged) // 3] ^= 4
    (out / "2.parquet").write_bytes(damaged)
    result = score()
    assert result.event("run_started")["to_score"] == {"damaged": 1}
    assert parts(out) == whole


def test_one_run_at_a_time(score: Command, tmp_path: Path, iris: Example, data: Path) -> None:
    """P9, P10: a second start exits 75 at once and names the holder; a lock without a holder means nothing."""
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
    """P16: it fails alone; the next run reads it as it is then."""
    from scoreline.pipeline.inputs import parquet

    real = parquet.read_batches

    def touching(partition, columns, **options):  # type: ignore[no-untyped-def]
        yield from real(partition, columns, **options)
        if partition.name == "2.parquet":
            os.utime(partition.path)

    with monkeypatch.context() as patched:
        patched.setattr(parquet, "read_batches", touching)
        result = score()
    assert result.code == 65
    assert "2.parquet: changed while it was read" in result.message
    assert sorted(parts(tmp_path / "out")) == [
        "0.parquet", "1.parquet", "3.parquet", "_rejects/1.arrow", "_rejects/3.arrow",
    ]  # fmt: skip
    assert score().code == 0


def test_killed_at_random_moments_it_ends_up_the_same(tmp_path: Path, iris: Example) -> None:
    """P1, P26 in short: SIGKILL at random moments, started again each time; every byte as of an uninterrupted run."""
    many = pd.concat([iris.frame] * 400, ignore_index=True)
    many.loc[::9973, iris.features[1]] = np.nan
    (tmp_path / "data").mkdir()
    for n in range(6):
        many.to_parquet(tmp_path / "data" / f"{n}.parquet", index=False)
    words = [sys.executable, "-m", "scoreline", "score", "--bundle", str(iris.bundle), "--batch-size", "2000"]
    words += ["--input", str(tmp_path / "data"), "--max-rejects", "1%"]
    subprocess.run([*words, "--output", str(tmp_path / "whole")], check=True, capture_output=True, cwd="/")
    draw, kills = random.Random(4), 0
    for _ in range(40):
        running = subprocess.Popen([*words, "--output", str(tmp_path / "out")], stderr=subprocess.DEVNULL, cwd="/")
        try:
            running.wait(timeout=draw.uniform(0.9, 2.2))
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


def test_what_a_run_without_work_says(score: Command, tmp_path: Path) -> None:
    """Nothing was scored, so nothing claims to have been; what is kept is called that."""
    assert score().code == 0
    result = score("--log-format", "text", "--log-level", "error")
    assert result.out.startswith("nothing to do: 600 rows of 4 inputs stand, as run ")
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert "0 rows scored, 2 rejected, 600 kept from earlier runs" in score("--log-format", "text").out


def test_a_copy_of_a_part_is_refused(score: Command, tmp_path: Path) -> None:
    """Under a name that no input has: readers would see its rows twice."""
    assert score().code == 0
    shutil.copy(tmp_path / "out" / "1.parquet", tmp_path / "out" / "mine.parquet")
    result = score()
    assert result.code == 73
    assert "mine.parquet is a copy of '1.parquet'" in result.message


def test_parts_of_other_inputs_are_neither_removed_nor_written_over(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """`s-00001.parquet` is an input of its own, and looks like a split of `s.parquet`."""
    for name in ("s", "s-00001"):
        shutil.copy(data / "0.parquet", data / f"{name}.parquet")
    assert score().code == 0
    (data / "s-00001.parquet").unlink()
    result = score()
    assert result.code == 0
    assert result.event("orphaned_parts_found")["first"] == "s-00001.parquet"
    assert (tmp_path / "out" / "s-00001.parquet").exists()
    other = tmp_path / "other"
    words = ["score", "--bundle", iris.bundle, "--output", tmp_path / "there", "--split-rows", "40"]
    assert scoreline(*words, "--input", data / "s.parquet").code == 0
    other.mkdir()
    shutil.copy(data / "0.parquet", other / "s-00001.parquet")
    result = scoreline(*words[:-2], "--input", other)
    assert result.code == 73
    assert "s-00001.parquet holds rows of 's.parquet', which is not among the inputs" in result.message


@pytest.mark.parametrize("what", ["part", "output"])
def test_an_output_that_goes_while_it_is_written(
    score: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is no success, and the next run finishes it."""
    from scoreline.pipeline.running import publisher

    real = publisher.Publisher.publish

    def and_remove(self: publisher.Publisher, end: publisher.SplitEnd) -> None:
        real(self, end)
        if end.planned.partition.name == "2.parquet":
            (tmp_path / "out" / "0.parquet").unlink() if what == "part" else shutil.move(
                tmp_path / "out", tmp_path / "x"
            )

    monkeypatch.setattr(publisher.Publisher, "publish", and_remove)
    result = score()
    assert result.code in (73, 74)
    assert "_SUCCESS" not in parts(tmp_path / "out")
    monkeypatch.undo()
    assert score().code == 0
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 4


class TestVerify:
    """Everything right, or the file that is not is named."""

    @pytest.mark.parametrize("harm", ["rejects", "run.json", "rows", "link"])
    def test_subtler_harm_is_named(self, score: Command, scoreline: Command, tmp_path: Path, harm: str) -> None:
        """What no digest of a part shows."""
        assert score().code == 0
        out = tmp_path / "out"
        manifest = out / "_scoreline" / "run.json"
        if harm == "rejects":
            shutil.copy(out / "_rejects" / "1.arrow", out / "_rejects" / "nobody.arrow")
            says = "_rejects/nobody.arrow: rejects that no part names"
        elif harm == "run.json":
            manifest.write_text(manifest.read_text().replace('"rows_scored": 149', '"rows_scored": 148', 1))
            says = "run.json"
        elif harm == "rows":
            said = pq.ParquetFile(out / "0.parquet").metadata.metadata
            pq.write_table(
                pq.read_table(out / "0.parquet").slice(0, 10).replace_schema_metadata(said), out / "0.parquet"
            )
            says = "0.parquet: is torn"
        else:
            (tmp_path / "elsewhere").mkdir()
            shutil.copy(out / "0.parquet", tmp_path / "elsewhere" / "copy.parquet")
            (out / "linked").symlink_to(tmp_path / "elsewhere")
            says = "linked/copy.parquet: is no part of the run"
        result = scoreline("verify", out)
        assert result.code == 65, result.out
        assert says in result.message
        if harm in ("rejects", "rows"):  # and the same command mends it
            assert score().code == 0
            assert scoreline("verify", out).code == 0

    def test_every_bad_part_is_named(self, score: Command, scoreline: Command, tmp_path: Path) -> None:
        """Also where an input has several; and nothing else is made of it."""
        assert score("--split-rows", "40").code == 0
        for name in ("0-00001.parquet", "0-00003.parquet", "2-00002.parquet"):
            part = tmp_path / "out" / name
            part.write_bytes(part.read_bytes()[:-9])
        found = json.loads(scoreline("verify", tmp_path / "out", "--json").out)
        assert [problem.partition(":")[0] for problem in found["problems"]] == [
            "0-00001.parquet", "0-00003.parquet", "2-00002.parquet",
        ]  # fmt: skip

    def test_an_unfinished_run(self, score: Command, scoreline: Command, tmp_path: Path) -> None:
        """Killed before it could tell of itself."""
        assert score().code == 0
        (tmp_path / "out" / "_scoreline" / "run.json").unlink()
        result = scoreline("verify", tmp_path / "out")
        assert result.code == 65
        assert "is an unfinished run" in result.message

    def test_a_whole_output(self, score: Command, scoreline: Command, tmp_path: Path) -> None:
        assert score().code == 0
        result = scoreline("verify", tmp_path / "out", "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert found["problems"] == []
        assert (found["parts"], found["rows_in"], found["rows_rejected"], found["keys_compared"]) == (4, 600, 2, 4)
        assert "rows scored" in scoreline("verify", tmp_path / "out").out

    @pytest.mark.parametrize(
        "harm", ["deleted", "truncated", "flipped", "swapped", "reject gone", "stranger", "no success"]
    )
    def test_harm_is_named(self, score: Command, scoreline: Command, tmp_path: Path, harm: str, data: Path) -> None:
        assert score().code == 0
        out = tmp_path / "out"
        part = out / "1.parquet"
        whole = part.read_bytes()
        named = "1.parquet"
        if harm == "deleted":
            part.unlink()
        elif harm == "truncated":
            part.write_bytes(whole[:-20])
        elif harm == "flipped":
            part.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        elif harm == "swapped":
            shutil.copy(out / "0.parquet", part)
        elif harm == "reject gone":
            (out / "_rejects" / "1.arrow").unlink()
            named = "_rejects/1.arrow"
        elif harm == "stranger":
            shutil.copy(data / "0.parquet", out / "theirs.parquet")
            named = "theirs.parquet"
        else:
            (out / "_SUCCESS").unlink()
            named = "not complete"
        result = scoreline("verify", out)
        assert result.code == 65
        assert named in result.message

    def test_keys_in_another_order_are_found(
        self, score: Command, scoreline: Command, data: Path, tmp_path: Path
    ) -> None:
        """The input rewritten behind its identity: same size and time, other rows."""
        assert score().code == 0
        stat = (data / "0.parquet").stat()
        table = pq.read_table(data / "0.parquet")
        pq.write_table(table.take(list(range(149, -1, -1))), data / "0.parquet")
        if (data / "0.parquet").stat().st_size != stat.st_size:
            with (data / "0.parquet").open("ab"):
                pass
        os.utime(data / "0.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if (data / "0.parquet").stat().st_size == stat.st_size:
            assert "0.parquet: its keys are not those" in scoreline("verify", tmp_path / "out").message
        else:
            assert json.loads(scoreline("verify", tmp_path / "out", "--json").out)["inputs_gone"] == 1

    def test_no_output(self, scoreline: Command, tmp_path: Path) -> None:
        assert scoreline("verify", tmp_path).code == 66


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

"""Several processes score one job, and `scoreline finish` completes it: the same bytes as one run."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import closed, parts

Command = Callable[..., Result]
COUNT = 3


@pytest.fixture
def words(iris: Example, data: Path) -> list[object]:
    """The job, without an output."""
    return ["--bundle", iris.bundle, "--input", data, "--max-rejects", "2", "--split-rows", "100"]


@pytest.fixture
def whole(scoreline: Command, words: list[object], tmp_path: Path) -> dict[str, bytes]:
    """The output of one run."""
    assert scoreline("score", *words, "--output", tmp_path / "whole").code == 0
    return parts(tmp_path / "whole")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output of the shards."""
    return tmp_path / "out"


@pytest.fixture
def shard(scoreline: Command, words: list[object], out: Path) -> Command:
    """Score one shard."""

    def call(number: int, *more: object, count: int = COUNT) -> Result:
        return scoreline("score", *words, "--output", out, "--shard", f"{number}/{count}", *more)

    return call


def test_the_same_bytes_as_one_run(
    scoreline: Command, shard: Command, whole: dict[str, bytes], out: Path, words: list[object]
) -> None:
    """In any order; then there is nothing left to do, for a run, a shard, or `finish`."""
    for number in (2, 3, 1):
        found = shard(number)
        assert found.code == 0, found.err
        assert not (out / "_SUCCESS").exists()
    done = scoreline("finish", out)
    assert done.code == 0, done.err
    assert parts(out) == whole
    assert scoreline("verify", out).code == 0
    run = json.loads((out / "_scoreline" / "run.json").read_text())
    assert (run["rows_in"], run["rows_rejected"], run["inputs"], run["device"]) == (1800, 2, 5, "cpu")
    assert [(one["shard"], one["rows_in"] > 0) for one in run["shards"]] == [(f"{n}/3", True) for n in (1, 2, 3)]
    assert sum(one["rows_in"] for one in run["shards"]) == 1800
    assert run["stages"]["forward"]["rows"] == 1798
    assert not (out / "_scoreline" / "shards").exists()
    assert "nothing_to_do" in scoreline("score", *words, "--output", out).err
    again = shard(2)
    assert ("nothing_to_do" in again.err, (out / "_SUCCESS").exists()) == (True, True)
    repeated = scoreline("finish", out, "--max-rejects", 2)
    assert (repeated.code, repeated.event("nothing_to_do")["rejected"]) == (0, 2)
    closed(scoreline("finish", out, "--max-rejects", 1), 66, "has no shards to finish")
    assert parts(out) == whole


def test_an_output_of_a_run_without_shards(scoreline: Command, shard: Command, out: Path, words: list[object]) -> None:
    """The shards have nothing to do, and neither has `finish`."""
    assert scoreline("score", *words, "--output", out).code == 0
    before = parts(out)
    assert all("nothing_to_do" in shard(number).err for number in (1, 2, 3))
    assert scoreline("finish", out).event("nothing_to_do")["partitions"] == 5
    assert parts(out) == before


def test_one_is_missing(scoreline: Command, shard: Command, whole: dict[str, bytes], out: Path) -> None:
    """Finish names it, and what it wrote before counts when it is scored again."""
    assert [shard(1).code, shard(3).code] == [0, 0]
    assert scoreline("report", out).code == 0
    assert "The shards of this output are not complete" in (out / "_scoreline" / "report.html").read_text()
    closed(scoreline("finish", out), 65, "1 shard of 3 not complete: 2/3 (has not begun); score it again")
    report = (out / "_scoreline" / "report.html").read_text()
    assert "The shards could not be completed (exit code 65)" in report
    assert "before it scored a row" not in report
    for command in ("verify", "rejects"):
        closed(scoreline(command, out), 65, "has shards, and no run of all of them is complete: run scoreline finish")
    assert not (out / "_SUCCESS").exists()
    assert shard(2).code == 0
    lost = next(name for name in parts(out) if name.endswith(".parquet"))
    (out / lost).unlink()
    closed(scoreline("finish", out), 65, "parts of 1 input are missing or out of date")
    codes = [shard(number).code for number in (1, 2, 3)]
    assert codes == [0, 0, 0]
    assert scoreline("finish", out).code == 0
    assert parts(out) == whole


def test_what_is_printed(scoreline: Command, shard: Command, out: Path) -> None:
    """What to do after a shard, and what all have done."""
    for number in (1, 2):
        found = shard(number, "--log-format", "text", count=2)
        assert f"shard {number}/2 is complete; when all others are, run: scoreline finish {out}\n" in found.out
    done = scoreline("finish", out, "--log-format", "text")
    assert "1,798 rows scored by 2 shards, 2 rejected; finished in" in done.out
    assert f"the predictions are in {out}, the report is {out}/_scoreline/report.html; 2 rejected rows" in done.out


def test_an_output_that_was_changed_after_it_was_finished(
    scoreline: Command, shard: Command, whole: dict[str, bytes], out: Path
) -> None:
    """Is not complete any more; one that was touched is."""
    for number in (1, 2, 3):
        assert shard(number).code == 0
    assert scoreline("finish", out).code == 0
    name = next(name for name in whole if name.endswith(".parquet"))
    (out / name).touch()
    assert "nothing_to_do" in scoreline("finish", out).err
    for damage in (lambda: (out / name).write_bytes(whole[name][:-1]), (out / name).unlink):
        damage()
        closed(scoreline("finish", out), 65, f"1 part of '{out}' changed or removed", name, "run scoreline verify")


def test_a_shard_has_nothing_to_do_twice(shard: Command, out: Path) -> None:
    """Its record stays as it is."""
    assert shard(1).code == 0
    before = {path.name: path.read_bytes() for path in (out / "_scoreline" / "shards").glob("00001*.json")}
    assert "nothing_to_do" in shard(1).err
    assert {path.name: path.read_bytes() for path in (out / "_scoreline" / "shards").glob("00001*.json")} == before


def test_a_late_file_changes_nothing(
    scoreline: Command, shard: Command, whole: dict[str, bytes], out: Path, data: Path, iris: Example
) -> None:
    """It is left for the next run, with a warning."""
    assert shard(1).code == 0
    iris.frame.to_parquet(data / "aa.parquet", index=False)
    assert [shard(2).code, shard(3).code] == [0, 0]
    done = scoreline("finish", out)
    assert (done.code, done.event("new_inputs_found")["first"]) == (0, "aa.parquet")
    assert parts(out) == whole


def test_an_input_that_has_changed(scoreline: Command, shard: Command, out: Path, data: Path, iris: Example) -> None:
    """Fails alone, in its shard."""
    assert shard(1, count=1).event("shard_started")["planned"] is True
    (out / "_scoreline" / "shards" / "00001-of-00001.json").unlink()
    iris.frame.head(20).to_parquet(data / "day=1" / "b.parquet", index=False)
    result = shard(1, count=1)
    closed(result, 65, "day=1/b.parquet: has changed or is missing since the work was divided", "1 of 5 inputs")
    assert "day=1/c-00001.parquet" in parts(out)
    advice = "remove _scoreline/shards when no shard is running", "score every shard again with --shard after that"
    closed(scoreline("finish", out), 65, *advice)


class TestRejects:
    """Their budget is that of all shards."""

    def test_a_share(self, scoreline: Command, words: list[object], out: Path) -> None:
        """Of a shard's rows may be larger than of all rows; more than allowed of all is refused at the end."""
        given = [*words, "--output", out, "--max-rejects", "0.12%"]
        for number in (1, 2, 3):
            assert scoreline("score", *given, "--shard", f"{number}/3").code == 0
        assert scoreline("finish", out).code == 0
        for number in (1, 2, 3):
            again = scoreline("score", *given, "--shard", f"{number}/3", "--force", "--max-rejects", "0.1%")
            assert again.code == 0, again.err
        closed(scoreline("finish", out), 65, "2 rows rejected, 0.1% of")
        assert not (out / "_SUCCESS").exists()
        assert scoreline("finish", out, "--max-rejects", "2").code == 0

    def test_a_number(self, scoreline: Command, words: list[object], out: Path) -> None:
        """Stops the shard that has more on its own."""
        given = [*words, "--output", out, "--max-rejects", "0"]
        codes = [scoreline("score", *given, "--shard", f"{number}/3").code for number in (1, 2, 3)]
        assert sorted(codes)[-1] == 65
        closed(scoreline("finish", out), 65, "row rejected, 0 allowed")


class TestLocks:
    """A shard excludes itself and whole runs, but not other shards."""

    @pytest.fixture
    def begun(self, shard: Command, out: Path) -> Path:
        """The folder of shards, of which one has been scored."""
        assert shard(1).code == 0
        return out / "_scoreline" / "shards"

    def test_of_a_shard(self, scoreline: Command, shard: Command, begun: Path, out: Path, words: list[object]) -> None:
        """While another process has it."""
        with (begun / "00001-of-00003.lock").open() as held, (out / "_scoreline" / "lock").open() as shared:
            fcntl.flock(held, fcntl.LOCK_EX)
            fcntl.flock(shared, fcntl.LOCK_SH)
            assert shard(1).code == 75
            assert shard(2).code == 0
            assert scoreline("score", *words, "--output", out).code == 75
            assert scoreline("finish", out).code == 75

    def test_of_a_run(self, shard: Command, begun: Path) -> None:
        """No shard starts meanwhile."""
        with (begun.parent / "lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert shard(2).code == 75


def test_a_whole_run_takes_over(
    scoreline: Command, shard: Command, whole: dict[str, bytes], out: Path, words: list[object]
) -> None:
    """It keeps what shards have scored, and removes their plan."""
    assert shard(1).code == 0
    rest = scoreline("score", *words, "--output", out)
    assert (rest.code, rest.event("run_started")["kept"] > 0) == (0, True)
    assert parts(out) == whole
    assert not (out / "_scoreline" / "shards").exists()


@pytest.mark.parametrize(
    ("more", "what"),
    [(["--prefix", "p_"], "columns"), (["--split-rows", "50"], "split_rows"), (["--shard", "1/4"], "number of shards")],
)
def test_another_job(shard: Command, more: list[object], what: str) -> None:
    """Than the one whose work was divided."""
    assert shard(1).code == 0
    closed(shard(2, *more), 73, f"were planned with another {what}; complete them with scoreline finish")


def test_another_split_size_leaves_no_duplicate_rows(
    scoreline: Command, shard: Command, out: Path, words: list[object], whole: dict[str, bytes]
) -> None:
    """Parts of an earlier run that no shard replaces are removed by `finish`."""
    assert scoreline("score", *words, "--output", out, "--split-rows", "70").code == 0
    for number in (1, 2, 3):
        assert shard(number).code == 0
    assert scoreline("finish", out).code == 0
    assert parts(out) == whole


def test_temporaries_of_a_killed_shard(scoreline: Command, shard: Command, out: Path) -> None:
    """Stay while others may be at work, and are removed at the end."""
    assert shard(1).code == 0
    left = out / (".scoreline-" + "0" * 16 + "-" + "1" * 16 + ".tmp")
    left.write_bytes(b"half")
    assert [shard(2).code, shard(3).code, left.exists()] == [0, 0, True]
    assert scoreline("finish", out).code == 0
    assert not left.exists()


def test_more_shards_than_work(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Some have nothing to do."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    given = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    for number in range(1, 5):
        assert scoreline("score", *given, "--shard", f"{number}/4").code == 0
    assert scoreline("finish", tmp_path / "out").code == 0
    assert pq.ParquetFile(tmp_path / "out" / "in.parquet").metadata.num_rows == 150


def test_the_scheduler_says_which(
    scoreline: Command, words: list[object], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By variables, as in an array job."""
    for number in range(2):
        monkeypatch.setitem(os.environ, "CLOUD_RUN_TASK_INDEX", str(number))
        monkeypatch.setitem(os.environ, "CLOUD_RUN_TASK_COUNT", "2")
        found = scoreline("score", *words, "--output", out, "--shard", "auto")
        assert found.event("shard_started")["shard"] == f"{number + 1}/2"
    assert scoreline("finish", out).code == 0


def test_what_finish_says_of_a_folder(scoreline: Command, tmp_path: Path) -> None:
    """That is not an output, or whose plan is damaged."""
    closed(scoreline("finish", tmp_path), 66, "has no shards to finish")
    assert not list(tmp_path.iterdir())
    (tmp_path / "_scoreline" / "shards").mkdir(parents=True)
    (tmp_path / "_scoreline" / "shards" / "plan.pq").write_bytes(b"x" * 99)
    closed(scoreline("finish", tmp_path), 65, "plan.pq cannot be read", "to divide the work again, remove")

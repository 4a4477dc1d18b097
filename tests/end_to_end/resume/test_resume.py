"""The same command again: what is complete is kept, what is out of date is rescored."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import parts, recorded
from scoreline import Multiclass, save_bundle

Command = Callable[..., Result]


def mtimes(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")}


def test_again_does_nothing_and_needs_no_torch(scoreline: Command, iris: Example, data: Path, tmp_path: Path) -> None:
    """P15: mtimes are unchanged, `_SUCCESS` stays, no input is opened, torch is not imported."""
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "9"]
    assert scoreline(*words).code == 0
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


def test_a_copied_output(score: Command, tmp_path: Path) -> None:
    """Is up to date, and stays as it is; so does one without its records, but for these."""
    assert score().code == 0
    out, original = tmp_path / "out", tmp_path / "original"
    out.rename(original)
    shutil.copytree(original, out)
    for _ in range(2):
        result = score()
        assert result.code == 0, result.err
        assert result.event("nothing_to_do")["partitions"] == 4
    for name in ("_SUCCESS", "_scoreline/run.json", "_scoreline/parts.pq", "1.parquet"):
        assert (out / name).stat().st_mtime_ns == (original / name).stat().st_mtime_ns
    shutil.rmtree(out / "_scoreline")
    result = score()
    assert result.code == 0, result.err
    assert result.event("run_started")["kept"] == 4
    assert parts(out) == parts(original)


@pytest.mark.parametrize("words", [(), ("--force",), ("--prefix", "p_")])
def test_a_damaged_part_is_not_forgotten(score: Command, data: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """P12: by a run that fails before it has scored it again, for whatever reason. Pages have checksums, the footer has
    none: the name of a column in it was changed."""
    out = tmp_path / "out"
    assert score().code == 0
    whole = parts(out)
    (out / "2.parquet").write_bytes(whole["2.parquet"].replace(b"prediction", b"predictiom"))
    broken = data / "0.parquet"
    rows = pd.read_parquet(data / "2.parquet")
    rows[rows.select_dtypes("float").columns] = float("nan")
    rows.to_parquet(broken)
    result = score("--batch-size", 16, *words)
    assert result.code == 65, result.err
    if "--prefix" not in words:
        assert not (out / "2.parquet").exists() or parts(out)["2.parquet"] == whole["2.parquet"]
    broken.unlink()
    assert score().code == 0
    assert parts(out) == whole


def test_only_what_is_missing_or_differs_is_rescored(score: Command, data: Path, tmp_path: Path, iris: Example) -> None:
    """P12, P14, P25: each reason has its name, and everything else is kept."""
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
    flipped = bytearray(whole["1.parquet"])
    flipped[len(flipped) // 3] ^= 4
    (out / "1.parquet").write_bytes(flipped)
    again("damaged")
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
    """P14: every part is rescored, and there is no `_SUCCESS` meanwhile."""
    assert score().code == 0
    save_bundle(
        tmp_path / "other",
        iris.model,
        features=iris.features,
        task=Multiclass(["a", "b", "c"]),
        scaler=iris.scaler,
        sample=iris.frame,
    )
    words = ["score", "--bundle", tmp_path / "other", "--input", data, "--output", tmp_path / "out"]
    refused = scoreline(*words)
    assert refused.code == 65
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    result = scoreline(*words, "--max-rejects", "2")
    kept = result.event("run_started")["kept"]
    assert kept <= 2  # those without rejects may have been published before the first reject ended the run
    assert result.event("run_started")["to_score"] == {"model changed": 4 - kept}
    labels = {v for n in range(4) for v in pq.read_table(tmp_path / "out" / f"{n}.parquet")["prediction"].to_pylist()}
    assert labels <= {"a", "b", "c"}


def test_rejects_of_kept_parts_count(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """A smaller budget is enforced over kept parts, too."""
    assert score().code == 0
    (tmp_path / "out" / "0.parquet").unlink()
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "1"]
    result = scoreline(*words)
    assert result.code == 65
    assert "2 rows rejected, 1 allowed" in result.message


def test_a_run_with_nothing_to_do_checks_the_budget_and_the_inputs(
    score: Command, scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """Every part is up to date, but more rows were rejected than this run allows, or an input is missing."""
    assert score().code == 0
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out"]
    result = scoreline(*words)
    assert result.code == 65
    assert "2 rows rejected, 0 allowed (the first are in '_rejects/1.arrow')" in result.message
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert score().code == 0
    (data / "0.parquet").unlink()
    assert score().code == 0
    run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert (run["orphaned_parts"], run["inputs"]) == (1, 3)
    rows = [(row["source"], row["target"]) for row in recorded(tmp_path / "out")]
    assert rows == [*((f"{n}.parquet", f"{n}.parquet") for n in (1, 2, 3)), (None, "0.parquet")]


def test_a_share_is_of_all_rows_also_when_most_are_kept(
    scoreline: Command, data: Path, tmp_path: Path, iris: Example
) -> None:
    """Two rejects in 600 rows are within 0.5%, also if both are in kept parts and only 150 rows remain to be scored."""
    words = ["score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--max-rejects", "0.5%"]
    assert scoreline(*words).code == 0
    (tmp_path / "out" / "0.parquet").unlink()
    again = scoreline(*words)
    assert again.code == 0, again.err
    assert again.event("run_started")["kept"] == 3


def test_orphaned_parts_stay_are_listed_and_can_be_pruned(score: Command, data: Path, tmp_path: Path) -> None:
    """Their input no longer exists; readers still see them."""
    assert score().code == 0
    (data / "3.parquet").unlink()
    result = score()
    assert result.event("orphaned_parts_found")["first"] == "3.parquet"
    assert (tmp_path / "out" / "3.parquet").exists()
    result = score("--prune")
    assert result.code == 0
    assert result.event("orphaned_parts_removed")["first"] == "3.parquet"
    assert not (tmp_path / "out" / "3.parquet").exists()
    assert not (tmp_path / "out" / "_rejects" / "3.arrow").exists()
    assert (tmp_path / "out" / "2.parquet").exists()


def test_a_part_without_a_record_is_read_whole_before_it_is_kept(score: Command, tmp_path: Path) -> None:
    """A killed run leaves no digests: a flipped bit in a page is found by its checksum."""
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


def test_the_message_of_a_run_with_nothing_to_do(score: Command, tmp_path: Path) -> None:
    """It says that nothing was scored, and what was kept."""
    assert score().code == 0
    result = score("--log-format", "text", "--log-level", "error")
    assert result.out.startswith("nothing to do: everything is up to date (600 rows of 4 inputs), scored by run ")
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert "0 rows scored, 600 kept from earlier runs, which rejected 2 in" in score("--log-format", "text").out


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
    assert "s-00001.parquet contains rows of 's.parquet', which is not among the inputs" in result.message

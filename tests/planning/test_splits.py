"""Files with several splits: one part each, resumed at the first missing one, and replaced without duplicate rows."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result
from outcomes import parts, recorded

Command = Callable[..., Result]


def in_both_formats(*numbers: Any) -> list[Any]:
    """The numbers with the name of a file: of CSV, the first two in the short tests. Both formats take the same path
    once their rows are read."""
    found = []
    for name in ("big.parquet", "big.csv"):
        for at, one in enumerate(numbers):
            rare = name == "big.csv" and at > 1
            values = one if isinstance(one, tuple) else (one,)
            found.append(pytest.param(name, *values, marks=[pytest.mark.long] if rare else []))
    return found


@pytest.fixture
def big(iris: Example) -> pd.DataFrame:
    """1,000 rows, three of them rejects."""
    frame = pd.concat([iris.frame] * 7, ignore_index=True).head(1000)
    frame["row_id"] = np.arange(1000)
    frame.loc[[5, 640, 999], iris.features[1]] = np.nan
    return frame


@pytest.fixture
def score(scoreline: Command, iris: Example, tmp_path: Path) -> Command:
    def call(*words: object, source: str = "data") -> Result:
        fixed = ["--bundle", iris.bundle, "--input", tmp_path / source, "--output", tmp_path / "out"]
        return scoreline("score", *fixed, "--max-rejects", "9", *words)

    return call


def write(frame: pd.DataFrame, path: Path, **options: object) -> Path:
    """Write a Parquet or CSV file, according to its suffix."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, **options)
    return path


def numbers(out: Path) -> list[int]:
    """The keys, in the order of the names of the parts."""
    return [int(n) for part in sorted(out.glob("*.parquet")) for n in pq.read_table(part)["row_id"].to_pylist()]


@pytest.mark.parametrize(
    ("name", "split_rows", "count"), in_both_formats((300, 4), (1000, 1), (250, 4), (999, 2), (1001, 1), (7, 143))
)
def test_one_part_per_split(
    score: Command, scoreline: Command, tmp_path: Path, big: pd.DataFrame, name: str, split_rows: int, count: int
) -> None:
    """Names, order, counts; the same rows as in one part; row numbers of rejects count from the start of the file."""
    write(big, tmp_path / "data" / name, **({"row_group_size": 130} if name.endswith("parquet") else {}))
    result = score("--split-rows", split_rows, "--batch-size", "64")
    assert result.code == 0, result.err
    whole = "big.parquet" if name == "big.parquet" else "big.csv.parquet"
    stem = whole.removesuffix(".parquet")
    names = [whole] if count == 1 else [f"{stem}-{n:05d}.parquet" for n in range(count)]
    out = tmp_path / "out"
    assert sorted(p.name for p in out.glob("*.parquet")) == names
    assert numbers(out) == [row for row in range(1000) if row not in (5, 640, 999)]
    records = recorded(out)
    assert [part["target"] for part in records] == names
    assert sum(part["rows_in"] for part in records) == 1000
    assert [part["last"] for part in records] == [False] * (count - 1) + [True]
    rejected = [
        row["reject"]["row_number"]
        for part in records
        if part["rows_rejected"]
        for row in pa.ipc.open_file(out / "_rejects" / f"{part['target'][:-8]}.arrow").read_all().to_pylist()
    ]
    assert rejected == [5, 640, 999]
    assert len([e for e in result.events if e["event"] == "split_published"]) == count
    verified = json.loads(scoreline("verify", out, "--json").out)
    assert (verified["problems"], verified["rows_in"], verified["keys_compared"]) == ([], 1000, 1)


@pytest.mark.parametrize(("name", "gone"), in_both_formats([0], [1, 2, 3], [1], [3], [0, 2], [0, 1, 2, 3]))
def test_only_missing_splits_are_scored(
    score: Command, tmp_path: Path, big: pd.DataFrame, name: str, gone: list[int]
) -> None:
    """Also from the middle of a row group; the other parts keep their inodes."""
    write(big, tmp_path / "data" / name)
    assert score("--split-rows", "300", "--batch-size", "64").code == 0
    out = tmp_path / "out"
    whole, names = parts(out), sorted(p.name for p in out.glob("*.parquet"))
    inodes = {part: (out / part).stat().st_ino for part in names}
    for n in gone:
        (out / names[n]).unlink()
    result = score("--split-rows", "300", "--batch-size", "64")
    assert result.code == 0, result.err
    start = result.event("run_started")
    assert start["kept"] == 4 - len(gone)
    assert set(start["to_score"]) == {"missing"}
    assert sorted(e["split"] for e in result.events if e["event"] == "split_published") == sorted(gone)
    assert parts(out) == whole
    for n, part in enumerate(names):
        if n not in gone:
            assert (out / part).stat().st_ino == inodes[part]


@pytest.mark.parametrize(
    ("name", "before", "after"), in_both_formats((300, 200), (400, 2000), (200, 300), (1000, 400), (300, 301))
)
def test_another_split_size_leaves_no_duplicate_row(
    score: Command, scoreline: Command, tmp_path: Path, big: pd.DataFrame, name: str, before: int, after: int
) -> None:
    """P25: old parts that no new part replaces by name are removed once the new parts exist."""
    write(big, tmp_path / "data" / name)
    assert score("--split-rows", before).code == 0
    result = score("--split-rows", after)
    assert result.code == 0, result.err
    assert set(result.event("run_started")["to_score"]) == {"option split_rows changed"}
    assert numbers(tmp_path / "out") == [row for row in range(1000) if row not in (5, 640, 999)]
    assert scoreline("verify", tmp_path / "out").code == 0
    fresh = scoreline(
        "score", "--bundle", json.loads((tmp_path / "out/_scoreline/run.json").read_text())["bundle"]["path"],
        "--input", tmp_path / "data", "--output", tmp_path / "fresh", "--max-rejects", "9", "--split-rows", after,
    )  # fmt: skip
    assert fresh.code == 0
    assert parts(tmp_path / "out") == parts(tmp_path / "fresh")
    assert "nothing_to_do" in score("--split-rows", after).err


@pytest.mark.parametrize(("name", "rows"), in_both_formats(301, 1300, 0, 100, 300, 900))
def test_an_input_that_grew_or_shrank(
    score: Command, scoreline: Command, tmp_path: Path, big: pd.DataFrame, name: str, rows: int
) -> None:
    """P25: parts of the old version of the file are removed."""
    file = write(big, tmp_path / "data" / name)
    assert score("--split-rows", "300").code == 0
    changed = pd.concat([big, big.head(300).assign(row_id=np.arange(1000, 1300))], ignore_index=True).head(rows)
    write(changed, file)
    result = score("--split-rows", "300")
    assert result.code == 0, result.err
    assert set(result.event("run_started")["to_score"]) == {"input changed"}
    rejected = {5, 640, 999, 1005}
    assert numbers(tmp_path / "out") == [row for row in range(rows) if row not in rejected]
    assert scoreline("verify", tmp_path / "out").code == 0


def test_the_next_run_removes_surplus_parts_of_a_killed_run(score: Command, tmp_path: Path, big: pd.DataFrame) -> None:
    """P26: all new parts exist, and an old one, because the run was killed before it could remove it."""
    write(big, tmp_path / "data" / "big.parquet")
    assert score("--split-rows", "300").code == 0
    whole = parts(tmp_path / "out")
    assert score("--split-rows", "500").code == 0
    wanted = parts(tmp_path / "out")
    (tmp_path / "out" / "big-00003.parquet").write_bytes(whole["big-00003.parquet"])
    assert score("--split-rows", "500").code == 0
    assert parts(tmp_path / "out") == wanted


def test_rejects_without_a_part_are_removed(
    score: Command, scoreline: Command, tmp_path: Path, big: pd.DataFrame
) -> None:
    """P26: the run was killed after it published a part without rejects, before it removed the old rejects."""
    file = write(big, tmp_path / "data" / "big.parquet")
    assert score().code == 0
    old = (tmp_path / "out" / "_rejects" / "big.arrow").read_bytes()
    write(big.fillna(1.0), file)
    assert score().code == 0
    assert not (tmp_path / "out" / "_rejects" / "big.arrow").exists()
    (tmp_path / "out" / "_rejects" / "big.arrow").write_bytes(old)
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert score().code == 0
    assert not (tmp_path / "out" / "_rejects" / "big.arrow").exists()
    assert scoreline("verify", tmp_path / "out").code == 0


def test_a_file_that_is_damaged_in_the_middle(
    score: Command, tmp_path: Path, big: pd.DataFrame, iris: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier splits are kept and only this input fails; once it is fixed, the rest is scored."""
    from scoreline.pipeline.parquet import sizes

    monkeypatch.setattr(sizes, "MOST_ROWS", 50)  # the unit of decoding, which fails as a whole
    file = write(
        big, tmp_path / "data" / "big.parquet", row_group_size=100, write_page_checksum=True, use_dictionary=False
    )
    whole = file.read_bytes()
    offset = pq.ParquetFile(file).metadata.row_group(9).column(2).data_page_offset + 200
    file.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    write(iris.frame, tmp_path / "data" / "other.parquet")
    result = score("--split-rows", "300", "--batch-size", "50")
    assert result.code == 65
    assert "big.parquet: cannot be read as Parquet" in result.message
    assert "1 of 2 inputs" in result.message
    out = tmp_path / "out"
    assert sorted(p.name for p in out.glob("*.parquet")) == [
        "big-00000.parquet", "big-00001.parquet", "big-00002.parquet", "other.parquet",
    ]  # fmt: skip
    assert not (out / "_SUCCESS").exists()
    assert score("--split-rows", "300", "--batch-size", "50").event("run_started")["kept"] == 4
    file.write_bytes(whole)
    assert score("--split-rows", "300", "--batch-size", "50").code == 0
    big_rows = [n for p in sorted(out.glob("big*.parquet")) for n in pq.read_table(p)["row_id"].to_pylist()]
    assert big_rows == [row for row in range(1000) if row not in (5, 640, 999)]


def test_inputs_whose_parts_have_the_same_name(score: Command, tmp_path: Path, big: pd.DataFrame) -> None:
    """Another input has the name of the second split of `big.parquet`; that of a file with one split is accepted."""
    write(big, tmp_path / "data" / "big.parquet")
    write(big, tmp_path / "data" / "big-00001.parquet")
    result = score("--split-rows", "600")
    assert result.code == 2
    assert "'big.parquet' and 'big-00001.parquet' would both be written to 'big-00001.parquet'" in result.message
    assert score("--split-rows", "2000").code == 0


def test_the_split_size_depends_on_the_bundle(score: Command, tmp_path: Path, big: pd.DataFrame) -> None:
    """It is in the log and the manifest; passing the same value rescores nothing."""
    write(big, tmp_path / "data" / "big.parquet")
    result = score()
    assert result.event("run_started")["split_rows"] == 1 << 18
    assert json.loads((tmp_path / "out/_scoreline/run.json").read_text())["options"]["split_rows"] == 1 << 18
    assert "nothing_to_do" in score("--split-rows", "5000").err  # one split either way


def test_parts_that_differ_in_the_last_bits_are_reported(score: Command, tmp_path: Path, big: pd.DataFrame) -> None:
    """They are kept, because the values are equal within rounding; the log names the difference."""
    write(big, tmp_path / "data" / "big.parquet")
    assert score("--split-rows", "300", "--batch-size", "64").code == 0
    (tmp_path / "out" / "big-00002.parquet").unlink()
    result = score("--split-rows", "300", "--batch-size", "32")
    mixed = result.event("kept_parts_differ")
    assert (mixed["kept_with"], mixed["now_with"]) == ({"batch_rows": "64"}, {"batch_rows": "32"})
    assert result.event("run_started")["kept"] == 3


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_any_number_of_threads_gives_the_same_bytes(
    score: Command, tmp_path: Path, big: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, cores: int, iris: Example
) -> None:
    """N9, within one process: parts do not depend on the number of flows."""
    from scoreline.pipeline.cores import Cores
    from scoreline.pipeline.running import run

    for n in range(3):
        write(big.assign(row_id=big["row_id"] + n), tmp_path / "data" / f"{n}.parquet")
    assert score("--split-rows", "300", "--batch-size", "17").code == 0
    wanted = parts(tmp_path / "out")
    monkeypatch.setattr(run, "available_cores", lambda: Cores(count=cores, limited_by="the test"))
    seen = []
    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (seen.append(self.name), real(self))[1])
    assert score("--split-rows", "300", "--batch-size", "17", "--force").code == 0
    assert len({name for name in seen if name.startswith("flow-")}) == cores
    assert parts(tmp_path / "out") == wanted


@pytest.mark.parametrize("words", [[], ["--dedupe"]], ids=["plain", "dedupe"])
@pytest.mark.parametrize("kind", ["row groups", "one row group", "csv"])
def test_flows_that_share_a_file(
    score: Command, tmp_path: Path, big: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, kind: str, words: list[str]
) -> None:
    """Its later splits are taken over at a row group; of other files, blocks are. The parts are the same."""
    from scoreline.pipeline.cores import Cores
    from scoreline.pipeline.running import run

    name = "big.csv" if kind == "csv" else "big.parquet"
    write(big, tmp_path / "data" / name, **({"row_group_size": 90} if kind == "row groups" else {}))
    found = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(run, "available_cores", lambda cores=cores: Cores(count=cores, limited_by="the test"))
        result = score("--split-rows", "70", "--batch-size", "17", "--force", *words)
        assert result.code == 0, result.err
        assert len([event for event in result.events if event["event"] == "split_published"]) == 15
        found.append(parts(tmp_path / "out"))
    assert found[0] == found[1] == found[2]
    assert numbers(tmp_path / "out") == [row for row in range(1000) if row not in (5, 640, 999)]


def test_a_new_file_during_the_run_is_left_for_the_next(
    score: Command, tmp_path: Path, big: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P17: the list of inputs is frozen when the run begins; later files are reported."""
    from scoreline.pipeline.inputs.parquet import Parquet

    write(big, tmp_path / "data" / "0.parquet")
    real = Parquet.read_rows

    def and_then(*words: Any, **options: Any) -> Any:
        write(big, tmp_path / "data" / "1.parquet")
        return real(*words, **options)

    monkeypatch.setattr(Parquet, "read_rows", and_then)
    result = score()
    assert result.code == 0
    assert (result.event("new_inputs_found")["count"], result.event("new_inputs_found")["first"]) == (1, "1.parquet")
    assert not (tmp_path / "out" / "1.parquet").exists()
    monkeypatch.undo()
    assert score().event("run_started")["kept"] == 1
    assert (tmp_path / "out" / "1.parquet").exists()

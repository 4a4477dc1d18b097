"""Names of files: an input with any valid name is either scored once or refused before anything is written."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.outputs.naming import numbered, part_name, whole_name

from conftest import Example, Result

Command = Callable[..., Result]


def ids(out: Path) -> Counter[str]:
    """How often a reader of the output sees each row."""
    seen = Counter[str]()
    for path in out.rglob("*.parquet"):
        if not any(part.startswith(("_", ".")) for part in path.relative_to(out).parts):
            with pq.ParquetFile(path) as file:
                seen.update(map(str, file.read(["row_id"])["row_id"].to_pylist()))
    return seen


STEMS = [
    "a\nb", "\n", "a-00001\n", "a-00001", "a-00000", "a-00000-00001", "-00001", "a.parquet", "a b ", "é", "e\u0301",
    "%2F..", "a\\b", "'\"", "*[?]", "\x1b[31m", "\u202e", "=", "x=1", "~", "a;b", "\x7f", "x" * 233,
]  # fmt: skip


def test_each_row_once_under_any_name(score: Command, scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """No row is duplicated or lost, with several splits, another split size, and `--prune`."""
    names = [f"{at}/{stem}{suffix}" for at, stem in enumerate(STEMS) for suffix in (".parquet", ".csv", ".pq")]
    frame = iris.frame.head(7)
    for at, name in enumerate(names):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        one = frame.assign(row_id=frame["row_id"] + at)
        one.to_csv(file, index=False) if name.endswith(".csv") else one.to_parquet(file, index=False)
    wanted = Counter(str(row + at) for row in frame["row_id"] for at in range(len(names)))
    for words in (("--split-rows", "3"), ("--split-rows", "5", "--prune"), ("--prune",), ("--split-rows", "3")):
        result = score(tmp_path / "in", *words)
        assert result.code == 0, result.message
        assert ids(tmp_path / "out") == wanted
    assert scoreline("verify", tmp_path / "out").code == 0
    assert "nothing_to_do" in score(tmp_path / "in", "--split-rows", "3").err


class TestLongNames:
    """The names of inputs and of parts may have 255 bytes."""

    @pytest.mark.parametrize("stem", ["x" * 247, "é" * 123 + "x"])
    def test_the_longest_name(self, score: Command, tmp_path: Path, iris: Example, stem: str) -> None:
        iris.frame.assign(truth=None).to_parquet(tmp_path / f"{stem}.parquet", index=False)
        assert score(tmp_path / f"{stem}.parquet").code == 0
        assert (tmp_path / "out" / f"{stem}.parquet").exists()
        assert not list((tmp_path / "out").rglob("*.tmp"))

    @pytest.mark.parametrize(
        ("stem", "suffix", "words"),
        [
            ("x" * 242, ".parquet", ("--split-rows", "40")),  # the names of several parts are longer than that of one
            ("x" * 244, ".csv", ()),
            ("x" * 245, ".pq", ()),
            ("x" * 242, ".csv", ("--split-rows", "40")),
            ("é" * 122, ".csv", ()),
            ("x" * 238, ".csv.gz", ()),  # its number of rows is unknown
        ],
    )
    def test_a_part_name_too_long_is_refused_before_scoring(
        self, score: Command, tmp_path: Path, iris: Example, stem: str, suffix: str, words: tuple[str, ...]
    ) -> None:
        file = tmp_path / "in" / f"{stem}{suffix}"
        file.parent.mkdir()
        write = iris.frame.to_csv if "csv" in suffix else iris.frame.to_parquet
        write(file, index=False)
        iris.frame.to_parquet(file.parent / "other.parquet", index=False)
        result = score(file.parent, *words)
        assert result.code == 2, result.message
        assert file.name in result.message
        assert "rename the input" in result.message
        assert not (tmp_path / "out").exists()

    def test_a_path_too_long(self, scoreline: Command, tmp_path: Path, iris: Example) -> None:
        """The names of its folders are short enough."""
        folder = tmp_path / "in" / "/".join(["d" * 200] * 9)
        folder.mkdir(parents=True)
        iris.frame.to_parquet(folder / "a.parquet", index=False)
        output = tmp_path / "/".join(["o" * 200] * 11)
        result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "in", "--output", output)
        assert (result.code, "rename the input" in result.message) == (2, True), result.message
        assert not (tmp_path / ("o" * 200)).exists()


@pytest.mark.parametrize("name", ["_x.parquet", ".x.parquet", "_x.csv", "..x.csv"])
@pytest.mark.parametrize("command", ["score", "check"])
def test_a_hidden_file_named_as_input(
    scoreline: Command, tmp_path: Path, iris: Example, name: str, command: str
) -> None:
    """It is refused, because its part would be hidden from readers."""
    (iris.frame.to_csv if "csv" in name else iris.frame.to_parquet)(tmp_path / name, index=False)
    output = ["--output", tmp_path / "out"] if command == "score" else []
    result = scoreline(command, "--bundle", iris.bundle, "--input", tmp_path / name, *output)
    assert result.code == 2, result.message
    assert "rename it" in result.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pattern", "output", "code"),
    [
        ("*", "out", 73),
        ("*", "deep/out", 73),
        ("o*", "out", 73),
        ("*/", "out", 73),
        ("*/*.parquet", "out", 0),
        ("?ut/**", "out", 73),
        ("*.d", "out.d", 73),
        ("**", "out", 73),
        ("**/*.parquet", "out", 73),
        ("*.parquet", "out", 0),
        ("d*/*", "out", 0),
        ("*/*.pq", "out", 0),
        ("*", "_out", 0),
        ("*", ".out/deep", 0),
        ("*/b.pq", "out/deep", 0),
    ],
)
def test_an_output_that_the_glob_would_match(
    scoreline: Command, tmp_path: Path, iris: Example, pattern: str, output: str, code: int
) -> None:
    """It is refused in the first run; other outputs are accepted in both runs."""
    root = tmp_path / "in"
    for name in ("a.parquet", "day/b.pq", "day.d/c.parquet"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        iris.frame.head(5).to_parquet(root / name, index=False)
    words = ["score", "--bundle", iris.bundle, "--input", root / pattern, "--output", root / output]
    if pattern.endswith("/"):
        words[4] = f"{root / pattern}/"
    if pattern in ("?ut/**", "*.d", "o*"):
        (root / output).mkdir()
        iris.frame.head(5).to_parquet(root / output / "d.parquet", index=False)
    for _ in range(2):
        result = scoreline(*words)
        assert result.code == code, result.message
        assert (root / output / "_SUCCESS").exists() == (code == 0)
    assert code or "nothing_to_do" in result.err


def test_an_output_behind_a_link_in_the_input(scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """It is refused, because it would be among the inputs of the next run."""
    for name in ("in/a.parquet", "else/b.parquet"):
        (tmp_path / name).parent.mkdir()
        iris.frame.to_parquet(tmp_path / name, index=False)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    for pattern in ("", "/*"):
        words = ["--bundle", iris.bundle, "--input", f"{tmp_path / 'in'}{pattern}", "--output", tmp_path / "else/out"]
        assert scoreline("score", *words).code == 73
        assert not (tmp_path / "else" / "out").exists()


class TestSuffixes:
    """`.pq` and `.parq` are Parquet; Parquet files with another suffix are reported."""

    def test_they_are_read(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "in").mkdir()
        for at, name in enumerate(("a.parquet", "a.pq", "b.parq", "C.PQ")):
            iris.frame.iloc[10 * at : 10 * at + 10].to_parquet(tmp_path / "in" / name, index=False)
        assert score(tmp_path / "in").code == 0
        assert ids(tmp_path / "out") == Counter(map(str, iris.frame["row_id"].head(40)))
        assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == [
            "C.PQ.parquet",
            "a.parquet",
            "a.pq.parquet",
            "b.parq.parquet",
        ]
        assert score(tmp_path / "in" / "b.parq").code == 0

    def test_inputs_with_the_same_output(self, score: Command, tmp_path: Path, iris: Example) -> None:
        (tmp_path / "in").mkdir()
        for name in ("a.pq", "a.pq.parquet"):
            iris.frame.to_parquet(tmp_path / "in" / name, index=False)
        result = score(tmp_path / "in")
        assert result.code == 2
        assert "inputs 'a.pq' and 'a.pq.parquet' would both be written to 'a.pq.parquet'" in result.message

    def test_ignored_parquet_files_are_reported(
        self, score: Command, scoreline: Command, tmp_path: Path, iris: Example
    ) -> None:
        """Other ignored files are not; the numbers of files that are opened and named are limited."""
        (tmp_path / "in").mkdir()
        iris.frame.to_parquet(tmp_path / "in" / "a.parquet", index=False)
        assert score(tmp_path / "in").code == 0
        for name in ("part-0", "b.parquet.bak", *(f"{n}.old" for n in range(20))):
            iris.frame.to_parquet(tmp_path / "in" / name, index=False)
        (tmp_path / "in" / "notes.txt").write_text("PAR")
        os.mkfifo(tmp_path / "in" / "pipe")
        result = score(tmp_path / "in", "--run-id", "again")
        event = result.event("parquet_files_ignored")
        assert (result.code, event["level"], event["count"]) == (0, "warning", 2 + 16)
        assert (len(event["files"]), "--format parquet" in event["reason"]) == (5, True)
        assert result.event("run_started")["ignored"] == 24
        shown = scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "in", "--json").out
        assert "'0.old'" in json.loads(shown)["input"]["Parquet files ignored for their suffix"]


def test_loops_are_reported(score: Command, scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """In the log of a run, and by `check`."""
    (tmp_path / "in").mkdir()
    iris.frame.to_parquet(tmp_path / "in" / "a.parquet", index=False)
    (tmp_path / "in" / "loop").symlink_to(".")
    for where in (tmp_path / "in", f"{tmp_path / 'in'}/**/*.parquet"):
        event = score(where, "--force").event("link_loops_found")
        assert (event["count"], event["links"]) == (1, ["loop"])
        assert ids(tmp_path / "out") == Counter(map(str, iris.frame["row_id"]))
    assert "link loops, not followed" in scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "in").out


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), st.integers(0, 999_999_999))
def test_the_name_of_a_part_identifies_its_input_and_split(source: str, split: int) -> None:
    """For any name of the input."""
    part = part_name(source, split, several=True)
    assert numbered(part) == (whole_name(source), split)
    assert part_name(source, 0, several=False) == whole_name(source)
    assert whole_name(whole_name(source)) == whole_name(source)

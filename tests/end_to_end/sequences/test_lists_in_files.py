"""Lists in Parquet and in memory: every Arrow type of lists, and the reasons for which rows are rejected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import nn

from conftest import Result
from sequence_models import (
    CLOSE,
    LENGTHS,
    TAGS,
    TEXT,
    WORDS,
    Kept,
    alone,
    drawn,
    load,
    log_softmax,
    net,
    read,
    rejected,
    saved,
    score,
    table,
    write,
)

pytestmark = pytest.mark.usefixtures("one_core")

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def floats_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of two lists of numbers, side by side."""
    model = net("lengths", 4, columns=2)
    return saved(tmp_path_factory.mktemp("floats") / "b", model, "floats", "lengths", task="tagging", labels=TAGS)


KINDS = {
    "list": pa.list_(TEXT),
    "large_list": pa.large_list(pa.large_string()),
    "fixed": pa.list_(TEXT, 9),
    "dictionary": pa.list_(pa.dictionary(pa.int32(), TEXT)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_lists_in_parquet(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], kind: str
) -> None:
    """In many row groups, with nulls in between."""
    bundle, model = words_bundle
    rows = drawn("words", [9] * 24 if kind == "fixed" else LENGTHS, seed=2)
    holes: list[Any] = list(rows)
    holes[5] = holes[17] = None
    given = pa.table({"id": np.arange(24) * 7, "x": pa.array(holes, KINDS[kind])})
    write(
        given, tmp_path, row_group_size=24 if kind == "dictionary" else 5
    )  # Arrow cannot read such a list from several row groups
    done = score(scoreline, bundle, tmp_path, "--max-rejects", 2)
    assert done.code == 0, done.err
    assert scoreline("verify", tmp_path / "out").code == 0
    assert rejected(tmp_path) == {5: ("x", "is null"), 17: ("x", "is null")}
    raw = {7 * at: outputs for at, outputs in enumerate(alone(model, "real", "words", rows)) if at not in (5, 17)}
    got = read(tmp_path)
    assert got.schema.names == ["id", "prediction", "probability"]
    assert got["id"].to_pylist() == list(raw)
    for row in got.to_pylist():
        assert row["prediction"] == [TAGS[at] for at in raw[row["id"]].argmax(axis=1)]
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(raw[row["id"]]).max(axis=1), atol=CLOSE)


def test_why_words_are_rejected(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """Every reason, and the rows beside them are scored."""
    word = WORDS[2]
    rows = [
        [word], None, [], [word, None], [word, "never seen"], [word] * 41, [word] * 40, [""], ["<PAD>"], ["<pad>"],
    ]  # fmt: skip
    write(table("words", rows), tmp_path)
    assert score(scoreline, words_bundle[0], tmp_path, "--max-rejects", 6).code == 65
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", 7)
    assert done.code == 0, done.err
    found = rejected(tmp_path)
    strange = "has a step that is a category that was not seen in training"
    assert found == {
        1: ("x", "is null"),
        2: ("x", "has no steps"),
        3: ("x", "step 1 is null"),
        4: ("x", strange),
        5: ("x", "has 41 steps, but the bundle takes at most 40"),
        7: ("x", strange),
        8: ("x", strange),
    }
    assert read(tmp_path)["id"].to_pylist() == [0, 42, 63]
    assert scoreline("verify", tmp_path / "out").code == 0


def test_why_numbers_are_rejected(scoreline: Command, tmp_path: Path, floats_bundle: Path) -> None:
    """For two lists side by side."""
    rows = [
        ([1.0, 2.0], [3.0, 4.0]), ([1.0, 2.0], [3.0]), ([1.0, float("nan")], [3.0, 4.0]), ([1.0], [float("inf")]),
        ([float("-inf")], [1.0]), (None, [1.0]), ([], []), ([1.0], []), ([1e300], [1.0]), ([1.0], [None]),
        ([0.5] * 41, [0.5] * 41), ([1.0], [2.0]),
    ]  # fmt: skip
    write(table("floats", rows), tmp_path)
    done = score(scoreline, floats_bundle, tmp_path, "--max-rejects", "90%")
    assert done.code == 0, done.err
    assert rejected(tmp_path) == {
        1: ("x1", "has a different number of steps than 'x0'"),
        2: ("x0", "step 1 is NaN"),
        3: ("x1", "step 0 is infinite"),
        4: ("x0", "step 0 is minus infinite"),
        5: ("x0", "is null"),
        6: ("x0", "has no steps"),
        7: ("x1", "has no steps"),
        8: ("x0", "is not finite as float32 after preparation"),
        9: ("x1", "step 0 is null"),
        10: ("x0", "has 41 steps, but the bundle takes at most 40"),
    }
    assert read(tmp_path)["id"].to_pylist() == [0, 77]


def test_the_list_that_does_not_fit_is_named(floats_bundle: Path) -> None:
    """It is the second of two."""
    _, rejects = load(floats_bundle).score_table(table("floats", [([1.0], [1e300])]), with_rejects=True)
    assert rejects["reject"][0].as_py()["column"] == "x1"


def test_why_tokens_are_rejected(taggers: dict[str | None, Kept]) -> None:
    """Fractions, and tokens outside the embedding's range."""
    rows = [[31.0], [1.5], [32.0], [-1.0], [-0.5], [1e300], [2.0**63], [float("nan")], [0.0, 1.0]]
    given = pa.table({"id": np.arange(len(rows)), "x": pa.array(rows, pa.list_(pa.float64()))})
    got, rejects = taggers[None].scorers[None].score_table(given, with_rejects=True)
    assert got["id"].to_pylist() == [0, 8]
    fraction = "has a value that is not a whole number, but the model takes tokens"
    beyond = "has a value outside the embedding's range 0–31"
    said = {one["row_number"]: one["reason"] for one in rejects["reject"].to_pylist()}
    assert said == {1: fraction, 2: beyond, 3: beyond, 4: fraction, 5: said[5], 6: said[6], 7: "step 0 is NaN"}
    assert {said[5], said[6]} <= {fraction, beyond}


def test_rejects_among_views_of_text(words_bundle: tuple[Path, nn.Module]) -> None:
    """Lists of string views, as polars writes them."""
    given = pa.table({"id": [1, 2], "x": pa.array([[WORDS[3]], None], pa.list_(pa.string_view()))})
    got, rejects = load(words_bundle[0]).score_table(given, with_rejects=True)
    assert got["id"].to_pylist() == [1]
    assert rejects["id"].to_pylist() == [2]


@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.float16(), pa.bool_(), pa.decimal128(6, 2)])
@pytest.mark.parametrize("shape", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2), pa.list_view])
def test_lists_in_memory(taggers: dict[str | None, Kept], kind: pa.DataType, shape: Any) -> None:
    """No rows, only nulls, and slices, of every type of list and number."""
    scorer, whole = taggers[None].scorers[None], shape(kind)
    assert scorer.score_table(pa.table({"x": pa.array([], whole)})).num_rows == 0
    got, rejects = scorer.score_table(pa.table({"x": pa.nulls(3, whole)}), with_rejects=True)
    assert (got.num_rows, rejects.num_rows) == (0, 3)
    rows = [[0, 1], [1, 0], None, [1, 1], [0, None]]
    cells = [None if row is None else [None if value is None else _as(kind, value) for value in row] for row in rows]
    got, rejects = scorer.score_table(pa.table({"x": pa.array(cells, whole).slice(1)}), with_rejects=True)
    assert [one["reason"] for one in rejects["reject"].to_pylist()] == ["is null", "step 1 is null"]
    plain = scorer.score_table(pa.table({"x": [[1, 0], [1, 1]]}))
    assert got["prediction"].to_pylist() == plain["prediction"].to_pylist()


def _as(kind: pa.DataType, value: int) -> Any:
    return bool(value) if pa.types.is_boolean(kind) else np.float16(value) if kind == pa.float16() else value


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["wörd 1"]), "string, but the bundle takes lists of words"),
        (pa.array([3]), "int64, but the bundle takes lists of words"),
        (pa.array([[3]]), "int64>, but the bundle takes lists of words"),
        (pa.array([[["wörd 1"]]]), "string>>, but the bundle takes lists of words"),
        (pa.array([[{"a": "wörd 1"}]]), "struct<a: string>>, but the bundle takes lists of words"),
        (pa.array([{"a": ["wörd 1"]}]), "struct<a: list"),
        (pa.array([[b"x"]]), "binary>, but the bundle takes lists of words"),
    ],
)
def test_other_columns_are_refused(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], column: pa.Array, message: str
) -> None:
    """One line names the column, before the first row."""
    write(pa.table({"id": [1], "x": column}), tmp_path)
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", "100%")
    assert done.code == 65
    assert "feature column 'x' is" in done.message
    assert message in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_words_are_not_numbers(scoreline: Command, tmp_path: Path, floats_bundle: Path) -> None:
    """And numbers are not words."""
    write(pa.table({"id": [1], "x0": [["1.0"]], "x1": [["1.0"]]}), tmp_path)
    done = score(scoreline, floats_bundle, tmp_path)
    assert done.code == 65
    assert "the bundle takes lists of numbers" in done.message


def test_a_csv_has_no_lists(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """Nor has a Hive key."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,x\n1,['w']\n")
    done = score(scoreline, words_bundle[0], tmp_path)
    assert done.code == 65
    assert "'x' takes lists of words, which CSV files and paths cannot contain; use Parquet" in done.message
    (tmp_path / "in" / "a.csv").unlink()
    (tmp_path / "in" / "x=w").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "in" / "x=w" / "a.parquet")
    done = score(scoreline, words_bundle[0], tmp_path)
    assert done.code == 65
    assert not list((tmp_path / "out").rglob("*.parquet"))

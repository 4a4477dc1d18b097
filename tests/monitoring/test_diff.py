"""Comparing two outputs gives what pandas gives on joined frames: any splits, rejects and order of keys."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError, NoInputError, UsageError
from scoreline.pipeline.monitoring.diff import Difference, compare
from scoreline.schemas.run import HeadRecord

from scored_outputs import write_scored

LABELS = ["no", "yes", "maybe"]
HEAD = HeadRecord(
    name="output",
    task="multiclass",
    labels=LABELS,
    columns=["prediction", "probability_no", "probability_yes", "probability_maybe"],
)


def predictions(rows: int, seed: int, *, prefix: str = "") -> pa.Table:
    """Keys and predictions, some of which are the same for every seed."""
    same, own = np.random.default_rng(0), np.random.default_rng(seed)
    raw = np.where(same.random((rows, 1)) < 0.3, same.random((rows, 3)), own.random((rows, 3)))
    shares = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = {f"{prefix}probability_{label}": shares[:, at] for at, label in enumerate(LABELS)}
    labels = pa.array(LABELS).take(pa.array(shares.argmax(axis=1)))
    return pa.table({"id": np.arange(rows) * 7, f"{prefix}prediction": labels, **columns})


def joined(first: pa.Table, second: pa.Table, lost: tuple[set[int], set[int]]) -> pd.DataFrame:
    """The rows in both, joined by pandas on the key."""
    frames = [table.to_pandas().drop(index=list(rows)) for table, rows in zip((first, second), lost, strict=True)]
    return frames[0].reset_index(names="row").merge(frames[1], on="id", suffixes=("_a", "_b"))


def check(found: Difference, wanted: pd.DataFrame) -> None:
    """Compare every figure of one input with those of a joined frame."""
    changes = found.changes
    assert changes.rows == len(wanted)
    flipped = wanted["prediction_a"] != wanted["prediction_b"]
    assert changes.flipped == flipped.sum()
    assert changes.pairs["prediction"] == wanted.groupby(["prediction_a", "prediction_b"]).size().to_dict()
    names = [f"probability_{label}" for label in LABELS]
    moved = np.stack([wanted[f"{n}_b"].astype("f8") - wanted[f"{n}_a"].astype("f8") for n in names], axis=1)
    for at, number in enumerate(changes.numbers):
        one = moved[:, at]
        assert number.name == names[at]
        assert number.mean == pytest.approx(one.mean(), abs=1e-12)
        assert number.mean_absolute == pytest.approx(np.abs(one).mean(), abs=1e-12)
        assert abs(number.largest) == np.abs(one).max()
        assert number.unchanged == (one == 0).sum()
        reach = number.histogram.reach
        counts, _ = np.histogram(one[one != 0], bins=64, range=(-reach, reach))
        assert number.histogram.counts.tolist() == counts.tolist()
    largest = np.abs(moved).max(axis=1)
    assert [abs(one.change) for one in changes.movers] == sorted(largest[largest > 0], reverse=True)[:5]
    assert sum(one.total for one in changes.by_source.values()) == pytest.approx(largest.sum())


@settings(max_examples=10)
@given(data=st.data())
def test_by_row_and_by_key(data: st.DataObject) -> None:
    """Row numbers identify rows across other splits and rejects; keys also in another order."""
    rows = data.draw(st.integers(1, 60))
    first, second = predictions(rows, 1), predictions(rows, 2)
    numbers = st.sets(st.integers(0, rows - 1), max_size=rows)
    lost = data.draw(numbers), data.draw(numbers)
    wanted = joined(first, second, lost)
    with TemporaryDirectory() as folder:
        a, b = (
            write_scored(
                Path(folder) / name, {"x.parquet": table}, HEAD, rejected={"x.parquet": gone},
                split_rows=data.draw(st.integers(1, 70)),
            )
            for name, table, gone in (("a", first, lost[0]), ("b", second, lost[1]))
        )  # fmt: skip
        if wanted.empty:
            for on in (None, "id"):
                with pytest.raises(DataError, match="have no scored row in common"):
                    compare(str(a), str(b), on=on)
            return
        for on in (None, "id"):
            found = compare(str(a), str(b), on=on, num_movers=5)
            check(found, wanted)
            only = found.unmatched
            assert (only.first_rows, only.second_rows) == (len(lost[1] - lost[0]), len(lost[0] - lost[1]))
            for mover in found.changes.movers:
                key = mover.where if on else mover.where * 7
                row = wanted[wanted["id"] == key].iloc[0]
                assert (mover.before, mover.after) == (row["prediction_a"], row["prediction_b"])
                assert (mover.first, mover.second) == (row[f"{mover.column}_a"], row[f"{mover.column}_b"])


def test_keys_in_another_order(tmp_path: Path) -> None:
    """And in other inputs; keys without a counterpart are counted."""
    first, second = predictions(50, 1), predictions(60, 2)
    order = np.random.default_rng(3).permutation(60)
    a = write_scored(tmp_path / "a", {"x.parquet": first.slice(0, 20), "y.parquet": first.slice(20)}, HEAD)
    b = write_scored(tmp_path / "b", {"z.parquet": second.take(order)}, HEAD, split_rows=9)
    found = compare(str(a), str(b), on="id", num_movers=5)
    check(found, joined(first, second.slice(0, 50), (set(), set())))
    assert (found.unmatched.first_rows, found.unmatched.second_rows) == (0, 10)
    assert {source: one.rows for source, one in found.changes.by_source.items()} == {"x.parquet": 20, "y.parquet": 30}
    with pytest.raises(DataError, match=r"no input in common \(first 'x.parquet' and 'z.parquet'\); pass --on KEY"):
        compare(str(a), str(b))


@pytest.mark.parametrize("kinds", [(pa.string(), pa.large_string()), (pa.large_binary(), pa.binary())])
def test_keys_of_two_layouts(tmp_path: Path, kinds: tuple[pa.DataType, pa.DataType]) -> None:
    """As two writers of the inputs have them."""
    keyed = {
        f"{number}.parquet": predictions(6, number).set_column(
            0, "id", pa.array([f"{number} {row}" for row in range(6)]).cast(kind)
        )
        for number, kind in enumerate(kinds)
    }
    a, b = (write_scored(tmp_path / side, keyed, HEAD) for side in "ab")
    assert compare(str(a), str(b), on="id").changes.rows == 12


def test_an_input_without_a_key_of_the_other_output(tmp_path: Path) -> None:
    """Has no row to compare, also where the probabilities are lists; the rows of others are compared."""
    tables = [predictions(40, seed) for seed in (1, 2)]
    lists = []
    for table in tables:
        numbers = np.stack([table[f"probability_{label}"] for label in LABELS], axis=1)
        column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 3)
        lists.append(table.select(["id", "prediction"]).append_column("probabilities", column))
    head = HEAD.model_copy(update={"columns": ["prediction", "probabilities"]})
    a = write_scored(tmp_path / "a", {"x.parquet": lists[0].slice(0, 30), "y.parquet": lists[0].slice(30)}, head)
    b = write_scored(tmp_path / "b", {"z.parquet": lists[1].slice(0, 30)}, head)
    found = compare(str(a), str(b), on="id", num_movers=5)
    check(found, joined(tables[0].slice(0, 30), tables[1].slice(0, 30), (set(), set())))
    assert found.unmatched.first_rows == 10
    assert list(found.changes.by_source) == ["x.parquet"]


@pytest.mark.parametrize(
    "arrow_type", [pa.timestamp("us"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("s", "Mars/A")]
)
def test_keys_beyond_the_years_of_python(tmp_path: Path, arrow_type: pa.DataType) -> None:
    """A mover is named by its key, and so is a key that is there twice."""
    last = 253402300799 * (1 if arrow_type.unit == "s" else 1_000_000)  # 9999-12-31T23:59:59Z
    tables = []
    for seed in (1, 2):
        table = predictions(20, seed)
        keys = pa.array(np.arange(20) * -1 + last, pa.int64()).cast(arrow_type)
        tables.append(table.set_column(0, "id", keys))
    a, b = (write_scored(tmp_path / name, {"x": one}, HEAD) for name, one in zip("ab", tables, strict=True))
    found = compare(str(a), str(b), on="id", num_movers=20)
    assert found.changes.rows == 20
    assert {str(one.where)[:10] for one in found.changes.movers} <= {"9999-12-31", "10000-01-0"}
    twice = write_scored(tmp_path / "c", {"x": pa.concat_tables([tables[0].slice(0, 1)] * 2)}, HEAD)
    with pytest.raises(DataError, match=r"'id' contains '?9999-12-31 23:59:59Z?'? more than once"):
        compare(str(a), str(twice), on="id")


def test_a_damaged_file_of_rejects(tmp_path: Path) -> None:
    """No bit of it may move a row: every flipped one is noticed."""
    a, b = (
        write_scored(tmp_path / name, {"x.parquet": predictions(40, seed)}, HEAD, rejected={"x.parquet": {3, 17}})
        for name, seed in (("a", 1), ("b", 2))
    )
    (file,) = (b / "_rejects").iterdir()
    whole = file.read_bytes()
    for at in np.random.default_rng(0).integers(0, 8 * len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"_rejects/x\S*: does not match the receipt of x\S*; run scoreline verify"):
            compare(str(a), str(b))
    file.write_bytes(whole)
    assert compare(str(a), str(b)).changes.rows == 38


def test_a_foreign_file_in_place_of_a_part(tmp_path: Path) -> None:
    a, b = (write_scored(tmp_path / name, {"x.parquet": predictions(9, 1)}, HEAD, split_rows=5) for name in "ab")
    pq.write_table(pa.table({"id": [1]}), sorted(b.glob("*.parquet"))[1])
    for options in ({}, {"on": "id"}):
        with pytest.raises(DataError, match="run scoreline verify"):
            compare(str(a), str(b), **options)


def test_inputs_in_one_only(tmp_path: Path) -> None:
    """Are named, and their rows counted; prefixes do not matter."""
    first, second = predictions(30, 1), predictions(30, 2, prefix="new_")
    a = write_scored(tmp_path / "a", {"x.parquet": first, "y.parquet": first}, HEAD)
    renamed = HEAD.model_copy(update={"columns": [f"new_{name}" for name in HEAD.columns]})
    b = write_scored(tmp_path / "b", {"w.parquet": second, "x.parquet": second}, renamed, prefix="new_")
    found = compare(str(a), str(b))
    only = found.unmatched
    assert (only.first_rows, only.second_rows) == (30, 30)
    assert (only.first_sources, only.second_sources) == (["y.parquet"], ["w.parquet"])
    assert (found.changes.rows, len(found.changes.numbers)) == (30, 3)


def _refused(tmp_path: Path, **other: Any) -> Callable[..., Difference]:
    a = write_scored(tmp_path / "a", {"x.parquet": predictions(9, 1)}, HEAD)
    b = write_scored(tmp_path / "b", **{"tables": {"x.parquet": predictions(9, 2)}, "head": HEAD, **other})
    return lambda **options: compare(str(a), str(b), **options)


def test_another_version_of_the_input(tmp_path: Path) -> None:
    """Its row numbers name other rows; a key identifies them."""
    run = _refused(tmp_path, mtime_ns=21)
    with pytest.raises(DataError, match=r"x.parquet: has changed between the two runs"):
        run()
    assert run(on="id").changes.rows == 9


def test_keys_that_are_not_keys(tmp_path: Path) -> None:
    """A column that is missing, or has a value twice."""
    double = predictions(9, 2).set_column(0, "id", pa.array([0, 7, 7, *range(8, 14)]))
    run = _refused(tmp_path, tables={"x.parquet": double})
    with pytest.raises(UsageError, match=r"x.parquet has no column 'key'; its other columns are 'id'"):
        run(on="key")
    with pytest.raises(DataError, match="'id' contains 7 more than once, so it is not a key"):
        run(on="id")


def test_outputs_that_cannot_be_compared(tmp_path: Path) -> None:
    """Another task, a head that does not exist, a run that is not complete, a folder that is not an output, a part that
    is damaged."""
    run = _refused(tmp_path, head=HEAD.model_copy(update={"task": "regression"}))
    with pytest.raises(DataError, match="a multiclass cannot be compared with a regression"):
        run()
    with pytest.raises(UsageError, match="--head must be one of output"):
        run(head="fraud")
    a, b = str(tmp_path / "a"), tmp_path / "b"
    with pytest.raises(NoInputError, match="is not an output"):
        compare(a, str(tmp_path))
    (b / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="b' is not complete"):
        compare(a, str(b))
    part = tmp_path / "a" / "x.parquet"
    part.write_bytes(part.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"x.parquet: .*; run scoreline verify"):
        compare(a, a)

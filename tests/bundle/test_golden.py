"""Golden rows: they are read back as written, and differences above the tolerance are named."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.bundle.golden import GoldenRows, compare, read_golden, write_golden
from scoreline.pipeline.errors import BundleError, GoldenMismatchError
from scoreline.pipeline.records import Lists

RAW = np.array([[0.5, -2.0], [1.0, 1.0], [30.0, -4.0]], dtype=np.float32)


def golden(raw: Any = RAW, labels: tuple[str, ...] = ("x", "y", "x")) -> GoldenRows:
    """Three rows of a number and a text."""
    features = pa.record_batch({"a": pa.array([1.5, None, -0.0]), "b": pa.array(["é", None, ""])})
    columns = {"prediction": pa.array(labels), "probability": pa.array([0.9, 0.5, 1.0], pa.float32())}
    return GoldenRows(features=features, raw={"output": raw}, columns=columns)


def test_golden_rows_are_read_back_as_written() -> None:
    """Features in the requested order, with nulls; equal rows give equal bytes."""
    data = write_golden(golden())
    assert data == write_golden(golden())
    back = read_golden(data, ["b", "a"], ["output"])
    assert back.features.schema.names == ["b", "a"]
    assert back.features.column("a").equals(golden().features.column("a"))
    assert back.features.column("b").to_pylist() == ["é", None, ""]
    np.testing.assert_array_equal(back.raw["output"], RAW)
    assert {name: column.to_pylist() for name, column in back.columns.items()} == {
        "prediction": ["x", "y", "x"], "probability": pytest.approx([0.9, 0.5, 1.0]),
    }  # fmt: skip


def test_lists_are_read_back_as_written() -> None:
    """Lists of different lengths, one of them empty."""
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    lists = Lists(values=values, offsets=np.array([0, 1, 1, 4]))
    back = read_golden(write_golden(golden(lists)), ["a", "b"], ["output"]).raw["output"]
    assert isinstance(back, Lists)
    np.testing.assert_array_equal(back.values, values)
    assert back.offsets.tolist() == [0, 1, 1, 4]


def by(head: np.ndarray, **columns: Any) -> dict[str, Any]:
    """The outputs of a bundle."""
    made = dict(golden().columns)
    return {"raw": {"output": head}, "columns": made | columns}


def test_the_tolerance_is_absolute_and_relative() -> None:
    """1e-5 + 1e-4 of the expected value: a smaller difference is returned, a larger one is an error with its row."""
    near, far = RAW.copy(), RAW.copy()
    near[2, 0] += 0.0025
    assert compare(golden(), **by(near)) == pytest.approx(0.0025, rel=1e-3)
    far[2, 0] += 0.0035
    with pytest.raises(GoldenMismatchError, match=r"raw output 'output' differs by 0.0035 at row 2"):
        compare(golden(), **by(far))
    assert compare(golden(), **by(far), wider=10.0) == pytest.approx(0.0035, rel=1e-3)


def test_the_size_is_that_of_the_largest_output_in_the_row() -> None:
    """A small logit beside a large one may be off by more of its own; one beside no large one may not."""
    near, far = RAW.copy(), RAW.copy()
    near[2, 1] += 0.002
    assert compare(golden(), **by(near)) == pytest.approx(0.002, rel=1e-3)
    far[0, 1] += 0.002
    with pytest.raises(GoldenMismatchError, match="at row 0"):
        compare(golden(), **by(far))


def test_a_wrong_small_head_beside_a_large_one_is_found() -> None:
    """The outputs of one head do not widen the tolerance of another."""
    columns = dict(golden().columns)
    large, small = RAW * 1000, RAW / 1000
    both = GoldenRows(features=golden().features, raw={"large": large, "small": small}, columns=columns)
    assert compare(both, {"large": large * (1 + 5e-5), "small": small}, columns) > 1
    with pytest.raises(GoldenMismatchError, match="raw output 'small'"):
        compare(both, {"large": large, "small": small * 1.1}, columns)


def test_targets_of_a_regression_have_their_own_size() -> None:
    """Each by its largest golden value, over all rows, in raw outputs and in columns."""
    raw = np.array([[1e-6, 0.001], [1000.0, 0.02]], dtype=np.float32)
    columns = {"prediction_u": pa.array(raw[:, 0].astype(float)), "prediction_v": pa.array(raw[:, 1].astype(float))}
    features = pa.record_batch({"a": pa.array([1.0, 2.0])})
    expected = GoldenRows(features=features, raw={"output": raw}, columns=columns)
    own = ("output", *columns)

    def shifted(target: int, by: float) -> float:
        got = raw.copy()
        got[0, target] += by
        made = {name: pa.array(got[:, index].astype(float)) for index, name in enumerate(columns)}
        return compare(expected, {"output": got}, made, by_column=own)

    assert shifted(0, 0.05) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(GoldenMismatchError, match="at row 0"):
        shifted(0, 0.2)
    with pytest.raises(GoldenMismatchError, match="at row 0"):
        shifted(1, 0.001)


def test_non_finite_values_equal_only_themselves() -> None:
    """NaN and infinities may be expected; a number instead of one is a mismatch, and vice versa."""
    odd = RAW.copy()
    odd[0] = np.nan, -np.inf
    assert compare(golden(odd), **by(odd)) == 0.0
    for expected, got in ((odd, RAW), (RAW, odd)):
        with pytest.raises(GoldenMismatchError, match="at row 0"):
            compare(golden(expected), **by(got))


def test_a_label_may_differ_where_the_scores_tie() -> None:
    """Row 1 has two equal logits, row 0 has none."""
    assert compare(golden(), **by(RAW, prediction=pa.array(["x", "x", "x"]))) == 0.0
    with pytest.raises(GoldenMismatchError, match=r"column 'prediction' at row 0: expected 'x', got 'y' \(1 of 3"):
        compare(golden(), **by(RAW, prediction=pa.array(["y", "y", "x"])))


def test_a_single_golden_row() -> None:
    """Is counted in the singular."""
    row = golden().features.slice(0, 1)
    columns = {name: column.slice(0, 1) for name, column in golden().columns.items()}
    one = GoldenRows(features=row, raw={"output": RAW[:1]}, columns=columns)
    with pytest.raises(GoldenMismatchError, match=r"expected 'x', got 'y' \(1 of 1 row\)"):
        compare(one, {"output": RAW[:1]}, {**columns, "prediction": pa.array(["y"])})


def test_missing_columns_and_other_types_are_named() -> None:
    """And other shapes."""
    with pytest.raises(GoldenMismatchError, match="'probability'"):
        compare(golden(), {"output": RAW}, {"prediction": golden().columns["prediction"]})
    with pytest.raises(GoldenMismatchError, match=r"'probability' is float.*double"):
        compare(golden(), **by(RAW, probability=pa.array([0.9, 0.5, 1.0])))
    with pytest.raises(GoldenMismatchError, match=r"\[3, 1\]"):
        compare(golden(), **by(RAW[:, :1]))


FUZZ = """
import random, sys
from scoreline import BundleError
from scoreline.pipeline.bundle.golden import read_golden
data = open(sys.argv[1], "rb").read()
footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
refused = 0
for seed in range(4000):
    draw, changed = random.Random(seed), bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4])):
        at = draw.randrange(footer, len(data) - 8)
        changed[at] = draw.randrange(256) if draw.random() < 0.5 else changed[at] ^ (1 << draw.randrange(8))
    try:
        read_golden(bytes(changed), ["a", "b"], ["output"])
    except BundleError as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused)
"""


def test_a_damaged_footer_does_not_end_the_process(tmp_path: Path) -> None:
    """Arrow aborts where it reads the metadata of a column chunk that is damaged."""
    (tmp_path / "golden.parquet").write_bytes(write_golden(golden()))
    words = [sys.executable, "-P", "-c", FUZZ, str(tmp_path / "golden.parquet")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 1000 < int(done.stdout) < 4000


def test_invalid_files_are_refused() -> None:
    """Truncated, without a column, or in an encoding in which one value can represent gigabytes."""
    data = write_golden(golden())
    for broken, features, heads in (
        (data[:-9], ["a"], ["output"]), (data, ["z"], ["output"]), (data, ["a"], ["other"]), (b"", ["a"], ["output"]),
    ):  # fmt: skip
        with pytest.raises(BundleError, match=r"golden\.parquet is invalid"):
            read_golden(broken, features, heads)
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(data)), sink, use_dictionary=True)
    with pytest.raises(BundleError, match="has the encoding"):
        read_golden(sink.getvalue().to_pybytes(), ["a", "b"], ["output"])

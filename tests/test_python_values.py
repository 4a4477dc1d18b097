"""Values of Arrow as Python's, where Python has a type for them, and as text elsewhere."""

import datetime as dt

import pyarrow as pa
import pytest
from scoreline.pipeline.python_values import python_value, python_values

FAR = 2**60
BEYOND = f"<value out of range: {FAR}>"


def integers(values: list[int | None], arrow_type: pa.DataType) -> pa.Array:
    """An array of a type that is stored as integers of 64 bits."""
    return pa.array(values, pa.int64()).view(arrow_type)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, None, 2**63 - 1]),
        pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6), None], pa.timestamp("us", "Europe/Berlin")),
        pa.array([dt.time(1, 2, 3)], pa.time64("us")),
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([{"a": [dt.date(2024, 1, 2)]}, None]),
        pa.array(["x", None, "x"]).dictionary_encode(),
        pa.array([b"\x00", None]),
    ],
    ids=lambda array: str(array.type),
)
def test_values_of_python(array: pa.Array) -> None:
    assert python_values(array) == array.to_pylist()
    assert [python_value(value) for value in array] == array.to_pylist()


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (integers([FAR, 0, None], pa.timestamp("us")), [BEYOND, dt.datetime(1970, 1, 1), None]),
        (integers([253402300799_000_000], pa.timestamp("us", "Europe/Berlin")), ["9999-12-31 23:59:59Z"]),
        (integers([5_000, 5_001], pa.timestamp("ms", "Mars/A")), ["1970-01-01 00:00:05Z", "1970-01-01 00:00:05.001Z"]),
        (integers([3_723_000_000_001, 0], pa.time64("ns")), ["01:02:03.000000001", "00:00:00"]),
        (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), [f"<value out of range: {2**31 - 1}>"]),
        (integers([2**62, 60], pa.duration("s")), [f"{2**62} s", dt.timedelta(minutes=1)]),
        (pa.array([[1], None, []], pa.list_(pa.time64("ns"))), [["00:00:00.000000001"], None, []]),
        (pa.StructArray.from_arrays([integers([FAR], pa.timestamp("us"))], ["t"]), [{"t": BEYOND}]),
        (pa.MapArray.from_arrays([0, 1], pa.array(["k"]), integers([FAR], pa.timestamp("us"))), [[("k", BEYOND)]]),
        (pa.DictionaryArray.from_arrays(pa.array([0, None]), integers([FAR], pa.timestamp("us"))), [BEYOND, None]),
        (integers([1, 1], pa.time64("ns")).dictionary_encode(), ["00:00:00.000000001"] * 2),
        (pa.FixedSizeListArray.from_arrays(integers([FAR, FAR], pa.timestamp("us")), 2), [[BEYOND, BEYOND]]),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
def test_values_that_python_has_no_type_for(array: pa.Array, wanted: list[object]) -> None:
    assert python_values(array) == wanted

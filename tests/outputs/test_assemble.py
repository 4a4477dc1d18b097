"""Rows of the output and of rejects: which columns they have, in which order, with which reasons."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import ColumnError
from scoreline.pipeline.outputs.assemble import (
    REJECT,
    assemble,
    assemble_rejects,
    described,
    output_schema,
    reasons_of,
    reject_schema,
)
from scoreline.pipeline.records import Reject

KEYS = pa.schema([pa.field("id", pa.int64(), metadata={"unit": "none"}), ("day", pa.date32())])
OUTPUTS = [pa.field("prediction", pa.string()), pa.field("probability", pa.float32())]


def rejected(*positions: int, column: str = "a", reason: str = "is null") -> Reject:
    """A reject of the check."""
    reasons = (reason,) * len(positions)
    return Reject(positions=np.array(positions, dtype=np.int64), stage="check", column=column, reasons=reasons)


def test_keys_come_first_and_outputs_have_the_prefix() -> None:
    """Keys keep their fields, with metadata."""
    schema = output_schema(KEYS, OUTPUTS, "m1_", source="a.parquet")
    assert schema.names == ["id", "day", "m1_prediction", "m1_probability"]
    assert schema.field("id").equals(KEYS.field("id"), check_metadata=True)
    assert schema.field("m1_probability").type == pa.float32()
    assert output_schema(pa.schema([]), OUTPUTS, "", source="a").names == ["prediction", "probability"]


def test_a_key_with_the_name_of_an_output_is_refused() -> None:
    """The name with the prefix counts; the message says what to do."""
    keys = pa.schema([("prediction", pa.string())])
    with pytest.raises(ColumnError) as refused:
        output_schema(keys, OUTPUTS, "", source="d/a.parquet")
    assert str(refused.value) == (
        "d/a.parquet: column 'prediction' is also the name of an output; add --prefix NAME_, or leave the column out"
        " with --keys"
    )
    assert output_schema(keys, OUTPUTS, "p_", source="a").names == ["prediction", "p_prediction", "p_probability"]
    with pytest.raises(ColumnError, match="'p_probability' is also the name of an output; rename it"):
        output_schema(pa.schema([("p_probability", pa.string())]), OUTPUTS, "p_", source="a", advice="rename it")


def test_scored_rows() -> None:
    """Keys of the kept rows, with the types of the schema, then the outputs; features are left out."""
    batch = pa.record_batch({"x": [0.0, 1.0, 2.0], "id": pa.array([5, None, 7], pa.int64()),
                             "name": pa.array(["u", "v", "u"]).dictionary_encode()})  # fmt: skip
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("prediction", pa.float64())])
    rows = assemble(batch, np.array([2, 1]), [pa.array([0.5, 0.25])], schema)
    assert rows.schema == schema
    assert rows.to_pydict() == {"id": [7, None], "name": ["u", "v"], "prediction": [0.5, 0.25]}
    everything = assemble(batch, None, [pa.array([1.0, 2.0, 3.0])], schema)
    assert everything["id"].to_pylist() == [5, None, 7]
    none = assemble(batch, np.array([], dtype=np.int64), [pa.array([], pa.float64())], schema)
    assert (none.num_rows, none.schema) == (0, schema)


def test_without_keys() -> None:
    """The outputs alone."""
    schema = pa.schema([("prediction", pa.float64())])
    rows = assemble(pa.record_batch({"x": [1.0, 2.0]}), np.array([1]), [pa.array([0.5])], schema)
    assert rows.to_pydict() == {"prediction": [0.5]}


def test_the_columns_of_rejects() -> None:
    """Those that were read, dictionaries as values at any depth, then the reason under a free name."""
    read = pa.schema([("reject", pa.int64()), ("reject_", pa.dictionary(pa.int32(), pa.string())),
                      ("l", pa.list_(pa.dictionary(pa.int8(), pa.int64())))])  # fmt: skip
    schema = reject_schema(read)
    assert schema.names == ["reject", "reject_", "l", "reject__"]
    assert schema.types == [pa.int64(), pa.string(), pa.list_(pa.int64()), REJECT]
    assert reject_schema(pa.schema([])).names == ["reject"]


def test_rejected_rows_are_in_the_order_of_the_input() -> None:
    """With their row number in the source, whatever the order of the stages that rejected them."""
    batch = pa.record_batch({"a": [None, 1.0, None, 3.0], "b": ["w", "x", "y", "z"]})
    found = assemble_rejects(batch, [rejected(2, 0), rejected(3, column="", reason="the model raises: x")],
                             source="d/a.csv", first_row=1000)  # fmt: skip
    assert found["b"].to_pylist() == ["w", "y", "z"]
    assert reasons_of(found).to_pylist() == [
        {"source": "d/a.csv", "row_number": 1000, "stage": "check", "column": "a", "reason": "is null"},
        {"source": "d/a.csv", "row_number": 1002, "stage": "check", "column": "a", "reason": "is null"},
        {"source": "d/a.csv", "row_number": 1003, "stage": "check", "column": "", "reason": "the model raises: x"},
    ]


@settings(max_examples=25)
@given(st.permutations(range(6)), st.integers(0, 6), st.integers(0, 6))
def test_every_reject_keeps_its_reason(order: list[int], one: int, other: int) -> None:
    """For any division of rows among rejects."""
    low, high = sorted((one, other))
    batch = pa.record_batch({"row": pa.array(range(6), pa.int64())})
    groups = [order[:low], order[low:high], order[high:]]
    rejects = [
        Reject(positions=np.array(group, dtype=np.int64), stage="s", column="c", reasons=tuple(f"r{n}" for n in group))
        for group in groups
    ]
    found = assemble_rejects(batch, rejects, source="a", first_row=10)
    assert found["row"].to_pylist() == list(range(6))
    reasons = [(reject["row_number"], reject["reason"]) for reject in reasons_of(found).to_pylist()]
    assert reasons == [(10 + row, f"r{row}") for row in range(6)]


def test_no_rejects() -> None:
    """An empty batch with the columns of rejects, for dictionaries and for types that have no hash, too."""

    class Meters(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.float64(), "meters")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Meters":
            return cls()

    for arrow_type in (pa.int64(), pa.dictionary(pa.int8(), pa.string()), Meters()):
        batch = pa.record_batch([pa.nulls(2, arrow_type)], names=["x"])
        found = assemble_rejects(batch, [], source="a", first_row=0)
        assert found.num_rows == 0
        assert found.schema == reject_schema(batch.schema)


@pytest.mark.parametrize(
    ("column", "reason", "text"),
    [("age", "is null", "column 'age' is null"), ("", "the model raises: x", "the model raises: x")],
)
def test_a_reject_as_text(column: str, reason: str, text: str) -> None:
    """With the column, if it concerns one."""
    assert described({"column": column, "reason": reason}) == text

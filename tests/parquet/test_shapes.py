"""Footers that are read by the shape of another: the same fields as field by field."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.parquet import footer, shapes
from scoreline.pipeline.parquet.shapes import FIRST, MOST_SHAPES, FooterShape, FooterShapes, ShapelessError
from scoreline.pipeline.parquet.thrift import read_struct

WANTED = footer._FOOTER


def footer_of(table: pa.Table, **options: Any) -> bytes:
    """The footer of a file with this table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    data = sink.getvalue()
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8]


def table_of(rows: int, seed: int, *, nulls: bool = False, names: int = 3) -> pa.Table:
    """Numbers, and texts of any length."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"n{number}": random.normal(size=rows) * 10**seed for number in range(names)}
    columns["text"] = ["x" * int(length) for length in random.integers(0, 200, rows)]
    columns["id"] = random.integers(0, 2**60, rows)
    table = pa.table(columns)
    return table.set_column(0, "n0", pa.nulls(rows, pa.float64())) if nulls else table


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 9), st.sampled_from(["snappy", "none", "zstd"]))
def test_other_files_of_one_writer(rows: int, others: int, seed: int, codec: str) -> None:
    """Have the same shape, and their own numbers."""
    shape = FooterShape.of(footer_of(table_of(rows, seed), compression=codec), WANTED)
    other = footer_of(table_of(others, seed + 1), compression=codec)
    found = shape.read(other)
    assert found is None or found == read_struct(other, 0, WANTED)[0]
    same = footer_of(table_of(rows, seed + 2), compression=codec)
    assert shape.read(same) == read_struct(same, 0, WANTED)[0]
    shorter = FooterShape.of(footer_of(table_of(rows, seed), compression=codec), WANTED, other)
    found = shorter.read(same)
    assert found is None or found == read_struct(same, 0, WANTED)[0]


def test_texts_of_one_length() -> None:
    """Are in the pattern, as the smallest and largest numbers are; others are between two patterns."""
    footers = [footer_of(table_of(20, seed)) for seed in range(9)]
    long, short = FooterShape.of(footers[0], WANTED), FooterShape.of(footers[0], WANTED, footers[1])
    assert len(short.patterns) < len(long.patterns) / 3
    for data in footers:
        assert short.read(data) == long.read(data) == read_struct(data, 0, WANTED)[0]


@pytest.mark.parametrize("more", [{"row_group_size": 10}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
def test_another_shape(more: dict[str, Any]) -> None:
    """Is recognised: other row groups, encodings and columns."""
    shape = FooterShape.of(footer_of(table_of(50, 1)), WANTED)
    for other in (footer_of(table_of(50, 1), **more), footer_of(table_of(50, 1, names=4))):
        found = shape.read(other)
        assert found is None or found == read_struct(other, 0, WANTED)[0]
    assert shape.read(footer_of(table_of(50, 1, names=4))) is None


@settings(max_examples=200)
@given(st.data())
def test_damaged_footers(data: st.DataObject) -> None:
    """Are read as field by field, or not by the shape."""
    whole = footer_of(table_of(20, 1))
    shape = FooterShape.of(whole, WANTED, data.draw(st.none() | st.just(footer_of(table_of(20, 2)))))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for given_bytes in (bytes(damaged), cut):
        found = shape.read(given_bytes)
        if found is not None:
            assert found == read_struct(given_bytes, 0, WANTED)[0]


def test_numbers_of_more_than_64_bits() -> None:
    """Do not match, so the reader of fields refuses them."""
    shape = FooterShape.of(b"\x36\x02\x00", {3: None})
    assert shape.read(b"\x36\x04\x00") == {3: 2}
    assert shape.read(b"\x36" + b"\xff" * 9 + b"\x01\x00") is not None
    assert shape.read(b"\x36" + b"\xff" * 10 + b"\x01\x00") is None


@pytest.mark.parametrize(
    "length", [b"\x80" * 9 + b"\x02", b"\xff" * 9 + b"\x7f", b"\x80" * 10 + b"\x02", b"\xff" * 500]
)
def test_lengths_of_texts(length: bytes) -> None:
    """Beyond the end, or of too many bytes, do not match."""
    text = b"x" * 100
    shape = FooterShape.of(b"\x18" + bytes([len(text)]) + text + b"\x26\x02\x00", {3: None})
    assert shape.read(b"\x18\x01y\x26\x08\x00") == {3: 4}
    assert shape.read(b"\x18" + length + text + b"\x26\x02\x00") is None


@pytest.mark.parametrize("data", [b"\x3b\x01\x88\x02a\x01b\x00", b"\x3e\x00\x00"])
def test_what_has_no_shape(data: bytes) -> None:
    """Maps, and types that are not in footers."""
    with pytest.raises(ShapelessError):
        FooterShape.of(data, {4: None})


def test_shapes_are_made_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a few files, nor for files of which each has another shape."""
    made: list[int] = []
    plain = FooterShape.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(shapes.FooterShape, "of", classmethod(lambda cls, *given: made.append(1) or plain(cls, *given)))
    known = FooterShapes()
    footers = [footer_of(table_of(20, seed)) for seed in range(40)]
    for data in footers:
        assert known.read(data, WANTED) == read_struct(data, 0, WANTED)[0]
    assert len(made) == 1
    known = FooterShapes()
    made.clear()
    for number in range(FIRST + 3 * MOST_SHAPES):
        for names in (1, 2 + number):
            data = footer_of(table_of(5, 1, names=names))
            assert known.read(data, WANTED) == read_struct(data, 0, WANTED)[0]
    assert len(made) == MOST_SHAPES

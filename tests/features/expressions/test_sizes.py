"""The bound of an expression's size holds for the values that it makes."""

from functools import cache

import pyarrow as pa
import pytest

duckdb = pytest.importorskip("duckdb")

from scoreline.pipeline.features.expressions.duckdb_connection import connect  # noqa: E402
from scoreline.pipeline.features.expressions.judge import judge  # noqa: E402
from scoreline.pipeline.features.expressions.sizes import FIXED, OF_ROW, of_column  # noqa: E402
from scoreline.pipeline.features.expressions.tree import RefusedError  # noqa: E402

#: One connection for all tests: to open it takes longer than most tests.
shared_connection = cache(connect)
TEXTS = ["", "a", "ä", "Straße İstanbul", "a,b,,c" * 50, "\U0001f600" * 40, "&<>\"'%", "1" * 300]
LISTS = [[], ["a"], ["", "b" * 100], list("abcdef" * 20)]


@pytest.mark.parametrize(
    "sql",
    [
        "lower(t)", "upper(t)", "strip_accents(t)", "nfc_normalize(t)", "hex(t)", "to_base64(encode(t))",
        "url_encode(t)",
        "regexp_escape(t)", "reverse(t)", "trim(t)", "translate(t, 'a', '€')", "replace(t, 'a', 'xyz')",
        "regexp_replace(t, '', 'xyz', 'g')", "regexp_replace(t, '(.)', '\\1\\1\\1', 'g')", "lpad(t, 100, '€')",
        "rpad(t, 10, '€')", "repeat(t, 7)", "concat_ws('--', t, t, t)", "t || t || n", "md5(t)", "sha256(t)",
        "n::VARCHAR", "ts::VARCHAR", "strftime(ts, '%A %B %Y %c')", "dayname(ts)", "monthname(ts)",
        "substring(t, 2, 5)",
        "split_part(t, ',', 2)", "regexp_extract(t, '(.*)', 1)", "array_to_string(l, '<->')", "l::VARCHAR",
        "left(t, 3)", "chr(65)|| t", "coalesce(t, 'x')", "CASE WHEN n > 1 THEN t ELSE t || t END",
        "string_split(t, '')", "string_split(t, ',')", "regexp_extract_all(t, '.')", "[x || '!' for x in l]",
        "list_filter(l, lambda x: x <> 'a')", "list_concat(l, l)", "list_append(l, t)", "range(100) || [n]",
        "list_sort(l)", "flatten([l, l])", "[t, t]", "repeat(l, 3)", "list_transform(l, lambda x: upper(x) || x)",
    ],
)  # fmt: skip
def test_values_are_within_the_bound(sql: str) -> None:
    """The bytes of every value, counted as Arrow stores them."""
    connection = shared_connection()
    bound = judge(connection, sql, {"t": OF_ROW, "l": OF_ROW, "n": FIXED, "ts": FIXED}).bound
    for text in TEXTS:
        for items in LISTS:
            row = pa.table(
                {
                    "t": pa.array([text]),
                    "l": pa.array([items], pa.list_(pa.string())),
                    "n": [1.5e-300],
                    "ts": pa.array([1_700_000_000_123_456], pa.timestamp("us")),
                }
            )
            connection.register("row_", row)
            made = connection.sql(f"SELECT ({sql}) FROM row_").to_arrow_table()
            given = len(text.encode()) + sum(len(item.encode()) + 16 for item in items)
            assert made.nbytes - 8 <= bound.times * given + bound.plus, (text, items)


FLAGS = pa.ListArray.from_arrays(
    pa.array([0, 1000]), pa.StructArray.from_arrays([pa.array([False] * 1000)], ["is_new"])
)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[False] * 1000]),
        pa.array([[-128] * 1000], pa.list_(pa.int8())),
        pa.array([[-1.7976931348623157e308] * 100]),
        pa.array([[["a"], []] * 100]),
        FLAGS,
        pa.array([[{"a": 1, "b": {"c": [True] * 50}}] * 20]),
        pa.array([{"a name of some length": 1, "another": "x"}]),
    ],
    ids=lambda array: str(array.type),
)
@pytest.mark.parametrize("sql", ["x::VARCHAR", "[x, x]::VARCHAR", "list_value(x)::VARCHAR || 'x'"])
def test_nested_values_as_text(array: pa.Array, sql: str) -> None:
    """Each element is written with the names of its fields, and may take one bit."""
    connection = shared_connection()
    bound = judge(connection, sql, {"x": of_column(array.type)}).bound
    connection.register("row_", pa.table({"x": array}))
    made = connection.sql(f"SELECT ({sql}) FROM row_").to_arrow_table()
    assert made.nbytes <= bound.times * array.nbytes + bound.plus + 16


@pytest.mark.parametrize(
    ("sql", "arrow_type"),
    [
        ("x::VARCHAR", pa.list_(pa.struct([("n" * 60, pa.bool_())]))),
        ("list_transform(x, lambda v: struct_pack(" + "n" * 60 + " := v))::VARCHAR", pa.list_(pa.int8())),
    ],
)
def test_names_that_would_fill_the_memory(sql: str, arrow_type: pa.DataType) -> None:
    """A name for every bit of the row is refused."""
    with pytest.raises(RefusedError, match=r"the bytes of"):
        judge(shared_connection(), sql, {"x": of_column(arrow_type)})

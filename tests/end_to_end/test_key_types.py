"""Keys of every Arrow type through every command that carries them, compared with pyarrow's own values."""

import base64
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.nested import takeable, with_types

from arrow_types import arrays, carried_type, comparable, rejected_type, words, written_type
from conftest import Example, Result
from keyed_rows import BAD, GOOD, ROWS, rejects_of, table_of
from scoreline import Scorer

Command = Callable[..., Result]

KEYS = st.lists(arrays(ROWS), min_size=8, max_size=8)

#: Failing examples are not shrunk: the message contains the type.
in_process = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="session")
def scorer(iris: Example) -> Scorer:
    return Scorer.load(iris.bundle, device="cpu")


def write(table: pa.Table, file: Path) -> None:
    """Write row groups of five rows. pyarrow cannot write views within structs, but reads files of programs that can:
    their Arrow schema has views where the file has text."""
    (batch,) = table.combine_chunks().to_batches()
    stored = with_types(batch, lambda kind: takeable(kind) if pa.types.is_nested(kind) else kind)
    with pq.ParquetWriter(file, stored.schema, store_schema=False) as writer:
        writer.write_batch(stored, row_group_size=5)
        schema = base64.b64encode(table.schema.serialize().to_pybytes()).decode()
        writer.add_key_value_metadata({"ARROW:schema": schema})


def as_read(file: Path) -> pa.Table:
    """The rows of a file, read by row group, since Arrow cannot concatenate dictionaries within lists."""
    with pq.ParquetFile(file) as source:
        return pa.concat_tables([source.read_row_group(group) for group in range(source.num_row_groups)])


def rows(table: pa.Table, name: str, places: list[int]) -> list[str]:
    words = comparable(table[name])
    return [words[place] for place in places]


def goes_through(scoreline: Command, iris: Example, scorer: Scorer, keys: dict[str, pa.Array]) -> None:
    """Check that parts and rejects have the same values in the promised types, that verify, evaluate and check succeed,
    and that `score_table` equals the command."""
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name, "in.parquet"), Path(name, "out")
        write(table_of(iris, keys), file)
        before = as_read(file)
        given = ["--bundle", iris.bundle, "--input", file]
        result = scoreline("score", *given, "--output", out, "--max-rejects", 3, "--batch-size", 8)
        assert result.code == 0, result.err
        part, rejects = pq.read_table(out / "in.parquet"), rejects_of(out / "_rejects" / "in.arrow")
        assert rejects.column_names == [*before.column_names, "reject"]
        for key in keys:
            kind = before.schema.field(key).type
            assert words(part.schema.field(key).type) == written_type(kind)
            assert comparable(part[key]) == rows(before, key, GOOD), kind
            assert words(rejects.schema.field(key).type) == rejected_type(kind)
            assert comparable(rejects[key]) == rows(before, key, BAD), kind
        assert scoreline("verify", out).code == 0
        assert json.loads(scoreline("evaluate", out, "--label", "truth", "--json").out)["rows"] == len(GOOD)
        checked = scoreline("check", *given, "--json")
        assert json.loads(checked.out)["rows"]["rejected"] == len(BAD), checked.err
        scored, left = scorer.score_table(before, with_rejects=True)
        for key in keys:
            assert words(scored.schema.field(key).type) == carried_type(before.schema.field(key).type)
            assert comparable(scored[key]) == rows(before, key, GOOD)
            assert comparable(left[key]) == rows(before, key, BAD)
        assert scored["prediction"].equals(part["prediction"])


@in_process
@given(keys=KEYS)
def test_keys_of_any_type(scoreline: Command, iris: Example, scorer: Scorer, keys: list[pa.Array]) -> None:
    """Every type that a Parquet file can hold, at up to three levels of nesting."""
    goes_through(scoreline, iris, scorer, {f"k{n}": array for n, array in enumerate(keys)})


def test_keys_as_written_from_json_and_by_polars(scoreline: Command, iris: Example, scorer: Scorer) -> None:
    """Children of type null, as pandas makes them from JSON; views at any nesting; lists of categories."""
    values: dict[pa.DataType, list[Any]] = {
        pa.list_(pa.struct([("x", pa.null())])): [[{"x": None}], None, []],
        pa.struct([("x", pa.null())]): [{"x": None}, None, {"x": None}],
        pa.list_(pa.null()): [[None], None, []],
        pa.map_(pa.string(), pa.null()): [[("a", None)], None, []],
        pa.string_view(): ["a", None, "longer than a view holds within"],
        pa.struct([("x", pa.string_view())]): [{"x": "a"}, None, {"x": None}],
        pa.map_(pa.string(), pa.list_(pa.binary_view())): [[("a", [b"b"])], None, []],
        pa.large_list(pa.dictionary(pa.uint32(), pa.string())): [["a", None], None, []],
    }
    keys = {f"k{n}": pa.array(cells * (ROWS // 3), kind) for n, (kind, cells) in enumerate(values.items())}
    goes_through(scoreline, iris, scorer, keys)


@pytest.mark.long
@settings(in_process, max_examples=400)
@given(keys=KEYS)
def test_keys_of_any_type_at_length(scoreline: Command, iris: Example, scorer: Scorer, keys: list[pa.Array]) -> None:
    """The same with thousands of types."""
    goes_through(scoreline, iris, scorer, {f"k{n}": array for n, array in enumerate(keys)})


class Money(pa.ExtensionType):  # type: ignore[misc]
    """An extension type of a user."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "example.money")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"EUR"

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: pa.DataType, _serialized: bytes) -> "Money":
        return cls()


def in_memory() -> dict[str, pa.Array]:
    """Types that no Parquet file can have, by their names."""
    ends, indices = pa.array([5, ROWS], pa.int16()), pa.array([0, None, 1] * 4, pa.int8())
    runs = pa.RunEndEncodedArray.from_arrays(ends, pa.array(["x", None]))
    views = pa.RunEndEncodedArray.from_arrays(ends, pa.array([["x"], None], pa.list_(pa.string_view())))
    tags = pa.array([0, 1] * (ROWS // 2), pa.int8())
    return {
        "runs": runs,
        "runs of lists of views": views,
        "lists of runs": pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), runs),
        "interval": pa.array([pa.MonthDayNano([1, 2, n]) for n in range(ROWS)]),
        "struct without fields": pa.array([{}, None, {}] * 4, pa.struct([])),
        "lists of size 0": pa.array([[], None, []] * 4, pa.list_(pa.int8(), 0)),
        "dictionary of views": pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b"], pa.string_view())),
        "dictionary of floats": pa.array([1.5, None, float("nan")] * 4).dictionary_encode(),
        "somebody's type": pa.ExtensionArray.from_storage(Money(), pa.array(range(ROWS))),
        "union": pa.UnionArray.from_sparse(tags, [pa.array(["a"] * ROWS), pa.array(range(ROWS))]),
    }


@pytest.mark.parametrize("name", in_memory())
def test_types_that_exist_only_in_memory(iris: Example, scorer: Scorer, name: str) -> None:
    """`score_table` carries them unchanged, except run-end-encoded columns, which become their values, and the indices
    of dictionaries, which get 32 bits."""
    key = in_memory()[name]
    table = table_of(iris, {"key": key})
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    scored, rejects = scorer.score_table(chunked, with_rejects=True)
    kinds = {
        "runs": pa.string(),
        "runs of lists of views": pa.list_(pa.string_view()),
        "lists of runs": pa.list_(pa.string()),
        "dictionary of views": pa.dictionary(pa.int32(), pa.string_view()),
    }
    assert scored.schema.field("key").type == kinds.get(name, key.type)
    assert comparable(scored["key"]) == rows(table, "key", GOOD)
    assert comparable(rejects["key"]) == rows(table, "key", BAD)
    assert comparable(scorer.score_table(table.slice(10))["key"]) == comparable(table["key"].slice(10))
    empty = scorer.score_table(table.slice(0, 0))
    assert (empty.num_rows, empty.schema) == (0, scored.schema)


@pytest.mark.parametrize("split_rows", [[], ["--split-rows", "100"]])
def test_categories_that_differ_between_row_groups(
    scoreline: Command, iris: Example, tmp_path: Path, split_rows: list[str]
) -> None:
    """As pandas writes a file in pieces: together, the row groups have more words than an index of 8 bits counts."""
    pieces = [iris.frame.assign(key=pd.Categorical([f"{at}-{n}" for n in range(len(iris.frame))])) for at in "ab"]
    schema = pa.Schema.from_pandas(pieces[0]).remove_metadata()
    index = schema.get_field_index("key")
    schema = schema.set(index, pa.field("key", pa.dictionary(pa.int8(), pa.string())))
    with pq.ParquetWriter(tmp_path / "in.parquet", schema) as writer:
        for piece in pieces:
            for start in range(0, len(piece), 100):  # an index of 8 bits counts 127
                some = piece[start : start + 100].assign(
                    key=piece["key"][start : start + 100].cat.remove_unused_categories()
                )
                writer.write_table(pa.Table.from_pandas(some, schema, preserve_index=False))
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, *split_rows)
    assert result.code == 0, result.err
    scored = pd.read_parquet(tmp_path / "out")
    assert sorted(scored["key"].astype(str)) == sorted(str(key) for piece in pieces for key in piece["key"])
    assert scoreline("verify", tmp_path / "out").code == 0


def without_the_child(file: Path, name: str, parent: bytes, children: int) -> None:
    """Make the only child of the struct `s` its sibling in a footer, so that the struct has no children."""
    whole = file.read_bytes()
    grown = parent + bytes([0x15, 2 * children])
    assert whole.count(grown) == whole.count(b"\x18\x01s\x15\x02") == 1, name
    whole = whole.replace(grown, parent + bytes([0x15, 2 * children + 2]))
    file.write_bytes(whole.replace(b"\x18\x01s\x15\x02", b"\x18\x01s\x15\x00"))


@pytest.mark.parametrize("name", ["list of size 0", "struct without fields", "within a struct"])
def test_types_that_cannot_be_written(scoreline: Command, iris: Example, tmp_path: Path, name: str) -> None:
    """Refused before the model is loaded, unless --keys omits them."""
    file = tmp_path / "in.parquet"
    inner = pa.struct([pa.field("x", pa.int64())])
    kinds = {
        "list of size 0": pa.list_(pa.int8(), 0),
        "struct without fields": inner,
        "within a struct": pa.struct([pa.field("s", inner, nullable=False), pa.field("y", pa.int64())]),
    }
    values = {"list of size 0": [], "struct without fields": {"x": 1}, "within a struct": {"s": {"x": 1}, "y": 2}}
    column = "s" if name == "struct without fields" else "o"
    table = pa.table({"truth": pa.array(range(ROWS)), column: pa.array([values[name]] * ROWS, kinds[name])})
    features = table_of(iris, {}).select(iris.features)
    for feature in iris.features:
        table = table.append_column(feature, features[feature])
    fields = [field.with_nullable(field.name in iris.features) for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), file, store_schema=name == "list of size 0")
    if name == "struct without fields":
        without_the_child(file, name, b"\x18\x06schema", 6)
    elif name == "within a struct":
        without_the_child(file, name, b"\x18\x01o", 2)
    for command in (["score", "--output", tmp_path / "out"], ["check"]):
        result = scoreline(*command, "--bundle", iris.bundle, "--input", file)
        assert result.code == 65, result.err
        assert f"in.parquet: column {column!r} is " in result.message
        assert "no structs without fields and no lists of size 0" in result.message
        assert "--keys" in result.message
        assert "bundle_loaded" not in result.err
    words = ["--output", tmp_path / "out", "--keys", "truth", "--max-rejects", 3]
    assert scoreline("score", "--bundle", iris.bundle, "--input", file, *words).code == 0
    assert scoreline("verify", tmp_path / "out").code == 0


@pytest.mark.parametrize("stored_by", ["arrow", "another program"])
def test_uuid_and_json_are_carried(scoreline: Command, iris: Example, tmp_path: Path, stored_by: str) -> None:
    """As DuckDB and Iceberg write them, without an Arrow schema: types and logical types equal those of the input."""
    ids = pa.array([bytes([n]) * 16 for n in range(ROWS)], pa.uuid())
    keys = {
        "id": ids,
        "doc": pa.array(['{"a": 1}', None, "[]"] * 4, pa.json_()),
        "ids": pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), ids),
    }
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    pq.write_table(table_of(iris, keys), file, store_schema=stored_by == "arrow")
    words = ["--bundle", iris.bundle, "--input", file, "--output", out, "--max-rejects", 3]
    assert scoreline("score", *words).code == 0
    assert scoreline("verify", out).code == 0
    before, part, rejects = (
        pq.read_table(file),
        pq.read_table(out / "in.parquet"),
        rejects_of(out / "_rejects/in.arrow"),
    )
    assert before.schema.field("id").type == pa.uuid()
    for name in keys:
        assert part.schema.field(name).type == rejects.schema.field(name).type == before.schema.field(name).type
        assert (comparable(part[name]), comparable(rejects[name])) == (
            rows(before, name, GOOD),
            rows(before, name, BAD),
        )
    columns = map(pq.ParquetFile(out / "in.parquet").schema.column, range(3))
    kinds = {column.path: str(column.logical_type) for column in columns}
    assert kinds == {"id": "UUID", "doc": "JSON", "ids.list.element": "UUID"}


@pytest.mark.parametrize("registered", [False, True])
def test_extension_types_of_others(scoreline: Command, iris: Example, tmp_path: Path, registered: bool) -> None:
    """An unregistered type is carried as its storage type, with its name, so that a program with the type can read it
    from the output."""
    file, out = tmp_path / "in.parquet", tmp_path / "out"
    money = pa.ExtensionArray.from_storage(Money(), pa.array(range(ROWS)))
    pq.write_table(table_of(iris, {"price": money}), file)
    words = ["--bundle", iris.bundle, "--input", file, "--output", out, "--max-rejects", 3]
    if registered:
        pa.register_extension_type(Money())
    try:
        assert scoreline("score", *words).code == 0
        assert scoreline("verify", out).code == 0
        if not registered:
            assert pq.read_table(out / "in.parquet")["price"].to_pylist() == GOOD
            pa.register_extension_type(Money())
        part, rejects = pq.read_table(out / "in.parquet"), rejects_of(out / "_rejects/in.arrow")
    finally:
        pa.unregister_extension_type("example.money")
    assert part.schema.field("price").type == rejects.schema.field("price").type == Money()
    assert (part["price"].to_pylist(), rejects["price"].to_pylist()) == (GOOD, BAD)

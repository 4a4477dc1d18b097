"""Arrow arrays of any type at up to three levels of nesting, for hypothesis: a type and a seed are drawn, and the rows
contain extreme values, nulls, empty values and NaN."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

_DAYS = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]
_TIMES = [dt.time(), dt.time(23, 59, 59)]
_WORDS = ["", "a", "a", 'é\n\x00,"', "longer than a view holds within"]
_BYTES = [b"", b"a", b"\xff\x00", b"longer than a view holds within"]
_FLOATS = [0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf")]
_ZONES = [None, "UTC", "Europe/Berlin", "+05:30"]


def _integers(arrow_type: pa.DataType) -> list[int]:
    signed = pa.types.is_signed_integer(arrow_type)
    top = 2 ** (arrow_type.bit_width - signed) - 1
    return [0, 1, top, -top - 1 if signed else 2]


def _instants(unit: str) -> list[dt.datetime]:
    ends = [dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)]
    if unit == "ns":  # with a range from 1677 to 2262
        ends = [dt.datetime(1700, 1, 1), dt.datetime(2262, 1, 1)]
    return [*ends, dt.datetime(1969, 12, 31, 23, 59, 59)]


def _plain_leaves() -> dict[pa.DataType, list[Any]]:
    """Types without children that a Parquet file can contain, with values."""
    integers = [make() for make in (pa.int8, pa.int16, pa.int32, pa.int64, pa.uint8, pa.uint16, pa.uint32, pa.uint64)]
    decimals = [pa.decimal32(7, 2), pa.decimal64(15, 3), pa.decimal128(30, 2), pa.decimal256(60, 4)]
    units = ("s", "ms", "us", "ns")
    return {
        pa.null(): [None],
        pa.bool_(): [True, False],
        **{arrow_type: _integers(arrow_type) for arrow_type in integers},
        pa.float16(): [np.float16(value) for value in _FLOATS],
        pa.float32(): _FLOATS,
        pa.float64(): [*_FLOATS, 5e-324],
        **{arrow_type: [Decimal("0.00"), Decimal("-9.99"), Decimal("12345.67")] for arrow_type in decimals},
        **{make(): _WORDS for make in (pa.string, pa.large_string, pa.string_view)},
        **{make(): _BYTES for make in (pa.binary, pa.large_binary, pa.binary_view)},
        pa.binary(3): [b"\x00\x00\x00", b"abc"],
        pa.date32(): _DAYS,
        pa.date64(): _DAYS,
        pa.time32("s"): _TIMES,
        pa.time32("ms"): _TIMES,
        pa.time64("us"): _TIMES,
        pa.time64("ns"): _TIMES,
        **{pa.timestamp(unit, zone): _instants(unit) for unit in units for zone in _ZONES},
        **{pa.duration(unit): [dt.timedelta(), dt.timedelta(days=-5), dt.timedelta(seconds=7)] for unit in units},
        pa.dictionary(pa.int8(), pa.string()): _WORDS,
        pa.dictionary(pa.uint32(), pa.binary()): _BYTES,
        pa.dictionary(pa.int32(), pa.string(), ordered=True): _WORDS,
    }


_DICTIONARY = r"dictionary<values=(\w+), indices=\w+, ordered=\d>"
LEAVES = _plain_leaves()
#: Extension types that other programs write, with storage values.
EXTENSIONS: dict[pa.DataType, list[Any]] = {
    pa.uuid(): [bytes(16), b"0123456789abcdef"],
    pa.json_(): ["null", '{"a": [1]}'],
    pa.json_(pa.large_string()): ["1"],
    pa.bool8(): [0, 1],
    pa.opaque(pa.binary(), "money", "another database"): _BYTES,
}
Maker = Callable[[int, np.random.Generator], pa.Array]


def _mask(rows: int, rng: np.random.Generator) -> pa.Array:
    return pa.array(rng.random(rows) < 0.3, pa.bool_())


def _leaf(arrow_type: pa.DataType) -> Maker:
    values = {**LEAVES, **EXTENSIONS}[arrow_type]

    def make(rows: int, rng: np.random.Generator) -> pa.Array:
        drawn = [None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(rows)]
        if isinstance(arrow_type, pa.BaseExtensionType):
            return arrow_type.wrap_array(pa.array(drawn, arrow_type.storage_type))
        return pa.array(drawn, arrow_type)

    return make


def _without_nulls(array: pa.Array) -> pa.Array:
    """Drop nulls, since the keys of maps are never null."""
    known = array.is_valid().to_pylist()
    return pa.concat_arrays([array.slice(0, 0), *(array.slice(at, 1) for at, there in enumerate(known) if there)])


def _lists(name: str, child: Maker) -> Maker:
    def make(rows: int, rng: np.random.Generator) -> pa.Array:
        lengths = rng.integers(0, 3, rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values, mask = child(int(offsets[-1]), rng), _mask(rows, rng)
        match name:
            case "list":
                return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=mask)
            case "large_list":
                return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, mask=mask)
            case "list_view":
                where, size = pa.array(offsets[:-1], pa.int32()), pa.array(lengths, pa.int32())
                return pa.ListViewArray.from_arrays(where, size, values, mask=mask)
            case _:
                where, size = pa.array(offsets[:-1], pa.int64()), pa.array(lengths, pa.int64())
                return pa.LargeListViewArray.from_arrays(where, size, values, mask=mask)

    return make


def _fixed_lists(child: Maker, size: int) -> Maker:
    def make(rows: int, rng: np.random.Generator) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(child(rows * size, rng), size, mask=_mask(rows, rng))

    return make


def _structs(children: list[Maker]) -> Maker:
    def make(rows: int, rng: np.random.Generator) -> pa.Array:
        arrays = [child(rows, rng) for child in children]
        return pa.StructArray.from_arrays(arrays, [f"f{n}" for n in range(len(arrays))], mask=_mask(rows, rng))

    return make


def _maps(child: Maker) -> Maker:
    def make(rows: int, rng: np.random.Generator) -> pa.Array:
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 3, rows))])
        keys = pa.array([f"k{n}" for n in range(int(offsets[-1]))], pa.string())
        offsets_or_null = [None if rng.random() < 0.3 else int(offset) for offset in offsets[:-1]]
        return pa.MapArray.from_arrays(
            pa.array([*offsets_or_null, offsets[-1]], pa.int32()), keys, child(len(keys), rng)
        )

    return make


def makers(*, extensions: bool = True) -> st.SearchStrategy[Maker]:
    """Makers of arrays of one type, drawn from all types that a Parquet file can contain, nested up to three levels."""
    leaves = st.sampled_from([*LEAVES, *(EXTENSIONS if extensions else ())]).map(_leaf)

    def nested(child: st.SearchStrategy[Maker]) -> st.SearchStrategy[Maker]:
        return st.one_of(
            st.builds(_lists, st.sampled_from(["list", "large_list", "list_view", "large_list_view"]), child),
            st.builds(_fixed_lists, child, st.integers(1, 2)),
            st.builds(_structs, st.lists(child, min_size=1, max_size=2)),
            st.builds(_maps, child),
        )

    one, two = nested(leaves), nested(nested(leaves))
    return st.one_of(leaves, one, two, nested(nested(nested(leaves))))


def arrays(rows: int, made: st.SearchStrategy[Maker] | None = None) -> st.SearchStrategy[pa.Array]:
    """An array with this number of rows."""
    made = makers() if made is None else made
    return st.builds(lambda make, seed: make(rows, np.random.default_rng(seed)), made, st.integers(0, 2**32 - 1))


def comparable(array: pa.Array | pa.ChunkedArray) -> list[str]:
    """The values as text, to compare arrays of different types: NaN equals NaN, and -0.0 differs from 0.0."""
    return [repr(value) for value in array.to_pylist()]


def written_type(arrow_type: pa.DataType) -> str:
    """The promised type of a key in a part, as text: in nested types, views become large types and dictionaries become
    values."""
    if not pa.types.is_nested(arrow_type):
        return carried_type(arrow_type)
    large = words(arrow_type).replace("string_view", "large_string").replace("binary_view", "large_binary")
    return re.sub(_DICTIONARY, r"\1", large)


def carried_type(arrow_type: pa.DataType) -> str:
    """The promised type of a key of `score_table`, as text: dictionaries have indices of 32 bits at least."""
    flat = pa.types.is_dictionary(arrow_type)
    return words(arrow_type).replace("indices=int8", "indices=int32") if flat else words(arrow_type)


def rejected_type(arrow_type: pa.DataType) -> str:
    """The type of a column in a file of rejects, as text: dictionaries become values."""
    return re.sub(_DICTIONARY, r"\1", words(arrow_type))


def words(arrow_type: pa.DataType) -> str:
    """A type as text, without the names of map entries, which do not matter."""
    return re.sub(r" \('\w*'\)", "", str(arrow_type))

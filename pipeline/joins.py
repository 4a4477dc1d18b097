"""Key columns of two files → one common type in which keys are equal exactly if their values are; or an error.

These types can be joined, besides equal ones: integers of any width and sign; floats of any width; integers with
floats, if no float is above 2^53 (float32: 2^24); decimals of any scale, also with integers; text, and bytes, in any
layout; dates; times of any unit, naive with naive and zoned with zoned, as instants. CSV cells and path values have no
type: they are read in the type of the other side. Everything else is refused, as pandas does: text with numbers, dates
with times, decimals with floats, naive times with zoned ones. Does not import torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .arrays import to_numpy
from .arrow_types import is_bytes
from .errors import DataError, one_line, printable
from .plain import exact_below, is_text, plain

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MOST_DIGITS = 76
_AS_CSV = ", or write the labels as CSV, whose cells are read in the type of the output's key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """A key column. `where`: the file, and `arrow_type`: its type there, for messages; `untyped`: its text is from a
    CSV or a path."""

    column: pa.Array
    name: str
    where: str
    arrow_type: pa.DataType | None = None
    untyped: bool = False

    @property
    def described(self) -> str:
        """The column, described for messages."""
        type_name = "text without a type" if self.untyped else str(self.arrow_type or self.column.type)
        return f"key {self.name!r} of {self.where} ({type_name})"


def comparable(left: Keys, right: Keys) -> tuple[pa.Array, pa.Array]:
    """Convert both columns to one type that compares them exactly. A row is null if it has no key, or if no value of
    the other side's type equals it. NaN is not a key.

    Raises:
        DataError: types that cannot be compared exactly, or a cell that is not a value of the other side's type.
    """
    try:
        one, other = plain(left.column), plain(right.column)
        if left.untyped and not right.untyped:
            one = _read(one, other.type, left, right)
        elif right.untyped and not left.untyped:
            other = _read(other, one.type, right, left)
        convert = _conversion(one.type, other.type)
        if convert is None:
            raise _unlike(left, right)
        for keys, column, beside in ((left, one, other), (right, other, one)):
            if pa.types.is_floating(column.type) and pa.types.is_integer(beside.type):
                _refuse_inexact(keys, column, right if keys is left else left)
        return convert(one), convert(other)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{left.described} and {right.described} cannot be compared: {one_line(error)}") from error


def _unlike(left: Keys, right: Keys) -> DataError:
    nested = [keys for keys in (left, right) if pa.types.is_nested(plain(keys.column).type)]
    if nested:
        return DataError(f"{nested[0].described} is nested; only numbers, text, bytes, dates and times can be joined")
    return DataError(
        f"{left.described} and {right.described} have types that cannot be compared exactly; cast one to the other's"
        f" type when it is written{'' if left.untyped or right.untyped else _AS_CSV}"
    )


def _refuse_inexact(keys: Keys, column: pa.Array, other: Keys) -> None:
    """Refuse floats so large that several integers round to them."""
    doubles = column.cast(pa.float64())
    inexact = pc.and_(pc.greater_equal(pc.abs(doubles), float(exact_below(column.type))), pc.is_finite(doubles))
    if pc.any(inexact).as_py():
        value = doubles[pc.index(inexact, True).as_py()].as_py()
        raise DataError(
            f"{keys.described} contains {value!r}, a float so large that it may be any of several integers of"
            f" {other.described}; write it as integers"
        )


Convert = Callable[[pa.Array], pa.Array]


def _conversion(one: pa.DataType, other: pa.DataType) -> Convert | None:
    """Converts columns of both types to a common one; None if there is none."""
    both = (one, other)
    types = pa.types
    if any(types.is_null(t) for t in both):  # one side has no keys at all
        return lambda column: pa.nulls(len(column), pa.int64())
    if all(is_text(t) for t in both) or all(is_bytes(t) for t in both):
        return plain
    if all(types.is_boolean(t) for t in both):
        return lambda column: column
    if all(types.is_integer(t) or types.is_floating(t) for t in both):
        return _numbers(one, other)
    if all(types.is_decimal(t) or types.is_integer(t) for t in both):
        return _decimals(one, other)
    if all(types.is_date(t) for t in both):
        return lambda column: column.cast(pa.timestamp("ms"))
    if all(types.is_timestamp(t) for t in both) and (one.tz is None) == (other.tz is None):
        return _times(one, other)
    if all(types.is_duration(t) for t in both) or all(types.is_time(t) for t in both):
        return _times(one, other)
    return None


def _numbers(one: pa.DataType, other: pa.DataType) -> Convert:
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return _doubles
    unsigned = pa.uint64() in (one, other) and not (pa.types.is_floating(one) or pa.types.is_floating(other))
    common = pa.uint64() if unsigned else pa.int64()

    def convert(column: pa.Array) -> pa.Array:
        if pa.types.is_floating(column.type):
            column = column.cast(pa.float64())
            fits = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(1 << 53)))
        elif common == pa.uint64() and not pa.types.is_unsigned_integer(column.type):
            fits = pc.greater_equal(column, pa.scalar(0, column.type))
        elif common == pa.int64() and column.type == pa.uint64():
            fits = pc.less(column, pa.scalar(2**63, pa.uint64()))
        else:
            return column.cast(common)
        return pc.if_else(fits, column, None).cast(common)

    return convert


def _doubles(column: pa.Array) -> pa.Array:
    """float64, with −0 as 0 and NaN as null."""
    doubles = pc.add(column.cast(pa.float64()), 0.0)
    return pc.if_else(pc.is_nan(doubles), None, doubles)


def _decimals(one: pa.DataType, other: pa.DataType) -> Convert | None:
    scale = max(_scale(one), _scale(other))
    digits = max(_digits(one) - _scale(one), _digits(other) - _scale(other)) + scale
    if digits > _MOST_DIGITS:
        return None
    common = pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)

    def convert(column: pa.Array) -> pa.Array:
        if pa.types.is_integer(column.type):
            column = column.cast(pa.decimal128(_digits(column.type), 0))
        return column.cast(common)

    return convert


def _scale(arrow_type: pa.DataType) -> int:
    return 0 if pa.types.is_integer(arrow_type) else int(arrow_type.scale)


def _digits(arrow_type: pa.DataType) -> int:
    return 20 if pa.types.is_integer(arrow_type) else int(arrow_type.precision)


def _times(one: pa.DataType, other: pa.DataType) -> Convert:
    """int64 in the finer unit; null where a time in the coarser unit is out of range."""
    finest = max(_PER_SECOND[one.unit], _PER_SECOND[other.unit])

    def convert(column: pa.Array) -> pa.Array:
        factor = finest // _PER_SECOND[column.type.unit]
        numbers = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()).cast(pa.int64())
        limit = np.iinfo(np.int64).max // factor
        fits = pc.and_(pc.less_equal(numbers, limit), pc.greater_equal(numbers, -limit))
        return pc.multiply(pc.if_else(fits, numbers, None), factor) if factor > 1 else numbers

    return convert


def _read(cells: pa.Array, arrow_type: pa.DataType, untyped: Keys, typed: Keys) -> pa.Array:
    """Cells in the type of the other side; an empty cell is a key only if that type is text."""
    if is_text(arrow_type) or pa.types.is_null(arrow_type):
        return cells
    try:
        cells = pc.if_else(pc.equal(cells, ""), None, cells)
        read = cells.cast(arrow_type)
    except pa.ArrowNotImplementedError as error:
        raise _unlike(untyped, typed) from error
    except pa.ArrowException as error:
        cell = _first_unreadable(cells, arrow_type)
        raise DataError(
            f"{untyped.described} contains {printable(str(cell.as_py())[:40])!r}, which cannot be read as"
            f" {typed.described}; correct that row, or leave it out"
        ) from error
    if pa.types.is_floating(arrow_type):
        large = pc.greater_equal(pc.abs(read.cast(pa.float64())), float(exact_below(arrow_type))).fill_null(False)
        for index in np.flatnonzero(to_numpy(large)).tolist():
            cell, value = cells[index].as_py(), read[index].as_py()
            if np.isfinite(value) and Decimal(cell) != Decimal(value):
                raise DataError(
                    f"{untyped.described} contains {cell!r}, which no {arrow_type} of {typed.described} equals; write"
                    " both as integers or text"
                )
    return read


def _first_unreadable(cells: pa.Array, arrow_type: pa.DataType) -> pa.Scalar:
    """The first cell that cannot be cast, by bisection; there is one."""
    while len(cells) > 1:
        half = len(cells) // 2
        try:
            cells.slice(0, half).cast(arrow_type)
            cells = cells.slice(half)
        except pa.ArrowException:
            cells = cells.slice(0, half)
    return cells[0]

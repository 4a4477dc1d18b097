"""Columns of true labels → indices of labels, yes or no, numbers. Independent of predictions.

A row has no label if its value is null; NaN, as pandas writes a missing number; or an empty text, as a CSV writes a
missing cell, unless the bundle has a label `""`. Any other value must equal a label of the bundle exactly.
"""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import to_numpy
from ..errors import DataError, UsageError, listed, one_line
from ..plain import exact_below, is_text, plain

_YES = {"true", "1", "yes", "1.0"}
_NO = {"false", "0", "no", "0.0"}
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", re.ASCII)
#: No label has more digits, and Python converts no more than 4,300.
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*", re.ASCII)
#: The index of a missing label.
_NONE = -1
Known = NDArray[np.bool_]


class LabelError(DataError):
    """A column of labels, or a value in it, is not what it should be.

    Attributes:
        column: its name.
        row: the position of the first such value in the column; None if it is the column as a whole.
    """

    def __init__(self, message: str, *, column: str, row: int | None = None) -> None:
        super().__init__(message)
        self.column, self.row = column, row

    def at(self, row: int) -> Self:
        """The same error, with the value at another position."""
        return type(self)(str(self), column=self.column, row=row)


def refuse_repeated(columns: Sequence[str]) -> None:
    """Raise UsageError if a column of labels is given twice."""
    for at, column in enumerate(columns):
        if column in columns[:at]:
            raise UsageError(f"--label {column!r} is given twice; pass one column for each label or target")


def located(error: LabelError, where: str, first_row: int = 0, of_rows: NDArray[np.int64] | None = None) -> DataError:
    """The error with the name of the file, and the number of the row, in front.

    Args:
        first_row: the number in the file of the first row that the column may have values of.
        of_rows: the row of each value, counted from there; None: they are of all rows.
    """
    if error.row is None:
        return DataError(f"{where}: {error}")
    row = error.row if of_rows is None else int(of_rows[error.row])
    return DataError(f"{where}: row {first_row + row}: {error}")


def label_indices(column: Any, labels: Sequence[Any], name: str) -> tuple[NDArray[np.int64], Known]:
    """The index of each row's label in `labels`, `[rows]`, and which rows have one.

    Labels are compared exactly: text by its characters, numbers as numbers, even if a file stores them as text, and
    never through a float that could equal several of them.

    Raises:
        LabelError: a value that is not a label, or could be several of them; names the first.
    """
    find = _finder(labels)

    def convert(value: Any, arrow_type: pa.DataType) -> int:
        try:
            found = find(value, arrow_type)
        except _SeveralError as error:
            what = f"label column {name!r} ({arrow_type}) contains {_short(value)}"
            raise _BadValueError(f"{what}, which {error}") from error
        if len(found) == 1:
            return found[0]
        if found:
            both = " and ".join(repr(labels[at]) for at in found[:2])
            what = f"label column {name!r} ({arrow_type}) contains {_short(value)}"
            raise _BadValueError(f"{what}, which could be {both}; write it as text")
        if value == "":
            return _NONE
        is_index = all(isinstance(label, str) for label in labels) and str(value) in map(str, range(len(labels)))
        raise _BadValueError(
            f"label column {name!r} contains {_short(value)}, which is not a label; the labels are {_shown(labels)}"
            f"{'; write the label itself, not its index' if is_index else ''}"
        )

    return _mapped(column, convert, name, f"the labels are {_shown(labels)}")


def binary_truths(columns: Sequence[Any], names: Sequence[str]) -> tuple[NDArray[np.bool_], Known]:
    """Yes or no for each label, `[rows, labels]`, and which rows have all of them.

    Raises:
        LabelError: a value is neither yes nor no; names the first.
    """
    truths, known = [], np.ones(len(columns[0]), dtype=np.bool_)
    for column, name in zip(columns, names, strict=True):

        def convert(value: Any, arrow_type: pa.DataType, name: str = name) -> int:  # noqa: ARG001
            truth = _yes_or_no(value)
            if truth is None and value != "":
                raise _BadValueError(
                    f"label column {name!r} contains {_short(value)}, which is neither yes (1, true) nor no (0, false)"
                )
            return _NONE if truth is None else int(truth)

        indices, there = _mapped(column, convert, name, "each value must be yes or no (1, 0)")
        truths.append(indices == 1)
        known &= there
    return np.stack(truths, axis=1), known


def true_numbers(column: Any, name: str) -> tuple[NDArray[np.float64], Known]:
    """The true values, `[rows]`, and which rows have one.

    Raises:
        LabelError: a column is not numeric, or a number is infinite; names the first.
    """
    array = plain(column)
    try:
        numbers = _numbers(array)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        message = f"label column {name!r} is {column.type}, not numeric: {one_line(error)}"
        raise LabelError(message, column=name, row=_first_failing(array, _numbers)) from error
    values = np.asarray(to_numpy(numbers.fill_null(float("nan"))), dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise LabelError(
            f"label column {name!r} contains {values[infinite[0]]}; a true value must be a finite number or null",
            column=name,
            row=int(infinite[0]),
        )
    return values, ~np.isnan(values)


def _numbers(array: pa.Array) -> pa.Array:
    """As float64; an empty text is null."""
    if is_text(array.type):
        trimmed = pc.utf8_trim_whitespace(array)
        array = pc.if_else(pc.equal(array, ""), None, trimmed)
    return array.cast(pa.float64(), safe=False)


def _first_failing(array: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int | None:
    """The first value that cannot be converted, where some value cannot; None if the type cannot."""

    def fails(start: int, stop: int) -> bool:
        try:
            convert(array.slice(start, stop - start))
        except (pa.ArrowException, UnicodeDecodeError):
            return True
        return False

    if fails(0, 0):
        return None
    start, stop = 0, len(array)
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if fails(start, middle) else (middle, stop)
    return start


def _mapped(
    column: Any, convert: Callable[[Any, pa.DataType], int], name: str, wanted: str
) -> tuple[NDArray[np.int64], Known]:
    """The converted value of each row, and which rows have one. Calls `convert` once for each distinct value, in order
    of appearance."""
    arrow_type = column.type
    try:
        array = plain(column)
        if not _is_plain_value(array.type):  # such as dates: compared as text
            array = array.cast(pa.large_string())
        encoded = array.dictionary_encode()
        values = encoded.dictionary.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise LabelError(f"label column {name!r} is {arrow_type}; {wanted}: {one_line(error)}", column=name) from error
    indices = to_numpy(encoded.indices.fill_null(len(values)).cast(pa.int64()))
    results = np.full(len(values) + 1, _NONE, dtype=np.int64)
    for at, value in enumerate(values):
        try:
            results[at] = _NONE if _is_missing(value) else convert(value, array.type)
        except _BadValueError as error:
            raise LabelError(str(error), column=name, row=int((indices == at).argmax())) from error
    found = results[indices]
    known = found != _NONE
    return np.where(known, found, 0), known


def _is_plain_value(arrow_type: pa.DataType) -> bool:
    return bool(
        is_text(arrow_type)
        or pa.types.is_null(arrow_type)
        or pa.types.is_boolean(arrow_type)
        or pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_decimal(arrow_type)
    )


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


class _BadValueError(Exception):
    """A value that is not a label."""


class _SeveralError(Exception):
    """A value that equals more than one label, such as a large float."""


Finder = Callable[[Any, pa.DataType], list[int]]


def _finder(labels: Sequence[Any]) -> Finder:
    """value, type → the indices of the labels that it may equal."""
    if all(isinstance(label, bool) for label in labels):
        return lambda value, _: [at for at, label in enumerate(labels) if _yes_or_no(value) is label]
    if all(isinstance(label, str) for label in labels):
        return _text_finder({label: at for at, label in enumerate(labels)})
    return _number_finder(labels)


def _text_finder(by_text: dict[str, int]) -> Finder:
    def find(value: Any, arrow_type: pa.DataType) -> list[int]:
        return [by_text[word] for word in _words(value, arrow_type) if word in by_text]

    return find


def _words(value: Any, arrow_type: pa.DataType) -> list[str]:
    """The possible spellings of a value as a label: text unchanged, a number without leading zeros."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool):
        return [str(value).lower(), str(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < exact_below(arrow_type):
        return [str(int(value)), str(value)]
    return [str(np.float32(value) if arrow_type == pa.float32() else value)]


def _number_finder(labels: Sequence[Any]) -> Finder:
    integers = all(isinstance(label, int) for label in labels)
    by_number = {label: at for at, label in enumerate(labels)}
    singles = {} if integers else {float(np.float32(label)): at for at, label in enumerate(labels)}

    def find(value: Any, arrow_type: pa.DataType) -> list[int]:
        number = _number(value)
        if number is None:
            return []
        if integers and isinstance(number, float):
            _refuse_inexact(number, arrow_type)
        index = by_number.get(number)  # Python compares numbers of different types exactly
        if index is None and isinstance(number, Decimal) and not integers:
            index = by_number.get(float(number))
        if index is None and arrow_type in (pa.float32(), pa.float16()):
            index = singles.get(float(np.float32(number)))
        return [] if index is None else [index]

    return find


def _number(value: Any) -> int | float | Decimal | None:
    """A value, with text parsed as a number; None if it is not one."""
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    if _INTEGER.fullmatch(value):
        return int(value)
    return Decimal(value.strip()) if _NUMBER.fullmatch(value) else None


def _refuse_inexact(value: float, arrow_type: pa.DataType) -> None:
    if abs(value) >= exact_below(arrow_type) and math.isfinite(value):
        raise _SeveralError("is a float so large that it may be any of several integers; write integers or text")


def _yes_or_no(value: Any) -> bool | None:
    if not isinstance(value, str):
        return True if value == 1 else False if value == 0 else None
    word = value.lower()
    return True if word in _YES else False if word in _NO else None


def _short(value: Any) -> str:
    """A value as Python writes it, of at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _shown(labels: Sequence[Any]) -> str:
    return listed(labels, 8)

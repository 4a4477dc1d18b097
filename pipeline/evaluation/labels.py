"""Columns that hold what is right → places of labels, yes or no, numbers. Knows nothing of predictions.

What is no label: a null; NaN, as pandas writes a missing number; and an empty text, as a CSV writes a missing cell,
where the bundle has no label `""`. All else is a label of the bundle, to the last character and digit, or refused.
"""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import to_numpy
from ..errors import DataError, one_line
from ..plain import exact_below, is_text, plain

_YES = {"true", "1", "yes", "1.0"}
_NO = {"false", "0", "no", "0.0"}
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
#: The place of a value that is no label.
_NONE = -1
Known = NDArray[np.bool_]


def places_of(column: Any, labels: Sequence[Any], name: str) -> tuple[NDArray[np.int64], Known]:
    """The place of each row's label among `labels`, `[rows]`, and which rows have one.

    Labels are compared exactly: text by its characters, numbers as numbers, also where a file holds them as text, and
    never by way of a float that could not tell two of them apart.

    Raises:
        DataError: a value that is no label, or could be several of them; names the first.
    """
    find = _finder(labels)

    def place(value: Any, kind: pa.DataType) -> int:
        try:
            found = find(value, kind)
        except _SeveralError as error:
            raise DataError(f"label column {name!r} ({kind}) holds {value!r}, which {error}") from error
        if len(found) == 1:
            return found[0]
        if found:
            both = " and ".join(repr(labels[at]) for at in found[:2])
            raise DataError(f"label column {name!r} ({kind}) holds {value!r}, which could be {both}; write it as text")
        if value == "":
            return _NONE
        raise DataError(f"label column {name!r} holds {value!r}, which is no label; there are {_shown(labels)}")

    return _mapped(column, place, name, f"the labels are {_shown(labels)}")


def truths_of(columns: Sequence[Any], names: Sequence[str]) -> tuple[NDArray[np.bool_], Known]:
    """Yes or no for each label, `[rows, labels]`, and which rows have all of them.

    Raises:
        DataError: a value that is neither yes nor no.
    """
    truths, known = [], np.ones(len(columns[0]), dtype=np.bool_)
    for column, name in zip(columns, names, strict=True):

        def place(value: Any, kind: pa.DataType, name: str = name) -> int:  # noqa: ARG001
            truth = _yes_or_no(value)
            if truth is None and value != "":
                raise DataError(
                    f"label column {name!r} holds {value!r}, which is neither yes (1, true) nor no (0, false)"
                )
            return _NONE if truth is None else int(truth)

        places, there = _mapped(column, place, name, "is to say yes or no (1, 0)")
        truths.append(places == 1)
        known &= there
    return np.stack(truths, axis=1), known


def numbers_of(column: Any, name: str) -> tuple[NDArray[np.float64], Known]:
    """The right values, `[rows]`, and which rows have one.

    Raises:
        DataError: a column that holds no numbers, or a number that is infinite.
    """
    try:
        array = plain(column)
        if is_text(array.type):
            trimmed = pc.utf8_trim_whitespace(array)
            array = pc.if_else(pc.equal(array, ""), None, trimmed)
        numbers = array.cast(pa.float64(), safe=False)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"label column {name!r} is {column.type}, no numbers: {one_line(error)}") from error
    values = np.asarray(to_numpy(numbers.fill_null(float("nan"))), dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"label column {name!r} holds {values[infinite[0]]}, and what is right is to be a finite number or null"
        )
    return values, ~np.isnan(values)


def _mapped(
    column: Any, place: Callable[[Any, pa.DataType], int], name: str, wanted: str
) -> tuple[NDArray[np.int64], Known]:
    """What `place` says of each row's value, and which rows have one. It is asked once for each different value, in the
    order in which they come."""
    kind = column.type
    try:
        array = plain(column)
        if not _is_plain_value(array.type):  # dates, say, by the text that stands for them
            array = array.cast(pa.large_string())
        encoded = array.dictionary_encode()
        values = encoded.dictionary.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"label column {name!r} is {kind}, and {wanted}: {one_line(error)}") from error
    places = np.array([_NONE if _is_missing(value) else place(value, array.type) for value in values], dtype=np.int64)
    indices = to_numpy(encoded.indices.fill_null(len(values)).cast(pa.int64()))
    found = np.append(places, _NONE)[indices]
    known = found != _NONE
    return np.where(known, found, 0), known


def _is_plain_value(kind: pa.DataType) -> bool:
    return bool(
        is_text(kind)
        or pa.types.is_null(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


class _SeveralError(Exception):
    """A value that stands for more than one label, as a large float does for integers."""


Finder = Callable[[Any, pa.DataType], list[int]]


def _finder(labels: Sequence[Any]) -> Finder:
    """value, type → the places of the labels that it may be."""
    if all(isinstance(label, bool) for label in labels):
        return lambda value, _: [at for at, label in enumerate(labels) if _yes_or_no(value) is label]
    if all(isinstance(label, str) for label in labels):
        return _text_finder({label: at for at, label in enumerate(labels)})
    return _number_finder(labels)


def _text_finder(by_text: dict[str, int]) -> Finder:
    def find(value: Any, kind: pa.DataType) -> list[int]:
        return [by_text[word] for word in _words(value, kind) if word in by_text]

    return find


def _words(value: Any, kind: pa.DataType) -> list[str]:
    """How a value may be written as a label: text as it is, a number without leading zeros."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool):
        return [str(value).lower(), str(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < exact_below(kind):
        return [str(int(value)), str(value)]
    return [str(np.float32(value) if kind == pa.float32() else value)]


def _number_finder(labels: Sequence[Any]) -> Finder:
    integers = all(isinstance(label, int) for label in labels)
    by_number = {label: at for at, label in enumerate(labels)}
    singles = {} if integers else {float(np.float32(label)): at for at, label in enumerate(labels)}

    def find(value: Any, kind: pa.DataType) -> list[int]:
        number = _number(value)
        if number is None:
            return []
        if integers and isinstance(number, float):
            _refuse_inexact(number, kind)
        place = by_number.get(number)  # Python compares numbers of unlike types exactly
        if place is None and isinstance(number, Decimal) and not integers:
            place = by_number.get(float(number))
        if place is None and kind in (pa.float32(), pa.float16()):
            place = singles.get(float(np.float32(number)))
        return [] if place is None else [place]

    return find


def _number(value: Any) -> int | float | Decimal | None:
    """A value, or the number that a text stands for."""
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    if _INTEGER.fullmatch(value):
        return int(value)
    return Decimal(value.strip()) if _NUMBER.fullmatch(value) else None


def _refuse_inexact(value: float, kind: pa.DataType) -> None:
    if abs(value) >= exact_below(kind) and math.isfinite(value):
        raise _SeveralError("is a float so large that it may be any of several integers; write integers or text")


def _yes_or_no(value: Any) -> bool | None:
    if not isinstance(value, str):
        return True if value == 1 else False if value == 0 else None
    word = value.lower()
    return True if word in _YES else False if word in _NO else None


def _shown(labels: Sequence[Any]) -> str:
    return ", ".join(map(repr, list(labels)[:8]))

"""Checks the features of a record batch: which rows can be scored, and which are rejected for what reason.

`check_columns` matches columns by name, once per file; `check_batch` converts values to float64, batch by batch.
Conversions are exact: an integer above 2^53 is a reject. A decimal is rounded to the nearest float64. Text is parsed as
a number only if it is from a CSV cell or the name of a folder. Does not import torch.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...schemas.inputs import Feature
from ..arrays import stretches, to_arrow
from ..arrow_types import Problems
from ..options import CsvDialect
from ..records import CheckedBatch, Lists, Reject
from .cells.integers import integer_cells
from .cells.lists import list_cells
from .cells.numbers import number_cells
from .cells.raw import raw_cells
from .cells.text import image_cells, text_cells, without_null_words
from .cells.together import numbers_together, suspects

#: The default dialect.
DIALECT = CsvDialect()
NONE_UNREADABLE: Mapping[int, str] = MappingProxyType({})
#: The types of features whose cells are numbers.
NUMBERS = frozenset(("float64", "float32", "int64", "bool"))


def check_batch(
    batch: pa.RecordBatch,
    features: Sequence[Feature],
    *,
    text: Collection[str] = (),
    dialect: CsvDialect = DIALECT,
    unreadable: Mapping[int, str] = NONE_UNREADABLE,
) -> CheckedBatch:
    """Convert every feature to float64, and reject the rows in which a feature has no finite, exact value.

    Args:
        batch: the rows as read; columns that are not features are ignored.
        features: in the bundle's order; if several are bad in a row, the first one gives the reason.
        text: the columns whose text is parsed as numbers.
        dialect: the dialect of that text.
        unreadable: the positions of the rows that could not be parsed, with the reason.

    Returns:
        `columns[name]`: float64 `[kept]`, an Arrow array (of int64 for integers, of strings for text and paths, of
        bytes for images), or lists. There are no infinities, and NaN or null only if the feature keeps missing values.
        Numbers that need no conversion by cell are rows of one array (`arrays.stretches`). Do not write to them.
    """
    columns: dict[str, Any] = {}
    rejects: list[Reject] = []
    bad = np.zeros(batch.num_rows, dtype=bool)
    if unreadable:
        positions = np.array(list(unreadable), dtype=np.int64)
        bad[positions] = True
        rejects.append(Reject(positions=positions, stage="read", column="", reasons=tuple(unreadable.values())))
    numbers = numbers_together(batch, [one.name for one in features if one.dtype in NUMBERS and one.name not in text])
    suspected = suspects(numbers, features)
    for feature in features:
        if feature.name in numbers and feature.name not in suspected:
            columns[feature.name] = numbers[feature.name]
            continue
        array = batch.column(feature.name)
        if feature.name in text:
            array = without_null_words(array, dialect)
        values, problems = _cells(array, feature, dialect.decimal if feature.name in text else None)
        columns[feature.name] = numbers.get(feature.name, values)
        fresh = [(position, reason) for position, reason in problems if not bad[position]]
        if fresh:
            positions = np.array([position for position, _ in fresh], dtype=np.int64)
            bad[positions] = True
            rejects.append(
                Reject(
                    positions=positions,
                    stage="check",
                    column=feature.name,
                    reasons=tuple(reason for _, reason in fresh),
                )
            )
    if not rejects:
        return CheckedBatch(batch=batch, columns=columns, kept=None)
    kept = np.flatnonzero(~bad)
    columns = some_rows(columns, kept)
    return CheckedBatch(batch=batch, columns=columns, kept=kept, rejects=tuple(rejects))


def _cells(array: pa.Array, feature: Feature, decimal: str | None) -> tuple[Any, Problems]:
    """The values of a column. `decimal`: the decimal mark of text that is parsed, None if text is not."""
    match feature.dtype:
        case "text":
            return text_cells(array, feature)
        case "image":
            return image_cells(array)
        case "integer":
            return integer_cells(array, feature, decimal=decimal)
        case "numbers" | "integers" | "words":
            return list_cells(array, feature)
        case "raw":
            return raw_cells(array, feature, decimal=decimal)
    return number_cells(array, feature, decimal=decimal)


def some_rows(columns: Mapping[str, Any], kept: NDArray[np.int64]) -> dict[str, Any]:
    """The rows of checked columns of any type at some indices."""
    found: list[Any] = []
    for where, values in stretches(list(columns.values())):
        found += list(values[:, kept]) if isinstance(where, slice) else [_some_of_one(values, kept)]
    return dict(zip(columns, found, strict=True))


def _some_of_one(column: Any, kept: NDArray[np.int64]) -> Any:
    if isinstance(column, pa.Array):
        return column.take(to_arrow(kept))
    return column.only(kept) if isinstance(column, Lists) else column[kept]

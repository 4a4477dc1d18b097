"""A record batch and the bundle's features → the rows that can be scored, and the rejects with their reasons.

Binds columns by name, once per file (`check_columns`), and values to float64, batch by batch (`check_batch`).
Exactly or not at all: an integer beyond 2^53 is a reject, a decimal goes to the nearest float64, text is no
number unless it came from a CSV cell or a folder's name. Knows nothing of torch.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...schemas.inputs import Feature
from ..arrays import to_arrow
from ..options import CsvDialect
from ..records import CheckedBatch, Lists, Reject
from .cells.lists import list_cells
from .cells.numbers import number_cells
from .cells.text import image_cells, text_cells, without_null_words

#: How text is written, unless a job says otherwise.
DIALECT = CsvDialect()
NONE_UNREADABLE: Mapping[int, str] = MappingProxyType({})


def check_batch(
    batch: pa.RecordBatch,
    features: Sequence[Feature],
    *,
    text: Collection[str] = (),
    dialect: CsvDialect = DIALECT,
    unreadable: Mapping[int, str] = NONE_UNREADABLE,
) -> CheckedBatch:
    """Take every feature to float64, and leave out the rows in which one has no finite, exact value.

    Args:
        batch: the rows as read; columns that are no feature are not looked at.
        features: in the bundle's order; where several are bad in a row, the first gives the reason.
        text: the columns whose text is read as numbers.
        dialect: how that text is written.
        unreadable: the places of rows that no sense could be made of, with the reason.

    Returns:
        `columns[name]`: float64 `[kept]`, an Arrow array of strings for a text feature or paths, of bytes for images,
        or lists, without infinities; NaN
        or null only where the feature keeps what is missing. A view into `batch` where the column was float64
        already: not to be written to.
    """
    columns: dict[str, Any] = {}
    rejects: list[Reject] = []
    bad = np.zeros(batch.num_rows, dtype=bool)
    if unreadable:
        positions = np.array(list(unreadable), dtype=np.int64)
        bad[positions] = True
        rejects.append(Reject(positions=positions, stage="read", column="", reasons=tuple(unreadable.values())))
    for feature in features:
        array = batch.column(feature.name)
        if feature.name in text:
            array = without_null_words(array, dialect)
        if feature.dtype == "text":
            values, problems = text_cells(array, feature)
        elif feature.dtype == "image":
            values, problems = image_cells(array)
        elif feature.dtype in ("numbers", "words"):
            values, problems = list_cells(array, feature)
        else:
            values, problems = number_cells(array, feature, decimal=dialect.decimal if feature.name in text else None)
        columns[feature.name] = values
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
    columns = {name: some_rows(values, kept) for name, values in columns.items()}
    return CheckedBatch(batch=batch, columns=columns, kept=kept, rejects=tuple(rejects))


def some_rows(values: Any, kept: NDArray[np.int64]) -> Any:
    """Of a checked column those at places in order, whatever it holds."""
    if isinstance(values, pa.Array):
        return values.take(to_arrow(kept))
    return values.only(kept) if isinstance(values, Lists) else values[kept]

"""Cells with text, bytes or paths, unchanged."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....schemas.inputs import Feature
from ...arrays import text_array, to_numpy
from ...arrow_types import Problems, is_text
from ...nested import converted, without_dictionaries
from ...options import CsvDialect
from .casts import equals, nulls_where


def without_null_words(array: pa.Array, dialect: CsvDialect) -> pa.Array:
    """Replace empty cells of a CSV file and the configured null words by nulls."""
    if not dialect.nulls:
        return nulls_where(equals(array, ""), array)
    return nulls_where(pc.is_in(array, text_array(["", *dialect.nulls]).cast(array.type)), array)


def text_cells(array: pa.Array, feature: Feature) -> tuple[pa.Array, Problems]:
    """Text, unchanged."""
    array = converted(array, without_dictionaries(array.type)).cast(pa.large_string())
    if not array.null_count or feature.nulls == "keep":
        return array, []
    nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
    return array, [(position, "is null") for position in nulls]


def image_cells(array: pa.Array) -> tuple[pa.Array, Problems]:
    """Bytes and paths, unchanged."""
    array = converted(array, without_dictionaries(array.type))
    if array.type in (pa.string_view(), pa.binary_view(), pa.null()):  # Arrow's take does not support these
        array = array.cast(pa.large_string() if is_text(array.type) else pa.large_binary())
    nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
    return array, [(position, "is null") for position in nulls]

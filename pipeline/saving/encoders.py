"""Determines the codes of a fitted scikit-learn encoder by calling it, so that its options (unknown and infrequent
categories) need no second implementation. Does not import scikit-learn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...schemas.steps import Encoding
from ..errors import BundleError, listed
from ..inputs.cells.numbers import EXACT

Code = Callable[[np.ndarray], float]


def encoding(fitted: Any, at: int, code: Code) -> Encoding:
    """The codes of a fitted encoder for each category of a feature, an unknown category, and a missing value.

    Args:
        code: a row of the encoder's output → the code.
    """
    return encodings(fitted, at, [code])[0]


def encodings(fitted: Any, at: int, codes: Sequence[Code]) -> list[Encoding]:
    """Several encodings of one feature, each by its own code."""
    own = list(fitted.categories_[at])
    categories = [value for value in own if not _is_none(value)]
    text = any(isinstance(value, str) for value in categories)
    known = _probe(fitted, at, categories) if categories else np.empty((0, 0))
    # An encoder distinguishes None and NaN, which are both null in a file; the one that it was fitted with is used.
    missing = None if any(value is None for value in own) else np.nan
    unknown_row = _probe(fitted, at, ["\x00 never seen \x00" if text else _unknown_number(categories)])
    missing_row = _probe(fitted, at, [missing])
    found = []
    for code in codes:
        known_codes = _coded(known, code)
        if known_codes is None or "nan" in known_codes:
            raise BundleError(f"{type(fitted).__name__} does not encode its own categories, {listed(categories, 3)}")
        unknown_code, missing_code = _coded(unknown_row, code), _coded(missing_row, code)
        encoded = Encoding(
            categories=_as_data(categories, text),
            codes=known_codes,
            unknown=None if unknown_code is None else unknown_code[0],
            missing=None if missing_code is None else missing_code[0],
        )
        found.append(encoded)
    return found


def _probe(fitted: Any, at: int, values: Sequence[Any]) -> np.ndarray | None:
    """The output for some values, with the other features at their first category; None if the encoder raises."""
    first = [next((v for v in own if not _is_none(v)), np.nan) for own in fitted.categories_]
    rows = np.array([first] * len(values), dtype=object)
    rows[:, at] = values
    objects = any(np.asarray(own).dtype == object for own in fitted.categories_)
    if not objects and not any(isinstance(v, str) or is_large(v) for own in fitted.categories_ for v in own):
        rows = rows.astype(np.float64)
    try:
        out = fitted.transform(_framed(fitted, rows))
    except (ValueError, TypeError):
        return None
    return np.asarray(out.toarray() if hasattr(out, "toarray") else out)


def _coded(rows: np.ndarray | None, code: Code) -> list[Any] | None:
    if rows is None:
        return None
    codes = [code(row) for row in rows]
    return ["nan" if np.isnan(found) else found for found in codes]


def _framed(fitted: Any, rows: np.ndarray) -> Any:
    if not hasattr(fitted, "feature_names_in_"):
        return rows
    import pandas as pd  # scikit-learn checks the names that a transformer was fitted with

    columns = zip(fitted.feature_names_in_, rows.T, strict=True)
    return pd.DataFrame({name: pd.Series(values, dtype=rows.dtype) for name, values in columns})


def _as_data(categories: Sequence[Any], text: bool) -> list[Any]:
    """Text, float64, or exact integers where one is beyond float64."""
    if text:
        return [str(value) for value in categories]
    rounded = [value for value in categories if isinstance(value, float) and EXACT < abs(value) < 2.0**64]
    if rounded:
        raise BundleError(
            f"the encoder has the category {rounded[0]:.17g}, a float beyond ±2^53, which several integers share:"
            " scikit-learn converts integers with missing values to floats; fit it on int64 without missing values, on"
            " objects, or on text"
        )
    if not any(map(is_large, categories)):
        return [float(value) for value in categories]
    if max(categories) >= 2**63:
        raise BundleError(
            f"category {max(categories)} of the encoder is above 2^63 − 1, the largest id that is supported"
        )
    return [int(value) for value in categories]


def is_large(value: Any) -> bool:
    """Whether a category is an integer that float64 cannot hold exactly."""
    return isinstance(value, int | np.integer) and abs(int(value)) > EXACT


def _unknown_number(categories: Sequence[Any]) -> float:
    if any(map(is_large, categories)):
        taken = set(categories)
        return next(number for number in range(len(taken) + 1) if number not in taken)
    return max((float(value) for value in categories), default=0.0) + 1.5


def _is_none(value: Any) -> bool:
    return value is None or value != value

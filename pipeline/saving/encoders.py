"""Determines the codes of a fitted scikit-learn encoder by calling it, so that its options (unknown and infrequent
categories) need no second implementation. Does not import scikit-learn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...schemas.steps import Encoding
from ..errors import BundleError, listed


def encoding(fitted: Any, at: int, code: Callable[[np.ndarray], float]) -> Encoding:
    """The codes of a fitted encoder for each category of a feature, an unknown category, and a missing value."""
    own = list(fitted.categories_[at])
    categories = [value for value in own if not _is_none(value)]
    text = any(isinstance(value, str) for value in categories)
    known = _probe(fitted, at, categories, code) if categories else []
    if known is None or "nan" in known:
        raise BundleError(f"{type(fitted).__name__} does not encode its own categories, {listed(categories, 3)}")
    # An encoder distinguishes None and NaN, which are both null in a file; the one that it was fitted with is used.
    missing = None if any(value is None for value in own) else np.nan
    unknown_code = _probe(fitted, at, ["\x00 never seen \x00" if text else _unknown_number(categories)], code)
    missing_code = _probe(fitted, at, [missing], code)
    return Encoding(
        categories=[str(v) for v in categories] if text else [float(v) for v in categories],
        codes=known,
        unknown=None if unknown_code is None else unknown_code[0],
        missing=None if missing_code is None else missing_code[0],
    )


def _probe(fitted: Any, at: int, values: Sequence[Any], code: Callable[[np.ndarray], float]) -> list[Any] | None:
    """The codes for some values, with the other features at their first category; None if the encoder raises."""
    first = [next((v for v in own if not _is_none(v)), np.nan) for own in fitted.categories_]
    rows = np.array([first] * len(values), dtype=object)
    rows[:, at] = values
    if all(not isinstance(v, str) for own in fitted.categories_ for v in own) and None not in values:
        rows = rows.astype(np.float64)
    try:
        out = fitted.transform(_framed(fitted, rows))
    except (ValueError, TypeError):
        return None
    matrix = np.asarray(out.toarray() if hasattr(out, "toarray") else out)
    codes = [code(row) for row in matrix]
    return ["nan" if np.isnan(found) else found for found in codes]


def _framed(fitted: Any, rows: np.ndarray) -> Any:
    if not hasattr(fitted, "feature_names_in_"):
        return rows
    import pandas as pd  # scikit-learn checks the names that a transformer was fitted with

    columns = zip(fitted.feature_names_in_, rows.T, strict=True)
    return pd.DataFrame({name: pd.Series(values, dtype=rows.dtype) for name, values in columns})


def _unknown_number(categories: Sequence[Any]) -> float:
    return max((float(value) for value in categories), default=0.0) + 1.5


def _is_none(value: Any) -> bool:
    return value is None or value != value

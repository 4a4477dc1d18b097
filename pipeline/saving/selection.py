"""The columns that a ColumnTransformer selects and drops. Reads attributes of fitted objects without importing
scikit-learn.
"""

from typing import Any

import numpy as np


def chosen(columns: Any, inputs: list[str], fitted: Any) -> list[str]:
    """The columns that one transformer of a ColumnTransformer selects, by name, position, slice or mask.

    Args:
        inputs: the current names of the columns that the ColumnTransformer was fitted on, in order.
    """
    by_name = dict(zip(map(str, getattr(fitted, "feature_names_in_", inputs)), inputs, strict=True))
    if isinstance(columns, str):
        return [by_name[columns]]
    if isinstance(columns, slice):
        names = list(by_name)
        start, stop = columns.start, columns.stop
        if isinstance(start, str) or isinstance(stop, str):
            first = names.index(start) if start is not None else 0
            last = names.index(stop) + 1 if stop is not None else len(names)
            return inputs[first:last]
        return inputs[columns]
    listed = [columns] if isinstance(columns, int | np.integer) else list(columns)
    if listed and all(isinstance(entry, bool | np.bool_) for entry in listed):
        return [name for name, wanted in zip(inputs, listed, strict=True) if wanted]
    return [by_name[str(entry)] if isinstance(entry, str) else inputs[entry] for entry in listed]


def dropped(transformer: Any) -> set[str]:
    """The columns that a transformer was fitted on by name but does not need: those that a ColumnTransformer drops,
    also as the first step of a Pipeline. scikit-learn itself transforms frames without them."""
    if type(transformer).__name__ == "Pipeline" and transformer.steps:
        return dropped(transformer.steps[0][1])
    if not hasattr(transformer, "transformers_") or not hasattr(transformer, "feature_names_in_"):
        return set()
    names = [str(name) for name in transformer.feature_names_in_]
    needed = {
        name
        for _, inner, columns in transformer.transformers_
        if not (isinstance(inner, str) and inner == "drop")
        for name in chosen(columns, names, transformer)
    }
    return set(names) - needed

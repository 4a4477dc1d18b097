"""Transformers that were fitted on more columns than the model's features, as when a scaler was fitted on a whole
frame: those that treat each column by itself are taken for the features alone. Reads and copies attributes of fitted
objects without importing scikit-learn.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .parameters import Parameters

#: The attributes of each column, by the kind of transformer.
_BY_COLUMN = {
    "StandardScaler": ("mean_", "scale_", "var_"),
    "MinMaxScaler": ("min_", "scale_", "data_min_", "data_max_", "data_range_"),
    "MaxAbsScaler": ("scale_", "max_abs_"),
    "RobustScaler": ("center_", "scale_"),
    "SimpleImputer": ("statistics_",),
}
#: Others that make one column of one.
_COLUMN_TO_COLUMN = {
    *("PowerTransformer", "QuantileTransformer", "Binarizer", "KBinsDiscretizer", "OrdinalEncoder"),
    *("TargetEncoder", "FunctionTransformer"),
}


def names_of(transformer: Any) -> list[str] | None:
    """The names of the columns that a transformer was fitted on; None if it was fitted without names."""
    names = (
        transformer.columns if isinstance(transformer, Parameters) else getattr(transformer, "feature_names_in_", None)
    )
    if names is None:  # a Pipeline or FeatureUnion asks its first transformer only, which may be a word
        inner = [one for _, one in _nested(transformer) if one is not None and not isinstance(one, str)]
        named = [names_of(one) for one in (inner if _is_union(transformer) else inner[:1])]
        return next((found for found in named if found is not None), None)
    return [str(name) for name in names]


def narrowed(transformer: Any, names: Sequence[str]) -> Any | None:
    """A copy that was fitted on these columns alone, in the order of the original; None if other columns may affect
    them, or if the transformer is unknown."""
    fitted = names_of(transformer)
    if fitted is None:
        return None
    return _copy(transformer, [at for at, name in enumerate(fitted) if name in set(names)], len(fitted))


def keeps_columns(transformer: Any) -> bool:
    """Whether every column that a transformer returns, if they are as many as it takes, is one of these."""
    if _is_pipeline(transformer):
        return all(one is None or one == "passthrough" or keeps_columns(one) for _, one in transformer.steps)
    return isinstance(transformer, Parameters) or type(transformer).__name__ in {*_BY_COLUMN, *_COLUMN_TO_COLUMN}


def _copy(transformer: Any, columns: list[int], width: int) -> Any | None:
    if isinstance(transformer, Parameters):
        numbers = {name: values[columns] for name, values in transformer.numbers.items()}
        names = None if transformer.columns is None else tuple(transformer.columns[at] for at in columns)
        return Parameters(kind=transformer.kind, numbers=numbers, clip=transformer.clip, columns=names)
    if isinstance(transformer, str) and transformer == "passthrough":
        return transformer
    if _is_pipeline(transformer):
        steps = [(name, _copy(one, columns, width)) for name, one in transformer.steps]
        if any(one is None for _, one in steps):
            return None
        made = copy.copy(transformer)
        made.steps = steps
        return made
    kind = type(transformer).__name__
    if kind not in _BY_COLUMN or getattr(transformer, "n_features_in_", None) != width:
        return None
    if kind == "SimpleImputer" and not _keeps_columns(transformer):
        return None
    made = copy.copy(transformer)
    for name in _BY_COLUMN[kind]:
        values = getattr(transformer, name, None)
        if isinstance(values, np.ndarray):
            setattr(made, name, values[columns])
    made.n_features_in_ = len(columns)
    if hasattr(transformer, "feature_names_in_"):
        made.feature_names_in_ = transformer.feature_names_in_[columns]
    return made


def _is_pipeline(transformer: Any) -> bool:
    return type(transformer).__name__ == "Pipeline" and bool(transformer.steps)


def _is_union(transformer: Any) -> bool:
    return type(transformer).__name__ == "FeatureUnion"


def _nested(transformer: Any) -> list[tuple[str, Any]]:
    if _is_pipeline(transformer):
        return list(transformer.steps)
    return list(transformer.transformer_list) if _is_union(transformer) else []


def _keeps_columns(imputer: Any) -> bool:
    """Whether an imputer returns exactly the columns it was fitted on, so that positions behind it do not change."""
    empty = any(value != value for value in imputer.statistics_)  # NaN: dropped, unless they are kept
    return not imputer.add_indicator and (imputer.keep_empty_features or not empty)

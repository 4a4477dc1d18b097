"""Fitted scikit-learn transformers → steps. Reads attributes of fitted objects without importing scikit-learn, and
calls encoders for their codes, so that options (unknown and infrequent categories, drops) need no second
implementation. Independent of tensors and files.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...schemas.steps import (
    AnyStep,
    BinarizeStep,
    BinsStep,
    ImputeStep,
    MaxAbsStep,
    MinMaxStep,
    MissingStep,
    NormalizeStep,
    OneHotStep,
    OrdinalStep,
    PolynomialStep,
    PowerStep,
    QuantileStep,
    RobustStep,
    StandardStep,
)
from ..errors import BundleError, counted, dtype_text, one_line
from .encoders import encoding, encodings
from .functions import read_function
from .narrowing import names_of
from .parameters import Parameters
from .projections import read_pca, read_svd
from .selection import chosen, dropped
from .splines import read_splines
from .step_list import StepList, as_floats, number_of
from .unsupported import reason_for
from .vectorizers import VECTORIZERS, read_tfidf, read_vectorizer, takes_text


class Compiler(StepList):
    """Converts transformers to steps."""

    def add(self, transformer: Any, inputs: Sequence[str]) -> list[str]:
        """Append the steps of a fitted transformer of these columns. Returns its output columns, in order.

        Raises:
            BundleError: it is not fitted, was fitted on another number of columns, or is not supported.
        """
        kind = type(transformer).__name__
        if transformer == "drop":
            return []
        if transformer == "passthrough" or transformer is None:
            return list(inputs)
        internal = isinstance(transformer, Parameters)
        if kind not in _READERS or not (internal or type(transformer).__module__.startswith("sklearn.")):
            raise BundleError(f"transformer {kind} cannot be saved{reason_for(kind)}; supported are {SUPPORTED}")
        if kind not in _UNCOUNTED and not hasattr(transformer, "n_features_in_"):
            raise BundleError(f"{kind} is not fitted; call fit before saving")
        expected = getattr(transformer, "n_features_in_", len(inputs))
        if expected != len(inputs):
            raise BundleError(f"{kind} was fitted on {counted(expected, 'column')}, but gets {len(inputs)}")
        return _READERS[kind](self, transformer, list(inputs))


def _standard(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    mean = as_floats(fitted.mean_) if fitted.with_mean else None
    scale = as_floats(fitted.scale_) if fitted.with_std else None
    return to.step(StandardStep, inputs, len(inputs), mean=mean, scale=scale)


def _robust(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    outputs = to.step(
        RobustStep,
        inputs,
        len(inputs),
        center=as_floats(fitted.center_) if fitted.with_centering else None,
        scale=as_floats(fitted.scale_) if fitted.with_scaling else None,
    )
    return outputs


def _minmax(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    clip = tuple(map(float, fitted.feature_range)) if fitted.clip else None
    return to.step(
        MinMaxStep, inputs, len(inputs), scale=as_floats(fitted.scale_), min=as_floats(fitted.min_), clip=clip
    )


def _maxabs(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    clip = (-1.0, 1.0) if getattr(fitted, "clip", False) else None  # exists since scikit-learn 1.8
    return to.step(MaxAbsStep, inputs, len(inputs), scale=as_floats(fitted.scale_), clip=clip)


def _power(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    outputs = to.step(PowerStep, inputs, len(inputs), method=fitted.method, lambdas=as_floats(fitted.lambdas_))
    return to.add(fitted._scaler, outputs) if fitted.standardize else outputs


def _quantile(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    return to.step(
        QuantileStep,
        inputs,
        len(inputs),
        distribution=fitted.output_distribution,
        references=as_floats(fitted.references_),
        quantiles=as_floats(fitted.quantiles_.T),
    )


def _normalizer(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    return to.step(NormalizeStep, inputs, len(inputs), norm=fitted.norm)


def _binarizer(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    return to.step(BinarizeStep, inputs, len(inputs), threshold=float(fitted.threshold))


def _bins(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    if fitted.dtype not in (None, np.float64):
        dtype = dtype_text(np.dtype(fitted.dtype))
        raise BundleError(f"KBinsDiscretizer with dtype {dtype} cannot be saved; fit it without dtype")
    edges = [as_floats(column[1:-1]) for column in fitted.bin_edges_]
    outputs = to.step(BinsStep, inputs, len(inputs), edges=edges)
    return outputs if fitted.encode == "ordinal" else to.add(fitted._encoder, outputs)


def _polynomial(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    return to.step(PolynomialStep, inputs, len(fitted.powers_), powers=fitted.powers_.tolist())


def _refuse_marker(fitted: Any) -> None:
    marker = fitted.missing_values
    if not (marker is None or (isinstance(marker, float) and np.isnan(marker)) or str(marker) == "<NA>"):
        kind = type(fitted).__name__
        raise BundleError(f"{kind} with missing_values {marker!r} cannot be saved; use NaN, None or NA")


def _indicator(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    _refuse_marker(fitted)
    flagged = [inputs[at] for at in fitted.features_]
    if fitted.error_on_new and len(flagged) < len(inputs):
        raise BundleError(
            "MissingIndicator with error_on_new=True cannot be saved, since it fails on missing values of other"
            ' columns; fit it with error_on_new=False or features="all"'
        )
    return to.step(MissingStep, flagged, len(flagged)) if flagged else []


def _imputer(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    _refuse_marker(fitted)
    statistics = list(fitted.statistics_)
    kept = [at for at, value in enumerate(statistics) if fitted.keep_empty_features or value == value]
    if any(statistics[at] is None for at in kept):
        raise BundleError(
            "SimpleImputer puts None in place of missing values: its missing_values is NaN, and None is another value;"
            " fit it with missing_values=None"
        )
    values = [statistics[at] if to.is_text(inputs[at]) else number_of(statistics[at]) for at in kept]
    outputs = to.step(ImputeStep, [inputs[at] for at in kept], len(kept), values=values) if kept else []
    to.mark_text([output for at, output in zip(kept, outputs, strict=True) if to.is_text(inputs[at])])
    if fitted.add_indicator:
        flagged = [inputs[at] for at in fitted.indicator_.features_]
        outputs += to.step(MissingStep, flagged, len(flagged)) if flagged else []
    return outputs


def _ordinal(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    def code(at: int) -> Callable[[np.ndarray], float]:
        return lambda row: float(row[at])

    found = [encoding(fitted, at, code(at)) for at in range(len(inputs))]
    return to.step(OrdinalStep, inputs, len(inputs), encodings=found)


def _one_hot(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    widths = [int(width) for width in fitted._n_features_outs]
    starts = np.cumsum([0, *widths])

    def code(at: int) -> Callable[[np.ndarray], float]:
        def of(row: np.ndarray) -> float:
            own = row[starts[at] : starts[at + 1]]
            return float(np.argmax(own)) if own.any() else -1.0

        return of

    found = [encoding(fitted, at, code(at)) for at in range(len(inputs))]
    return to.step(OneHotStep, inputs, sum(widths), encodings=found, widths=widths)


def _target(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    """One encoding for each feature and, if there are more than two, for each class: all classes of a feature first."""
    classes = len(fitted.classes_) if fitted.target_type_ == "multiclass" else 1

    def code(column: int) -> Callable[[np.ndarray], float]:
        return lambda row: float(row[column])

    found = [
        encodings(fitted, at, [code(at * classes + offset) for offset in range(classes)]) for at in range(len(inputs))
    ]
    by_class = [to.step(OrdinalStep, inputs, len(inputs), encodings=list(each)) for each in zip(*found, strict=True)]
    return [outputs[at] for at in range(len(inputs)) for outputs in by_class]


def _pipeline(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    for _, transformer in fitted.steps:
        inputs = to.add(transformer, inputs)
    return inputs


def _column_transformer(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    if not hasattr(fitted, "transformers_"):
        raise BundleError("ColumnTransformer is not fitted; call fit before saving")
    outputs = []
    for name, transformer, columns in fitted.transformers_:
        names = chosen(columns, inputs, fitted)
        if names and transformer != "drop":
            outputs += _with_weight(to, fitted, name, to.add(transformer, names))
    return to.distinct(outputs)


def _union(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:
    outputs = []
    for name, transformer in fitted.transformer_list:
        outputs += _with_weight(to, fitted, name, to.add(transformer, inputs))
    return to.distinct(outputs)


def _with_weight(to: Compiler, fitted: Any, name: str, made: list[str]) -> list[str]:
    """What one of several transformers makes, times its weight."""
    weight = (fitted.transformer_weights or {}).get(name)
    return made if weight is None else to.weighted(made, weight)


def _parameters(to: Compiler, given: Parameters, inputs: list[str]) -> list[str]:
    makes: dict[str, Callable[..., AnyStep]] = {
        "standard": StandardStep,
        "robust": RobustStep,
        "minmax": MinMaxStep,
        "maxabs": MaxAbsStep,
    }
    numbers: dict[str, Any] = {name: values.tolist() for name, values in given.numbers.items()}
    if given.kind in ("minmax", "maxabs"):
        numbers["clip"] = given.clip
    return to.step(makes[given.kind], inputs, len(inputs), **numbers)


def _selector(to: Compiler, fitted: Any, inputs: list[str]) -> list[str]:  # noqa: ARG001 - it adds no step
    return [name for name, kept in zip(inputs, fitted.get_support(), strict=True) if kept]


#: Transformers that do not always know a number of columns.
_UNCOUNTED = ("Pipeline", "ColumnTransformer", "FeatureUnion", "FunctionTransformer", *VECTORIZERS)
_SELECTORS = (
    "GenericUnivariateSelect", "RFE", "RFECV", "SelectFdr", "SelectFpr", "SelectFromModel", "SelectFwe", "SelectKBest",
    "SelectPercentile", "SequentialFeatureSelector", "VarianceThreshold",
)  # fmt: skip
_READERS: dict[str, Callable[[Compiler, Any, list[str]], list[str]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _minmax,
    "MaxAbsScaler": _maxabs,
    "RobustScaler": _robust,
    "Normalizer": _normalizer,
    "PowerTransformer": _power,
    "QuantileTransformer": _quantile,
    "Binarizer": _binarizer,
    "KBinsDiscretizer": _bins,
    "PolynomialFeatures": _polynomial,
    "SplineTransformer": read_splines,
    "SimpleImputer": _imputer,
    "MissingIndicator": _indicator,
    "OrdinalEncoder": _ordinal,
    "OneHotEncoder": _one_hot,
    "TargetEncoder": _target,
    "FunctionTransformer": read_function,
    "PCA": read_pca,
    "IncrementalPCA": read_pca,
    "TruncatedSVD": read_svd,
    **dict.fromkeys(_SELECTORS, _selector),
    **dict.fromkeys(VECTORIZERS, read_vectorizer),
    "TfidfTransformer": read_tfidf,
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _union,
    "Parameters": _parameters,
}
SUPPORTED = ", ".join(name for name in _READERS if name != "Parameters")
#: Scalers of one column to one column: bound by name, and kept in the order of the features.
SCALER_NAMES = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
SCALERS = (*SCALER_NAMES, "Parameters")


def fitted_names(transformer: Any, features: Sequence[str]) -> list[str]:
    """The raw columns that a transformer was fitted on, in its own order: by name if it was fitted with names,
    otherwise all features. Includes columns that it drops, which need not be features.

    Raises:
        BundleError: it needs columns that are not features, or was fitted on another number of columns.
    """
    kind = type(transformer).__name__
    names = names_of(transformer) or list(features)
    unknown = [name for name in names if name not in {*features, *dropped(transformer)}]
    if unknown:
        others = f" (as are {counted(len(unknown) - 1, 'other column')})" if len(unknown) > 1 else ""
        raise BundleError(
            f"{kind} was fitted on column {unknown[0]!r}, which is not among the features{others}, and its output may"
            " depend on it; add it to the features, or fit again on the features alone"
        )
    count = getattr(transformer, "n_features_in_", len(names))
    if count != len(names):
        raise BundleError(
            f"{kind} was fitted on {counted(count, 'column')}, but there are {counted(len(names), 'feature')}; pass"
            " scaler=[(scaler, ['feature', ...])] with the columns that it was fitted on"
        )
    return names


def fitted_in_float32(transformer: Any) -> bool:
    """Whether any parameter of a transformer, or of those inside it, is float32."""
    if isinstance(transformer, list | tuple):
        return any(fitted_in_float32(inner) for inner in transformer)
    if not hasattr(transformer, "__dict__") or isinstance(transformer, type):
        return False
    values = vars(transformer).values()
    return any(
        value.dtype == np.float32 if isinstance(value, np.ndarray) else fitted_in_float32(value)
        for value in values
        if isinstance(value, np.ndarray | list | tuple) or hasattr(value, "transform")
    )


def transform(transformer: Any, frame: Any) -> np.ndarray:
    """A transformer's own output for raw rows, float64 `[rows, columns]`, for golden rows."""
    if takes_text(transformer):
        given: Any = frame.iloc[:, 0].tolist()
    else:
        given = frame if names_of(transformer) is not None else _matrix(frame)
    try:
        made = transformer.transform(given)
    except Exception as error:  # whatever the user's own objects raise
        raise BundleError(f"{type(transformer).__name__} fails on the sample: {one_line(error)}") from error
    made = made.toarray() if hasattr(made, "toarray") else made
    return np.asarray(made, dtype=np.float64)


def _matrix(frame: Any) -> np.ndarray:
    values: np.ndarray = frame.to_numpy()
    return values if values.dtype == object else values.astype(np.float64)

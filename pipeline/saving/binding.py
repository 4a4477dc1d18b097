"""The user's transformers and vocabularies → preprocessing steps, the columns that they produce for the model, and a
function that computes the same columns with the user's own objects, for golden rows. Independent of models.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ...schemas.heads import Rescale
from ...schemas.steps import AnyStep, Encoding, OrdinalStep, QuantileStep
from ..errors import BundleError, counted
from ..features.numeric import FUNCTIONS
from .fitted import SCALER_NAMES, SCALERS, Compiler, fitted_names, transform
from .narrowing import keeps_columns, names_of, narrowed
from .notes import say
from .parameters import Parameters
from .selection import dropped

if TYPE_CHECKING:
    import pandas as pd

Vocabularies = Mapping[str, Sequence[Any]]
#: What float32 instead of float64 may change, relative to 1 plus the number.
_ROUNDING = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """`columns`: the columns that the steps produce, in the model's order. `reference`: raw rows → float64
    `[rows, columns]`, computed by the user's own objects."""

    steps: tuple[AnyStep, ...]
    columns: tuple[str, ...]
    reference: Callable[["pd.DataFrame"], np.ndarray]


def bind(scaler: Any, features: Sequence[str], *, text: Sequence[str], vocabularies: Vocabularies) -> Binding:
    """Bind fitted transformers to the features.

    Args:
        scaler: None; one fitted transformer over all features that have no vocabulary, or over those it was fitted
            with by name; or a list of `(transformer, [feature, ...])`.
        text: the text features.
        vocabularies: the words of text features, or the integers of others; each token is a word's index in the list.

    Returns:
        The columns in the model's order. A scaler of one column to one column (Standard-, MinMax-, MaxAbs-,
        RobustScaler) keeps the order of the features; any other transformer determines the order itself; in a list, a
        transformer's columns take the position of its first feature.

    Raises:
        BundleError: a transformer is not fitted, was fitted on other columns, or is not supported; a text feature is
            not encoded.
    """
    unknown = [name for name in vocabularies if name not in set(features)]
    if unknown:
        raise BundleError(f"vocabularies names {unknown[0]!r}, which is not among the features")
    compiler = Compiler(features, text)
    slots: dict[str, list[str]] = {name: [name] for name in features}
    references: list[tuple[list[str], Callable[[pd.DataFrame], np.ndarray], bool]] = []
    for name, words in vocabularies.items():
        slots[name] = _vocabulary(compiler, name, words)
        references.append(([name], _lookup(name, list(words)), True))
    rest = [name for name in features if name not in vocabularies]
    whole = None
    for transformer, names, own in _pairs(scaler, rest):
        outputs = compiler.add(transformer, names)
        names = [name for name in names if name in slots]  # without dropped columns that are not features
        if not names:
            raise BundleError(f"{type(transformer).__name__} drops every column it was fitted on")
        each = type(transformer).__name__ in SCALERS
        if each:
            slots.update({name: [output] for name, output in zip(names, outputs, strict=True)})
        elif not isinstance(scaler, list | tuple) and len(names) == len(features):
            whole = outputs
        else:
            slots.update({name: [] for name in names} | {names[0]: outputs})
        if len(outputs) == len(names) and keeps_columns(transformer):
            _compare_order(transformer, names, features)
        references.append((names, _own(own, names), each))
    columns = whole if whole is not None else [column for name in features for column in slots[name]]
    bare = [name for name in columns if compiler.is_text(name)]
    if bare:
        raise BundleError(
            f"feature {bare[0]!r} is text, but is not encoded as numbers; list its words in the vocabularies of a"
            " Table, or use a scaler with an OrdinalEncoder or a OneHotEncoder"
        )
    return Binding(
        steps=tuple(compiler.steps),
        columns=tuple(columns),
        reference=_reference(references, features, whole is not None),
    )


def _pairs(scaler: Any, features: list[str]) -> list[tuple[Any, list[str], Any]]:
    """Each transformer, taken for the features if it was fitted on more columns; its columns; and the user's own."""
    if scaler is None:
        return []
    if not isinstance(scaler, list | tuple):
        _must_transform(scaler)
        return [_fitted_pair(scaler, features)]
    pairs = []
    seen: set[str] = set()
    for pair in scaler:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or isinstance(pair[1], str):
            raise BundleError("scaler must be a fitted transformer, or a list of (transformer, [feature, ...])")
        _must_transform(pair[0])
        listed = [str(name) for name in pair[1]]
        if isinstance(pair[0], Parameters) and pair[0].columns is not None:
            listed = [name for name in listed if name in set(features)]  # the file names its columns, not the user
        transformer, names, own = _fitted_pair(pair[0], listed)
        unknown = [name for name in listed if name not in set(features)]
        taken = set(names) & set(features)
        if unknown or seen & taken:
            name = unknown[0] if unknown else min(seen & taken)
            raise BundleError(f"{_title(pair[0])} uses {name!r}, which is {_why(bool(unknown))}")
        seen |= taken
        pairs.append((transformer, names, own))
    return pairs


def _fitted_pair(transformer: Any, columns: list[str]) -> tuple[Any, list[str], Any]:
    fitted = names_of(transformer)
    if fitted is not None and columns and set(columns) < set(fitted) and not dropped(transformer):
        narrow = narrowed(transformer, columns)
        if narrow is not None:
            return narrow, [name for name in fitted if name in set(columns)], transformer
    return transformer, fitted_names(transformer, columns), transformer


def _compare_order(transformer: Any, names: Sequence[str], features: Sequence[str]) -> None:
    """Say so if the model gets columns in another order than that of the features, or of those that a scaler was fitted
    on: often the other one is the model's."""
    keeps_features, own = type(transformer).__name__ in SCALERS, set(names)
    if keeps_features and len(names) < len(features):
        return
    wanted = [name for name in features if name in own]
    if wanted == names:  # unless another feature is between them
        wanted = list(features[(at := features.index(names[0])) : at + len(names)])
    differ = next(((one, other) for one, other in zip(wanted, names, strict=True) if one != other), None)
    if differ is not None:
        title, where = _title(transformer), f"({differ[0]!r} where it has {differ[1]!r})"
        say(
            f"the features are in another order than the columns that {title} was fitted on {where}: each is scaled by"
            " its own numbers, and the model gets them in the order of the features"
            if keeps_features
            else f"the model gets the columns of {title} together and in the order of its fit, which is not that of the"
            f" features {where}"
        )


def _title(transformer: Any) -> str:
    if isinstance(transformer, Parameters):
        return f"the {transformer.kind} scaler"
    return type(transformer).__name__


def _must_transform(transformer: Any) -> None:
    if not hasattr(transformer, "transform"):
        raise BundleError(f"a {type(transformer).__name__} cannot be saved as a scaler: it has no transform method")


def _why(unknown: bool) -> str:
    return "not among the features, or has a vocabulary" if unknown else "used by another transformer of the list"


def _vocabulary(compiler: Compiler, name: str, words: Sequence[Any]) -> list[str]:
    if isinstance(words, str) or compiler.is_text(name) != all(isinstance(word, str) for word in words):
        raise BundleError(
            f"feature {name!r} has a vocabulary, so it must be text in the sample, or integers if its words are"
        )
    encoding = Encoding(categories=list(words), codes=[float(at) for at in range(len(words))])
    return compiler.step(OrdinalStep, [name], 1, encodings=[encoding])


def _lookup(name: str, words: list[Any]) -> Callable[["pd.DataFrame"], np.ndarray]:
    tokens = {word: float(token) for token, word in enumerate(words)}

    def reference(frame: "pd.DataFrame") -> np.ndarray:
        unknown = [word for word in frame[name] if word not in tokens]
        if unknown:
            raise BundleError(f"the sample's column {name!r} contains {unknown[0]!r}, which is not in its vocabulary")
        return np.array([[tokens[word]] for word in frame[name]])

    return reference


def _own(transformer: Any, names: list[str]) -> Callable[["pd.DataFrame"], np.ndarray]:
    """The user's own transform of these columns. Columns that it was fitted on besides are filled with zeros."""
    fitted = names_of(transformer)
    if fitted is None or len(fitted) <= len(names) or dropped(transformer):
        return lambda frame: transform(transformer, frame[names])
    kept = [at for at, name in enumerate(fitted) if name in set(names)]
    return lambda frame: transform(transformer, frame[names].reindex(columns=fitted, fill_value=0.0))[:, kept]


def _reference(
    references: list[tuple[list[str], Callable[["pd.DataFrame"], np.ndarray], bool]],
    features: Sequence[str],
    whole: bool,
) -> Callable[["pd.DataFrame"], np.ndarray]:
    def reference(frame: "pd.DataFrame") -> np.ndarray:
        if whole:
            return references[-1][1](frame)
        slots: dict[str, np.ndarray] = {}
        for names, own, each in references:
            made = own(frame)
            if each:
                slots.update({name: made[:, [index]] for index, name in enumerate(names)})
            else:
                slots.update(dict.fromkeys(names, made[:, :0]) | {names[0]: made})
        parts = [slots[n] if n in slots else frame[[n]].to_numpy(dtype=np.float64) for n in features]
        return np.concatenate(parts, axis=1)

    return reference


def compare_precisions(binding: Binding, frame: "pd.DataFrame", wide: np.ndarray, float32: Sequence[str]) -> None:
    """Say so if a QuantileTransformer makes something else of float32 columns, as in training, than of float64, in
    which rows are scored: it does for values at the end of its range, of which a capped column has many.

    Args:
        frame: rows, as float64.
        wide: what the transformers make of them.
        float32: the columns that are float32 in the sample.
    """
    if not float32 or not any(isinstance(step, QuantileStep) for step in binding.steps):
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            narrow = binding.reference(frame.astype(dict.fromkeys(float32, np.float32)))
        except BundleError:  # other transformers may not take the rounded numbers
            return
        differ = np.argwhere(np.abs(narrow - wide) > _ROUNDING * (1 + np.abs(wide)))
    if len(differ):
        row, column = differ[0]
        say(
            f"of float32 columns, the scaler makes {narrow[row, column]:.4g} where it makes {wide[row, column]:.4g} of"
            f" the same numbers as float64, in which rows are scored (column {column} of its result, row {row} of the"
            " golden rows); train on float64 columns"
        )


def bind_target(scaler: Any, width: int) -> tuple[list[Rescale], Callable[[np.ndarray], np.ndarray]]:
    """A fitted target scaler → its inverse as data, and the user's own inverse.

    Raises:
        BundleError: the scaler is not supported, or was fitted on another number of targets.
    """
    kind = type(scaler).__name__
    if scaler is None:
        return [], lambda values: values
    if isinstance(scaler, Real) and not isinstance(scaler, bool):
        factor = float(scaler)
        if not 0 < factor < float("inf"):
            raise BundleError(f"scaler: {scaler} is not a scale factor; use a number above 0")
        return [Rescale(kind="maxabs", scale=[factor] * width)], lambda values: values * factor
    if kind == "FunctionTransformer":
        names = [name for name in FUNCTIONS if scaler.inverse_func is getattr(np, name)]
        if not names or scaler.inv_kw_args:
            raise BundleError(f"scaler: FunctionTransformer's inverse_func must be one of {', '.join(FUNCTIONS)}")
        return [Rescale(kind=names[0])], scaler.inverse_transform
    if kind not in SCALERS:
        raise BundleError(
            f"scaler: {kind} cannot be saved for targets; use one of {', '.join(SCALER_NAMES)}, FunctionTransformer, or"
            " a number that the target was divided by"
        )
    if getattr(scaler, "n_features_in_", None) != width:
        fitted = getattr(scaler, "n_features_in_", None)
        on = "" if fitted is None else f", but on {fitted}; one scaler serves all horizons and quantiles of a target"
        raise BundleError(f"scaler: {kind} was not fitted on {counted(width, 'target')}{on}")
    if isinstance(scaler, Parameters):
        shift = scaler.numbers.get("mean", scaler.numbers.get("center", scaler.numbers.get("min")))
        kept = {"scale": scaler.numbers["scale"].tolist()} | ({} if shift is None else {"shift": shift.tolist()})
        return [Rescale(kind=scaler.kind, **kept)], scaler.inverse_transform
    scale, shift = getattr(scaler, "scale_", None), None
    if kind == "StandardScaler":
        shift = scaler.mean_ if scaler.with_mean else None
        scale = scale if scaler.with_std else None
    elif kind == "RobustScaler":
        shift = scaler.center_ if scaler.with_centering else None
        scale = scale if scaler.with_scaling else None
    elif kind == "MinMaxScaler":
        shift = scaler.min_
    numbers = {"scale": scale, "shift": shift}
    kept = {name: np.asarray(v, dtype=np.float64).tolist() for name, v in numbers.items() if v is not None}
    names_of = {
        "StandardScaler": "standard",
        "RobustScaler": "robust",
        "MinMaxScaler": "minmax",
        "MaxAbsScaler": "maxabs",
    }
    return [Rescale(kind=names_of[kind], **kept)], scaler.inverse_transform

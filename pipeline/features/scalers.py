"""Fitted scalers: from scikit-learn objects to numbers, and the numbers applied in float64, by column name.

Reads attributes of fitted objects without importing scikit-learn. The arithmetic is scikit-learn's own, in its
order (dividing by a standard deviation is not multiplying by its inverse), so results are equal to
`transform` on float64 to the last bit. Knows nothing of tensors or files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.bundle import AnyStep, MaxAbsStep, MinMaxStep, RobustStep, StandardStep
from ..errors import BundleError

Column = NDArray[np.float64]
Columns = Mapping[str, Column]


def apply_steps(steps: Sequence[AnyStep], columns: Columns) -> dict[str, Column]:
    """Apply saved steps in order, in float64.

    Args:
        columns: float64 `[rows]` by feature name; not written to.

    Returns:
        The same names; a column no step names is handed on as it is.
    """
    prepared = dict(columns)
    for step in steps:
        for place, feature in enumerate(step.features):
            prepared[feature] = _scaled(step, place, prepared[feature])
    return prepared


def _scaled(step: AnyStep, place: int, values: Column) -> Column:
    match step:
        case StandardStep():
            return _shift_and_divide(values, step.mean, step.scale, place)
        case RobustStep():
            return _shift_and_divide(values, step.center, step.scale, place)
        case MinMaxStep():
            scaled = values * step.scale[place]
            scaled += step.min[place]
            return _clipped(scaled, step.clip)
        case MaxAbsStep():
            return _clipped(values / step.scale[place], step.clip)


def _shift_and_divide(values: Column, shift: list[float] | None, scale: list[float] | None, place: int) -> Column:
    if shift is not None:
        values = values - shift[place]
    if scale is not None:
        values = values / scale[place]
    return values


def _clipped(values: Column, bounds: tuple[float, float] | None) -> Column:
    return values if bounds is None else np.clip(values, *bounds)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedScaler:
    """A fitted scikit-learn scaler and the features it is over, in its own order."""

    scaler: Any
    features: tuple[str, ...]

    def transform(self, columns: Columns) -> dict[str, Column]:
        """scikit-learn's own `transform` on float64: the truth that golden rows come from."""
        matrix = np.column_stack([columns[name] for name in self.features]).astype(np.float64)
        if hasattr(self.scaler, "feature_names_in_"):
            import pandas as pd  # the names a scaler was fitted with are checked by scikit-learn itself

            scaled = self.scaler.transform(pd.DataFrame(matrix, columns=list(self.features)))
        else:
            scaled = self.scaler.transform(matrix)
        return {name: np.asarray(scaled)[:, place] for place, name in enumerate(self.features)}


def bind_scalers(scaler: Any, features: Sequence[str]) -> list[FittedScaler]:
    """What `save_bundle(scaler=…)` was given → each fitted scaler with its features.

    Args:
        scaler: None, one fitted scaler (over all features, or over those it was fitted with by name), or a
            list of `(scaler, [feature, …])`.

    Raises:
        BundleError: a scaler is not fitted, is over another number of features, or over unknown ones.
    """
    if scaler is None:
        return []
    pairs = scaler if isinstance(scaler, list | tuple) else [(scaler, None)]
    bound = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BundleError("scaler is a fitted scaler, or a list of (scaler, [feature, ...])")
        bound.append(FittedScaler(scaler=pair[0], features=tuple(_names(pair[0], pair[1], features))))
    return bound


def _names(scaler: Any, given: Sequence[str] | None, features: Sequence[str]) -> list[str]:
    kind = type(scaler).__name__
    if kind not in _READERS or not type(scaler).__module__.startswith("sklearn."):
        raise BundleError(f"scaler {kind} cannot be saved; supported are {', '.join(_READERS)}")
    if not hasattr(scaler, "n_features_in_"):
        raise BundleError(f"scaler {kind} is not fitted; call fit before save_bundle")
    fitted = getattr(scaler, "feature_names_in_", None)
    names = list(given) if given is not None else list(features) if fitted is None else list(map(str, fitted))
    if fitted is not None and sorted(names) != sorted(map(str, fitted)):
        raise BundleError(f"scaler {kind} was fitted on {list(map(str, fitted))}, not on {names}")
    if fitted is not None:
        names = list(map(str, fitted))  # the order its numbers are in
    if len(names) != scaler.n_features_in_:
        raise BundleError(
            f"scaler {kind} was fitted on {scaler.n_features_in_} columns, and {len(names)} features are named;"
            " say which with scaler=[(scaler, ['feature', ...])]"
        )
    unknown = [name for name in names if name not in set(features)]
    if unknown:
        raise BundleError(f"scaler {kind} was fitted on column {unknown[0]!r}, which is not among the features")
    return names


def saved_step(fitted: FittedScaler) -> AnyStep:
    """The numbers of a fitted scaler, as they are kept in bundle.json."""
    return _READERS[type(fitted.scaler).__name__](fitted.scaler, list(fitted.features))


def _numbers(values: Any) -> list[float] | None:
    return None if values is None else np.asarray(values, dtype=np.float64).tolist()


def _standard(scaler: Any, features: list[str]) -> AnyStep:
    return StandardStep(
        features=features,
        mean=_numbers(scaler.mean_) if scaler.with_mean else None,
        scale=_numbers(scaler.scale_) if scaler.with_std else None,
    )


def _robust(scaler: Any, features: list[str]) -> AnyStep:
    return RobustStep(
        features=features,
        center=_numbers(scaler.center_) if scaler.with_centering else None,
        scale=_numbers(scaler.scale_) if scaler.with_scaling else None,
    )


def _minmax(scaler: Any, features: list[str]) -> AnyStep:
    low, high = map(float, scaler.feature_range)
    return MinMaxStep(
        features=features,
        scale=_numbers(scaler.scale_) or [],
        min=_numbers(scaler.min_) or [],
        clip=(low, high) if scaler.clip else None,
    )


def _maxabs(scaler: Any, features: list[str]) -> AnyStep:
    clips = getattr(scaler, "clip", False)  # an option since scikit-learn 1.8
    return MaxAbsStep(features=features, scale=_numbers(scaler.scale_) or [], clip=(-1.0, 1.0) if clips else None)


_READERS: dict[str, Callable[[Any, list[str]], AnyStep]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _minmax,
    "MaxAbsScaler": _maxabs,
    "RobustScaler": _robust,
}

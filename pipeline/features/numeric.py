"""Steps on numbers, in float64. Most take a column, `[rows]`, with its position in the step, or several at once,
`[columns, rows]` (`arrays.stretches`). The operations are those of scikit-learn in the same order (dividing by a
standard deviation is not multiplying by its inverse), so results equal its `transform` on float64. Independent of
files.

Sources: scikit-learn 1.9 `preprocessing/_data.py` and `_discretization.py`; scipy's `yeojohnson` and `boxcox` (Yeo and
Johnson 2000, Box and Cox 1964).
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...schemas.steps import (
    BinarizeStep,
    BinsStep,
    ClipStep,
    FunctionStep,
    ImputeStep,
    MaxAbsStep,
    MinMaxStep,
    NormalizeStep,
    PolynomialStep,
    PowerStep,
    QuantileStep,
    ReplaceStep,
    RobustStep,
    RoundStep,
    StandardStep,
    WeightStep,
)
from .terms import NO_NORM

Numbers = NDArray[np.float64]
#: The position of a column in a step, or those of several.
Where = int | slice
FUNCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "abs": np.abs,
    "cbrt": np.cbrt,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "negative": np.negative,
    "reciprocal": np.reciprocal,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "square": np.square,
}
_BOUND = 1e-7
_EPS = float(np.finfo(np.float64).eps)


def standard(step: StandardStep, where: Where, values: Numbers) -> Numbers:
    """(x − mean) / scale."""
    return _shift_and_divide(values, step.mean, step.scale, where)


def robust(step: RobustStep, where: Where, values: Numbers) -> Numbers:
    """(x − center) / scale."""
    return _shift_and_divide(values, step.center, step.scale, where)


def minmax(step: MinMaxStep, where: Where, values: Numbers) -> Numbers:
    """x × scale + min, clipped."""
    scaled = values * _by_column(step.scale, where)
    scaled += _by_column(step.min, where)
    return _clipped(scaled, step.clip)


def maxabs(step: MaxAbsStep, where: Where, values: Numbers) -> Numbers:
    """x / scale, clipped."""
    return _clipped(values / _by_column(step.scale, where), step.clip)


def power(step: PowerStep, index: int, values: Numbers) -> Numbers:
    """Yeo-Johnson or Box-Cox with the fitted lambda; Box-Cox of values that are not positive is NaN."""
    exponent = step.lambdas[index]
    if step.method == "box-cox":
        logs = np.log(np.where(values > 0, values, np.nan))
        return logs if abs(exponent) < 1e-19 else np.expm1(exponent * logs) / exponent
    positive = np.where(values >= 0, values, 0.0)
    negative = np.where(values < 0, -values, 0.0)
    above = np.log1p(positive)
    if abs(exponent) >= _EPS:
        above = np.expm1(exponent * above) / exponent
    below = -np.log1p(negative)
    if abs(exponent - 2) > _EPS:
        below = -np.expm1((2 - exponent) * -below) / (2 - exponent)
    return np.where(np.isnan(values), np.nan, np.where(values >= 0, above, below))


def quantile(step: QuantileStep, index: int, values: Numbers) -> Numbers:
    """Quantile transform: the mean of interpolating from both ends, so that repeated quantiles map to their middle."""
    quantiles, references = np.array(step.quantiles[index]), np.array(step.references)
    levels = 0.5 * (np.interp(values, quantiles, references) - np.interp(-values, -quantiles[::-1], -references[::-1]))
    slack = _BOUND if step.distribution == "normal" else 0.0
    upper = values + slack > quantiles[-1] if slack else values == quantiles[-1]
    lower = values - slack < quantiles[0] if slack else values == quantiles[0]
    levels = np.where(lower, 0.0, np.where(upper, 1.0, levels))
    levels = np.where(np.isnan(values), np.nan, levels)
    if step.distribution == "uniform":
        return levels
    edge = _BOUND - np.spacing(1)
    return np.clip(_normal_deviate(levels), *_normal_deviate(np.array([edge, 1 - edge])))


def weight(step: WeightStep, where: Where, values: Numbers) -> Numbers:
    """x × weight."""
    return values * _by_column(step.weights, where)


def impute(step: ImputeStep, where: Where, values: Numbers) -> Numbers:
    """Missing values replaced by the saved ones."""
    return np.where(np.isnan(values), _by_column(step.values, where), values)


def binarize(step: BinarizeStep, _where: Where, values: Numbers) -> Numbers:
    """1 above the threshold, else 0; missing values stay missing."""
    return np.where(np.isnan(values), np.nan, (values > step.threshold).astype(np.float64))


def bins(step: BinsStep, index: int, values: Numbers) -> Numbers:
    """The number of the bin, from 0."""
    found = np.searchsorted(np.array(step.edges[index]), values, side="right").astype(np.float64)
    return np.where(np.isnan(values), np.nan, found)


def function(step: FunctionStep, _where: Where, values: Numbers) -> Numbers:
    """A numpy function. Where it is undefined, the result is NaN or infinite and the row is rejected."""
    return FUNCTIONS[step.function](values)


def clip(step: ClipStep, index: int, values: Numbers) -> Numbers:
    """At least the lower bound, at most the upper; missing values stay missing."""
    low, high = step.low[index], step.high[index]
    above = values if low is None else np.maximum(values, low)
    return above if high is None else np.minimum(above, high)


def rounded(step: RoundStep, _where: Where, values: Numbers) -> Numbers:
    """Rounded to decimals, half to even."""
    return np.round(values, step.decimals)


def replace(step: ReplaceStep, index: int, values: Numbers) -> Numbers:
    """Missing values and infinities replaced."""
    return np.nan_to_num(values, nan=step.nan[index], posinf=step.posinf[index], neginf=step.neginf[index])


def normalize(step: NormalizeStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """Each row divided by its norm, which is added up column by column: numpy's `sum` of a single row adds in pairs."""
    match step.norm:
        case "l1":
            norms = reduce(np.add, map(np.abs, columns))
        case "l2":
            norms = np.sqrt(reduce(np.add, (column * column for column in columns)))
        case "max":
            norms = reduce(np.maximum, map(np.abs, columns))
    norms = np.where(norms < NO_NORM, 1.0, norms)
    return [column / norms for column in columns]


def polynomial(step: PolynomialStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """Products of powers, multiplied from the last factor to the first: another order over- or underflows elsewhere."""
    results = []
    for powers in step.powers:
        factors = [column for column, exponent in zip(columns, powers, strict=True) for _ in range(exponent)]
        results.append(reduce(np.multiply, reversed(factors), np.ones_like(columns[0])))
    return results


def _normal_deviate(probabilities: Numbers) -> Numbers:
    """The inverse of the normal distribution function, as Cephes computes it (as scipy's `ndtri` does)."""
    result: Numbers = torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(probabilities))).numpy()
    return result


def _shift_and_divide(values: Numbers, shift: list[float] | None, scale: list[float] | None, where: Where) -> Numbers:
    if shift is not None:
        values = values - _by_column(shift, where)
    if scale is None:
        return values
    return np.divide(values, _by_column(scale, where), out=None if shift is None else values)


def _by_column(numbers: Sequence[Any], where: Where) -> float | Numbers:
    """The number of a column, or those of several, `[columns, 1]`."""
    return float(numbers[where]) if isinstance(where, int) else np.array(numbers[where], dtype=np.float64)[:, None]


def _clipped(values: Numbers, bounds: tuple[float, float] | None) -> Numbers:
    return values if bounds is None else np.clip(values, *bounds)

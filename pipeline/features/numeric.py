"""Steps on numbers, in float64. The arithmetic is scikit-learn's own, in its order (dividing by a standard deviation
is not multiplying by its inverse), so results equal its `transform` on float64. Knows nothing of tensors or files.

Sources: scikit-learn 1.9 `preprocessing/_data.py` and `_discretization.py`; scipy's `yeojohnson` and `boxcox` (Yeo and
Johnson 2000, Box and Cox 1964).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ...schemas.steps import (
    BinarizeStep,
    BinsStep,
    FunctionStep,
    MaxAbsStep,
    MinMaxStep,
    NormalizeStep,
    PolynomialStep,
    PowerStep,
    QuantileStep,
    RobustStep,
    StandardStep,
)

Numbers = NDArray[np.float64]
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


def standard(step: StandardStep, place: int, values: Numbers) -> Numbers:
    """(x − mean) / scale."""
    return _shift_and_divide(values, step.mean, step.scale, place)


def robust(step: RobustStep, place: int, values: Numbers) -> Numbers:
    """(x − center) / scale."""
    return _shift_and_divide(values, step.center, step.scale, place)


def minmax(step: MinMaxStep, place: int, values: Numbers) -> Numbers:
    """x × scale + min, clipped."""
    scaled = values * step.scale[place]
    scaled += step.min[place]
    return _clipped(scaled, step.clip)


def maxabs(step: MaxAbsStep, place: int, values: Numbers) -> Numbers:
    """x / scale, clipped."""
    return _clipped(values / step.scale[place], step.clip)


def power(step: PowerStep, place: int, values: Numbers) -> Numbers:
    """Yeo-Johnson or Box-Cox with the fitted lambda; Box-Cox of what is not positive is NaN."""
    exponent = step.lambdas[place]
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


def quantile(step: QuantileStep, place: int, values: Numbers) -> Numbers:
    """The mean of interpolating from both ends, so that repeated quantiles are met in their middle."""
    quantiles, references = np.array(step.quantiles[place]), np.array(step.references)
    places = 0.5 * (np.interp(values, quantiles, references) - np.interp(-values, -quantiles[::-1], -references[::-1]))
    slack = _BOUND if step.distribution == "normal" else 0.0
    upper = values + slack > quantiles[-1] if slack else values == quantiles[-1]
    lower = values - slack < quantiles[0] if slack else values == quantiles[0]
    places = np.where(lower, 0.0, np.where(upper, 1.0, places))
    places = np.where(np.isnan(values), np.nan, places)
    if step.distribution == "uniform":
        return places
    edge = _BOUND - np.spacing(1)
    return np.clip(_normal_deviate(places), *_normal_deviate(np.array([edge, 1 - edge])))


def binarize(step: BinarizeStep, _place: int, values: Numbers) -> Numbers:
    """1 above the threshold, else 0; what is missing stays so."""
    return np.where(np.isnan(values), np.nan, (values > step.threshold).astype(np.float64))


def bins(step: BinsStep, place: int, values: Numbers) -> Numbers:
    """The number of the bin, from 0."""
    found = np.searchsorted(np.array(step.edges[place]), values, side="right").astype(np.float64)
    return np.where(np.isnan(values), np.nan, found)


def function(step: FunctionStep, _place: int, values: Numbers) -> Numbers:
    """One of numpy's functions; where it has no value the result is NaN or infinite, and the row a reject."""
    return FUNCTIONS[step.function](values)


def normalize(step: NormalizeStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """Each row divided by its norm."""
    matrix = np.stack(columns)
    match step.norm:
        case "l1":
            norms = np.abs(matrix).sum(axis=0)
        case "l2":
            norms = np.sqrt((matrix * matrix).sum(axis=0))
        case "max":
            norms = np.abs(matrix).max(axis=0)
    norms = np.where(norms < 10 * _EPS, 1.0, norms)  # what scikit-learn takes for 0
    return [column / norms for column in columns]


def polynomial(step: PolynomialStep, columns: Sequence[Numbers]) -> list[Numbers]:
    """Products of powers."""
    results = []
    for powers in step.powers:
        product = np.ones_like(columns[0])
        for column, exponent in zip(columns, powers, strict=True):
            if exponent:
                product = product * (column if exponent == 1 else column**exponent)
        results.append(product)
    return results


def _normal_deviate(probabilities: Numbers) -> Numbers:
    """The inverse of the normal distribution function, as Cephes computes it (as scipy's `ndtri` does)."""
    result: Numbers = torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(probabilities))).numpy()
    return result


def _shift_and_divide(values: Numbers, shift: list[float] | None, scale: list[float] | None, place: int) -> Numbers:
    if shift is not None:
        values = values - shift[place]
    if scale is not None:
        values = values / scale[place]
    return values


def _clipped(values: Numbers, bounds: tuple[float, float] | None) -> Numbers:
    return values if bounds is None else np.clip(values, *bounds)

"""B-splines of a column, in float64. Independent of files.

Sources: de Boor's recurrence as in scipy's `_deBoor_D` (de Boor, A Practical Guide to Splines, 1978); the treatment of
values outside of the knots is that of scikit-learn 1.9 `preprocessing/_polynomial.py`.
"""

import numpy as np
from numpy.typing import NDArray

from ...schemas.steps import SplineStep
from .numeric import Numbers


def spline(step: SplineStep, index: int, values: Numbers) -> list[Numbers]:
    """The B-splines of one feature. A missing value is missing in each, or 0; so is one outside of the knots where it
    is an error."""
    knots, degree = np.array(step.knots[index], dtype=np.float64), step.degree
    low, high = knots[degree], knots[-degree - 1]
    match step.extrapolation:
        case "continue":
            made = _basis(step, knots, values)
        case "periodic":
            period = high - low
            made = _basis(step, knots, low + (values - low) % period if period > 0 else np.zeros_like(values))
        case "error":
            made = _basis(step, knots, values)
            made[:, (values < low) | (values > high)] = np.nan
        case _:
            made = _basis(step, knots, np.clip(values, low, high))
            _extend(step, knots, values, made)
    made[:, np.isnan(values)] = 0.0 if step.zeros_if_missing else np.nan
    return list(made[: step.width])


def outside(step: SplineStep, index: int, values: Numbers) -> NDArray[np.int64]:
    """The rows that have no value because they are outside of the knots."""
    if step.extrapolation != "error":
        return np.empty(0, dtype=np.int64)
    knots = step.knots[index]
    return np.flatnonzero((values < knots[step.degree]) | (values > knots[-step.degree - 1]))


def _basis(step: SplineStep, knots: Numbers, values: Numbers, *, slope: bool = False) -> Numbers:
    """Every B-spline, or its derivative, float64 `[splines, rows]`; beyond the knots, its outermost polynomials."""
    degree, count = step.degree, len(knots) - step.degree - 1
    span = degree + np.searchsorted(knots[degree + 1 : count], values, side="right")
    nonzero = _nonzero(knots, degree, span, values, slope=slope)
    made = np.zeros((step.splines, len(values)))
    rows = np.arange(len(values))
    for offset, part in enumerate(nonzero):
        made[(span - degree + offset) % step.splines, rows] += part  # a periodic one continues as the first
    return made


def _nonzero(knots: Numbers, degree: int, span: NDArray[np.int64], values: Numbers, *, slope: bool) -> list[Numbers]:
    """The `degree` + 1 B-splines that are not 0 between knots `span` and `span` + 1, or their derivatives."""
    found = [np.ones_like(values)]
    for level in range(1, degree + 1):
        earlier, found = found, [np.zeros_like(values)]
        for part in range(1, level + 1):
            right, left = knots[span + part], knots[span + part - level]
            apart = right != left
            weight = np.where(apart, earlier[part - 1] / np.where(apart, right - left, 1.0), 0.0)
            if slope and level == degree:
                found[part - 1] = found[part - 1] - level * weight
                found.append(level * weight)
            else:
                found[part - 1] = found[part - 1] + weight * (right - values)
                found.append(weight * (values - left))
    return found


def _extend(step: SplineStep, knots: Numbers, values: Numbers, made: Numbers) -> None:
    """Continue the first and last B-splines beyond the knots, as constants or lines; the others are 0 there."""
    linear = step.extrapolation == "linear"
    # Of degree 1, the second B-spline is 0 at the boundary, but its slope is not.
    number = step.degree + 1 if linear and step.degree == 1 else step.degree
    for bound, beyond, kept in (
        (knots[step.degree], values < knots[step.degree], slice(0, number)),
        (knots[-step.degree - 1], values > knots[-step.degree - 1], slice(step.splines - number, step.splines)),
    ):
        rows = np.flatnonzero(beyond)
        at = np.array([bound])
        extended = np.repeat(_basis(step, knots, at)[kept], len(rows), axis=1)
        if linear:
            extended += (values[rows] - bound) * _basis(step, knots, at, slope=True)[kept]
        made[:, rows] = 0.0
        made[kept, rows] = extended

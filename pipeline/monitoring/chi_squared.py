"""Quantiles of the χ² distribution, far into its upper tail, without scipy.

The tail of χ² with k degrees of freedom above x is the regularised incomplete gamma function Q(k/2, x/2). It is
computed by its series below the mean and by its continued fraction above (Press et al., Numerical Recipes, 3rd ed.,
section 6.2), and inverted by Newton's method on its logarithm, within brackets.
"""

import math
from functools import lru_cache

#: Terms of the series or the continued fraction; about the square root of the degrees of freedom are needed.
MAX_TERMS = 10_000
PRECISION = 1e-15
MAX_STEPS = 200


@lru_cache(maxsize=4096)
def chi_squared_quantile(tail: float, df: int) -> float:
    """The value that χ² with `df` degrees of freedom exceeds with probability `tail`. 0 without degrees of freedom.

    Args:
        tail: above 0 and below 1; accurate to about 1e-9 of the result down to 1e-300.
    """
    if df <= 0:
        return 0.0
    wanted, shape = math.log(tail), df / 2
    low, high = 0.0, df + 10.0
    while log_tail(shape, high / 2) > wanted:
        low, high = high, 2 * high
    at = (low + high) / 2
    for _ in range(MAX_STEPS):
        found = log_tail(shape, at / 2)
        low, high = (at, high) if found > wanted else (low, at)
        log_density = (shape - 1) * math.log(at / 2) - at / 2 - math.lgamma(shape) - math.log(2)
        step = (found - wanted) * math.exp(min(found - log_density, 700.0))
        following = at + step if low < at + step < high else (low + high) / 2
        if abs(following - at) <= PRECISION * 10 * at:
            return following
        at = following
    return at


def log_tail(shape: float, x: float) -> float:
    """The logarithm of the regularised upper incomplete gamma function Q(shape, x)."""
    if x <= 0:
        return 0.0
    log_front = shape * math.log(x) - x - math.lgamma(shape)
    if x < shape + 1:
        lower = math.exp(log_front + math.log(_series(shape, x)))
        return math.log1p(-min(lower, 1 - PRECISION))
    return log_front + math.log(_continued_fraction(shape, x))


def _series(shape: float, x: float) -> float:
    term = total = 1 / shape
    for number in range(1, MAX_TERMS):
        term *= x / (shape + number)
        total += term
        if term < total * PRECISION:
            break
    return total


def _continued_fraction(shape: float, x: float) -> float:
    """By the method of Lentz."""
    tiny = 1e-300
    b = x + 1 - shape
    c, d = 1 / tiny, 1 / b
    value = d
    for number in range(1, MAX_TERMS):
        a = -number * (number - shape)
        b += 2
        d = 1 / _away_from_zero(a * d + b, tiny)
        c = _away_from_zero(b + a / c, tiny)
        value *= d * c
        if abs(d * c - 1) < PRECISION:
            break
    return value


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny

"""Calibration: parameters, fitted on labelled rows, that bring probabilities closer to observed frequencies.

Temperature: one number T that minimises the mean negative log-likelihood of `softmax(z / T)` (Guo et al. 2017). Platt:
for each label the two parameters of `1 / (1 + exp(−(a z + b)))`, fitted to smoothed targets (Platt 1999) by Newton's
method with backtracking (Lin, Lin and Weng 2007). All in float64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...schemas.heads import Platt, Temperature

Numbers = NDArray[np.float64]
#: Infinite logits are this far away, in units of the spread of the others.
_INFINITE = 1e4
#: The temperatures that are tried, in units of the spread of the logits.
_LOW, _HIGH = 1e-6, 1e6
#: Stands for infinity in differences.
_LARGEST = 1e100
_STEPS = 100
#: Scores whose standard deviation is smaller, in relation to their mean, are all the same but for rounding.
_SMALLEST_SPREAD = 1e-12


def fit_temperature(scores: Numbers, truth: NDArray[np.int64]) -> Temperature:
    """Fit the temperature of logits `[rows, labels]` (or `[rows, 1]`, the log-odds of label 1) to true labels `truth`
    `[rows]`. The likelihood is concave in 1/T; the root of its slope is found by bisection.

    Raises:
        ValueError: the likelihood has no maximum: every prediction is correct, or they are no better than chance.
    """
    logits = np.nan_to_num(scores.astype(np.float64), nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    logits = logits - logits.max(axis=1, keepdims=True)  # softmax depends on differences alone
    finite = logits[(logits < 0) & (logits > -_LARGEST / 2)]
    spread = float(np.sqrt((finite**2).mean())) if len(finite) else 1.0
    logits = np.maximum(logits / spread, -_INFINITE)
    right = logits[np.arange(len(logits)), truth]

    def slope(beta: float) -> float:
        powers = np.exp(beta * logits)
        expected = (powers * logits).sum(axis=1) / powers.sum(axis=1)
        return float((expected - right).mean())

    low, high = 1 / _HIGH, 1 / _LOW
    if slope(low) >= 0 or slope(high) <= 0:
        raise ValueError(
            "no temperature can be fitted: all predictions are correct, or no better than chance; use rows that the"
            " model was not trained on"
        )
    while high / low > 1 + 1e-12:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Temperature(temperature=spread / float(np.sqrt(low * high)))


def fit_platt(scores: Numbers, truth: NDArray[np.bool_], names: Sequence[str]) -> Platt:
    """Fit slope and intercept for each column of log-odds `[rows, labels]`; `truth` has the same shape.

    Args:
        names: of the columns of `truth`, for errors.

    Raises:
        ValueError: all rows have a label, or none has it; or the scores of a label are all the same, or lower where it
            is true; names its column.
    """
    fitted = []
    for index, name in enumerate(names):
        try:
            fitted.append(_fit_label(scores[:, index], truth[:, index]))
        except ValueError as error:
            raise ValueError(f"column {name!r}: {error}") from error
    return Platt(slope=[slope for slope, _ in fitted], intercept=[intercept for _, intercept in fitted])


def _fit_label(scores: Numbers, truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of one label. They are fitted to the scores minus their mean, divided by their standard
    deviation: where most probabilities are 0 or 1, as they are for scores far from zero, the loss has no curvature."""
    positive, total = int(truth.sum()), len(truth)
    if positive in (0, total):
        raise ValueError("a label that every row has, or that no row has, cannot be calibrated; use more rows")
    targets = np.where(truth, (positive + 1) / (positive + 2), 1 / (total - positive + 2))
    finite = scores[np.isfinite(scores)].astype(np.float64)
    center, spread = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 0.0)
    if spread < _SMALLEST_SPREAD * max(1.0, abs(center)):
        raise ValueError("all rows have the same score, so nothing can be calibrated; use more rows")
    z = np.clip((np.nan_to_num(scores, nan=0.0) - center) / spread, -_INFINITE, _INFINITE)
    numbers = np.array([0.0, np.log((positive + 1) / (total - positive + 1))])

    def loss(at: Numbers) -> float:
        f = at[0] * z + at[1]
        return float((np.logaddexp(0, f) - targets * f).mean())

    now = loss(numbers)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(numbers[0] * z + numbers[1], -700, 700)))
        gradient = np.array([((p - targets) * z).mean(), (p - targets).mean()])
        w = p * (1 - p)
        hessian = np.array([[(w * z * z).mean(), (w * z).mean()], [(w * z).mean(), w.mean()]]) + 1e-12 * np.eye(2)
        if np.abs(gradient).max() < 1e-10:
            break
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and loss(numbers - size * step) > now - 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= 1e-10:  # as close as float64 comes
            break
        numbers = numbers - size * step
        now = loss(numbers)
    slope = float(numbers[0]) / spread
    if slope <= 0:
        raise ValueError(
            f"the labels contradict the scores (slope {slope:.3g}); check whether the labels are inverted, or use more"
            " rows"
        )
    return slope, float(numbers[1]) - slope * center

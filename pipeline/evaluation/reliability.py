"""Compares probabilities with observed frequencies, before and after calibration. Does not import torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import Numbers
from .metrics import negative_logs, squared_distances


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Observed frequencies by probability. Per bin of equal width: the count, the mean probability, and the share that
    was correct. `error`: the mean gap weighted by count (expected calibration error)."""

    counts: NDArray[np.int64]
    predicted: Numbers
    observed: Numbers
    error: float
    log_loss: float
    brier: float


def reliability(probabilities: Numbers, truth: NDArray[Any], bins: int = 10) -> Reliability:
    """The reliability of the predicted label's probability for multiclass, otherwise of each label's own probability.

    Args:
        probabilities: `[rows, labels]`, or `[rows, 1]` of the second of two labels.
        truth: indices of the true labels `[rows]`; for multilabel bool `[rows, labels]`.
    """
    if truth.ndim == 1 and probabilities.shape[1] > 1:
        confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
        right = probabilities[np.arange(len(truth)), truth]
        brier = float(squared_distances(probabilities, right).mean())
    else:
        confidence, hits = probabilities.reshape(-1), truth.reshape(-1).astype(bool)
        right = np.where(hits, confidence, 1 - confidence)
        brier = float(squared_distances(np.stack([1 - confidence, confidence], axis=1), right).mean() / 2)
    indices = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(indices, minlength=bins)
    filled = np.maximum(counts, 1)
    predicted = np.bincount(indices, weights=confidence, minlength=bins) / filled
    observed = np.bincount(indices, weights=hits.astype(np.float64), minlength=bins) / filled
    return Reliability(
        counts=counts,
        predicted=predicted,
        observed=observed,
        error=float((counts * np.abs(predicted - observed)).sum() / max(1, counts.sum())),
        log_loss=float(negative_logs(right).mean()),
        brier=brier,
    )

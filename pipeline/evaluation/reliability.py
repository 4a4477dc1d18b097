"""How well probabilities agree with frequencies, before and after calibration. Does not import torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import Numbers
from .metrics import negative_logs, squared_distances


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """How often labels were right, by probability. Per bin of equal width: how many, their mean probability, the share
    that was right; `error`: the mean gap, weighed by how many (expected calibration error)."""

    counts: NDArray[np.int64]
    predicted: Numbers
    observed: Numbers
    error: float
    log_loss: float
    brier: float


def reliability(probabilities: Numbers, truth: NDArray[Any], bins: int = 10) -> Reliability:
    """Of the label that is predicted, where one of several is right; else of every label's own probability.

    Args:
        probabilities: `[rows, labels]`, or `[rows, 1]` of the second of two labels.
        truth: indices of the right labels `[rows]`; bool `[rows, labels]` where each is right or not by itself.
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

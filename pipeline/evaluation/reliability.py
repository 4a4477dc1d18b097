"""How well probabilities agree with frequencies, before and after calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...schemas.heads import ClassHead, MulticlassHead, Temperature
from ..tasks.classes import logistic, platt
from .calibration import Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """How probabilities came true. Per bin of equal width: how many, their mean probability, the share that came true;
    `error`: the mean gap, weighed by how many (expected calibration error)."""

    counts: NDArray[np.int64]
    predicted: Numbers
    observed: Numbers
    error: float
    log_loss: float
    brier: float


def reliability(head: ClassHead, probabilities: Numbers, truth: NDArray[Any], bins: int = 10) -> Reliability:
    """Of a multiclass head, of the label that is predicted; else of every label's own probability.

    Args:
        probabilities: `[rows, labels]`, of a binary head `[rows, 1]`, the second label's.
        truth: places of the right labels `[rows]`; of a multilabel head bool `[rows, labels]`.
    """
    tiny = float(np.finfo(np.float32).eps)
    if isinstance(head, MulticlassHead):
        best = probabilities.argmax(axis=1)
        confidence, hits = probabilities.max(axis=1), best == truth
        right = probabilities[np.arange(len(truth)), truth]
        log_loss = float(-np.log(np.clip(right, tiny, 1)).mean())
        wanted = np.eye(probabilities.shape[1])[truth]
        brier = float(((probabilities - wanted) ** 2).sum(axis=1).mean())
    else:
        confidence = probabilities.reshape(-1)
        hits = np.asarray(truth).reshape(-1).astype(bool)
        clipped = np.clip(confidence, tiny, 1 - tiny)
        log_loss = float(-np.where(hits, np.log(clipped), np.log(1 - clipped)).mean())
        brier = float(((confidence - hits) ** 2).mean())
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(places, minlength=bins)
    filled = np.maximum(counts, 1)
    predicted = np.bincount(places, weights=confidence, minlength=bins) / filled
    observed = np.bincount(places, weights=hits.astype(np.float64), minlength=bins) / filled
    error = float((counts * np.abs(predicted - observed)).sum() / max(1, counts.sum()))
    return Reliability(
        counts=counts, predicted=predicted, observed=observed, error=error, log_loss=log_loss, brier=brier
    )


def calibrated(head: ClassHead, scores: Tensor) -> Numbers:
    """Probabilities from scores, `[rows, labels]` or `[rows, 1]`, by the head's calibration, if it has one."""
    found, values = head.calibration, scores.double()
    if isinstance(head, MulticlassHead):
        values = values / found.temperature if isinstance(found, Temperature) else values
        return np.asarray(torch.softmax(values, dim=1).numpy())
    return np.asarray((logistic(values) if found is None else platt(found, values.T).T).numpy())

"""Metrics of predictions, accumulated batch by batch. Keeps no rows except the scores for AUC. Independent of files.

Formulas are scikit-learn's, so that the same rows give the same numbers: `accuracy_score`, `log_loss`, `roc_auc_score`
(one against the rest, the mean of all labels), `brier_score_loss`, `f1_score`, `confusion_matrix`,
`mean_absolute_error`, `root_mean_squared_error`, `r2_score`, `mean_pinball_loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
#: Integers in the order of scores.
Keys: TypeAlias = NDArray[np.unsignedinteger[Any]]
#: The number of scores to keep for exact ranks, over all labels; above it, scores are counted in bins.
EXACT_SCORES = 1 << 26
_BIN_BITS = 18
_TINY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auc:
    """Area under the ROC curve. The exact value differs by at most `bound`, which is 0 if all scores were kept. NaN if
    all rows have the same label."""

    value: float
    bound: float


class Ranking:
    """The area under the ROC curve of one label's scores: the share of pairs of a positive and a negative row in which
    the positive has the higher score, ties half (Hanley and McNeil 1982).

    Args:
        exact: how many float32 scores to keep, or half as many of float64; above that number, scores with the same
            first 18 bits count as ties, and the bound is half the weight of these ties.
    """

    def __init__(self, exact: int = EXACT_SCORES) -> None:
        self._exact, self._held = exact, 0
        self._kept: tuple[list[Keys], list[Keys]] = ([], [])
        self._bins: tuple[Ints, Ints] | None = None

    def add(self, scores: Singles | Floats, positive: Bools) -> None:
        """Add float32 or float64 scores `[rows]`, always of the same type, and which rows are positive."""
        keys = _ordered(scores)
        for index, part in enumerate((keys[~positive], keys[positive])):
            if self._bins is None:
                self._kept[index].append(part)
            else:
                self._count(index, part)
        self._held += len(scores) * scores.itemsize // 4
        if self._bins is None and self._held > self._exact:
            size = 1 << _BIN_BITS
            self._bins = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
            for index in (0, 1):
                for part in self._kept[index]:
                    self._count(index, part)
                self._kept[index].clear()

    def value(self) -> Auc:
        """The area for the scores so far."""
        if self._bins is not None:
            negative, positive = (counts.astype(np.float64) for counts in self._bins)
            pairs = negative.sum() * positive.sum()
            below = np.cumsum(negative) - negative
            won, tied = float((positive * below).sum()), float((positive * negative).sum())
            return Auc(value=(won + tied / 2) / pairs, bound=tied / 2 / pairs) if pairs else _NONE
        negatives, positives = (
            np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.uint32) for parts in self._kept
        )
        pairs = float(len(negatives)) * len(positives)
        if not pairs:
            return _NONE
        below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.float64)
        upto = np.searchsorted(negatives, positives, side="right").sum(dtype=np.float64)
        return Auc(value=float((below + upto) / 2 / pairs), bound=0.0)

    def _count(self, index: int, keys: Keys) -> None:
        assert self._bins is not None, "created before the first count"
        first = keys >> keys.dtype.type(8 * keys.itemsize - _BIN_BITS)
        self._bins[index][:] += np.bincount(first.astype(np.int64), minlength=1 << _BIN_BITS)


_NONE = Auc(value=float("nan"), bound=0.0)


def _ordered(scores: Singles | Floats) -> Keys:
    """Integers in the same order as the floats: flips all bits of a negative float, and the sign of the others."""
    kind = np.dtype(f"u{scores.itemsize}")
    bits = (np.ascontiguousarray(scores) + np.zeros(1, scores.dtype)).view(kind)  # −0 equals 0
    top = np.array(8 * scores.itemsize - 1, kind)
    return np.asarray(np.where(bits >> top, ~bits, bits | (np.array(1, kind) << top)))


def negative_logs(right: Singles | Floats) -> Floats:
    """−log of the true label's probability, `[rows]`, clipped to the resolution of float32 at 0 and 1. The mean is the
    log loss."""
    logs: Floats = -np.log(np.clip(right.astype(np.float64), _TINY, 1 - _TINY))
    return logs


def squared_distances(probabilities: Singles | Floats, right: Singles | Floats) -> Floats:
    """Squared distances of probabilities `[rows, labels]` from 1 for the true label and 0 for the others, `[rows]`. The
    mean is the Brier score (for two labels, twice the Brier score).

    Args:
        right: the true label's probability.
    """
    squares: Floats = np.square(probabilities, dtype=np.float64).sum(axis=1) - 2 * right.astype(np.float64) + 1
    return squares


class ClassMetrics:
    """Metrics of a classification. `labels`: the number of labels."""

    def __init__(self, labels: int) -> None:
        self.confusion: Ints = np.zeros((labels, labels), dtype=np.int64)
        self.rows = 0
        self._log_loss = self._brier = 0.0
        self._with_probabilities = self._ranked = False
        self._rankings = [Ranking(EXACT_SCORES // labels) for _ in range(labels if labels > 2 else 1)]

    def add(self, truth: Ints, predicted: Ints, probabilities: Singles | None) -> None:
        """Add indices of true and predicted labels, `[rows]`, and probabilities `[rows, labels]`."""
        labels = len(self.confusion)
        self.rows += len(truth)
        self.confusion += np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)
        if probabilities is None:
            return
        self._with_probabilities = True
        right = probabilities[np.arange(len(truth)), truth]
        self._log_loss += float(negative_logs(right).sum())
        self._brier += float(squared_distances(probabilities, right).sum())
        for index, ranking in enumerate(self._rankings):
            label = index if labels > 2 else 1
            ranking.add(probabilities[:, label], truth == label)

    def rank(self, truth: Ints, scores: Floats) -> None:
        """Add float64 scores `[rows]` that are no probabilities, for the AUC of the second of two labels."""
        self._ranked = True
        self._rankings[0].add(scores, truth == 1)

    @property
    def accuracy(self) -> float:
        """The share of rows with a correct prediction."""
        return float(np.trace(self.confusion) / max(1, self.rows))

    @property
    def f1(self) -> Floats:
        """F1 of each label: 2 · hits / (predicted + true), 0 if it is neither predicted nor true."""
        hits = np.diag(self.confusion)
        either = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return np.asarray(2 * hits / np.maximum(1, either))

    @property
    def f1_macro(self) -> float:
        """The mean F1 of the labels that are predicted or true for some row; NaN without rows."""
        either = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return macro(self.f1[either > 0])

    @property
    def log_loss(self) -> float | None:
        """Mean −log of the true label's probability; None without probabilities."""
        return self._log_loss / max(1, self.rows) if self._with_probabilities else None

    @property
    def brier(self) -> float | None:
        """Mean squared distance of the probabilities from the truth: for two labels of the second label's probability,
        otherwise summed over all labels. None without probabilities."""
        half = 2 if len(self.confusion) == 2 else 1
        return self._brier / half / max(1, self.rows) if self._with_probabilities else None

    def aucs(self) -> list[Auc]:
        """One-vs-rest for each label; for two labels only that of the second."""
        return [ranking.value() for ranking in self._rankings] if self._with_probabilities or self._ranked else []


class RegressionMetrics:
    """Metrics of one target. Sums are relative to the first batch's mean, to preserve precision for large values."""

    def __init__(self) -> None:
        self.rows = 0
        self._absolute = self._squared = self._error = 0.0
        self._origin = self._sum = self._squares = 0.0

    def add(self, truth: Floats, predicted: Floats) -> None:
        """Add true and predicted values, `[rows]`."""
        if not self.rows and len(truth):
            self._origin = float(truth.mean())
        apart, moved = predicted - truth, truth - self._origin
        self.rows += len(truth)
        self._absolute += float(np.abs(apart).sum())
        self._squared += float(np.square(apart).sum())
        self._error += float(apart.sum())
        self._sum += float(moved.sum())
        self._squares += float(np.square(moved).sum())

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self._absolute / max(1, self.rows)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(self._squared / max(1, self.rows)))

    @property
    def bias(self) -> float:
        """Mean of predicted − true."""
        return self._error / max(1, self.rows)

    @property
    def r2(self) -> float:
        """1 − squared error / squared distance from the mean; NaN if all true values are equal."""
        total = self._squares - self._sum**2 / max(1, self.rows)
        return 1 - self._squared / total if total > 0 else float("nan")


class QuantileMetrics:
    """Metrics of one quantile of one target: pinball loss and coverage."""

    def __init__(self, quantile: float) -> None:
        self.quantile, self.rows = quantile, 0
        self._loss, self._below = 0.0, 0

    def add(self, truth: Floats, predicted: Floats) -> None:
        """Add true values and predicted quantiles, `[rows]`."""
        apart = truth - predicted
        self.rows += len(truth)
        self._loss += float(np.maximum(self.quantile * apart, (self.quantile - 1) * apart).sum())
        self._below += int((apart <= 0).sum())

    @property
    def pinball(self) -> float:
        """Mean pinball loss."""
        return self._loss / max(1, self.rows)

    @property
    def coverage(self) -> float:
        """The share of rows whose true value is at or below the predicted quantile; ideally the quantile itself."""
        return self._below / max(1, self.rows)


def macro(values: Sequence[float] | Floats) -> float:
    """The unweighted mean over labels; NaN if a label's value is NaN."""
    return float(np.mean(values)) if len(values) else float("nan")

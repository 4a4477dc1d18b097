"""How good predictions are, added up batch by batch: no row is kept but for the ranks of AUC. Knows nothing of files.

Formulas are scikit-learn's, so that the same rows give the same numbers: `accuracy_score`, `log_loss`, `roc_auc_score`
(one against the rest, the mean of all labels), `brier_score_loss`, `f1_score`, `confusion_matrix`,
`mean_absolute_error`, `root_mean_squared_error`, `r2_score`, `mean_pinball_loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
#: Scores that are kept for exact ranks, over all labels; beyond, they are counted in bins.
EXACT_SCORES = 1 << 26
_BIN_BITS = 18
_TINY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auc:
    """Area under the ROC curve; the true one lies within `bound` of it, which is 0 where ranks were kept. NaN where all
    rows are of one kind."""

    value: float
    bound: float


class Ranking:
    """The area under the ROC curve of one label's scores: the share of pairs of a positive and a negative row in which
    the positive has the higher score, ties half (Hanley and McNeil 1982).

    Args:
        exact: how many scores are kept; beyond, scores that share their first 18 bits count as ties, and half of what
            such ties weigh is the bound.
    """

    def __init__(self, exact: int = EXACT_SCORES) -> None:
        self._exact, self._held = exact, 0
        self._kept: tuple[list[NDArray[np.uint32]], list[NDArray[np.uint32]]] = ([], [])
        self._bins: tuple[Ints, Ints] | None = None

    def add(self, scores: Singles, positive: Bools) -> None:
        """Take float32 scores `[rows]` and which rows are positive."""
        keys = _ordered(scores)
        for place, part in enumerate((keys[~positive], keys[positive])):
            if self._bins is None:
                self._kept[place].append(part)
            else:
                self._count(place, part)
        self._held += len(scores)
        if self._bins is None and self._held > self._exact:
            size = 1 << _BIN_BITS
            self._bins = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
            for place in (0, 1):
                for part in self._kept[place]:
                    self._count(place, part)
                self._kept[place].clear()

    def value(self) -> Auc:
        """What the scores so far come to."""
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

    def _count(self, place: int, keys: NDArray[np.uint32]) -> None:
        assert self._bins is not None, "made before anything is counted"
        self._bins[place][:] += np.bincount(keys >> np.uint32(32 - _BIN_BITS), minlength=1 << _BIN_BITS)


_NONE = Auc(value=float("nan"), bound=0.0)


def _ordered(scores: Singles) -> NDArray[np.uint32]:
    """Numbers whose order is that of the floats: of a negative all bits are turned, of the others the sign."""
    bits = (np.ascontiguousarray(scores) + np.float32(0)).view(np.uint32)  # −0 and 0 are one
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def negative_logs(right: Singles | Floats) -> Floats:
    """−log of the right label's probability, `[rows]`, no nearer to 0 and 1 than float32 can tell: their mean is the
    log loss."""
    logs: Floats = -np.log(np.clip(right.astype(np.float64), _TINY, 1 - _TINY))
    return logs


def squared_distances(probabilities: Singles | Floats, right: Singles | Floats) -> Floats:
    """Of probabilities `[rows, labels]` from 1 for the right label and 0 for the others, `[rows]`: their mean is the
    Brier score, of two labels twice that.

    Args:
        right: the right label's probability.
    """
    squares: Floats = np.square(probabilities, dtype=np.float64).sum(axis=1) - 2 * right.astype(np.float64) + 1
    return squares


class ClassMetrics:
    """Of one label among several. `labels`: how many there are."""

    def __init__(self, labels: int) -> None:
        self.confusion: Ints = np.zeros((labels, labels), dtype=np.int64)
        self.rows = 0
        self._log_loss = self._brier = 0.0
        self._with_probabilities = False
        self._rankings = [Ranking(EXACT_SCORES // labels) for _ in range(labels if labels > 2 else 1)]

    def add(self, truth: Ints, predicted: Ints, probabilities: Singles | None) -> None:
        """Take the places of the right labels and of those predicted, `[rows]`, and probabilities `[rows, labels]`."""
        labels = len(self.confusion)
        self.rows += len(truth)
        self.confusion += np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)
        if probabilities is None:
            return
        self._with_probabilities = True
        right = probabilities[np.arange(len(truth)), truth]
        self._log_loss += float(negative_logs(right).sum())
        self._brier += float(squared_distances(probabilities, right).sum())
        for place, ranking in enumerate(self._rankings):
            label = place if labels > 2 else 1
            ranking.add(probabilities[:, label], truth == label)

    @property
    def accuracy(self) -> float:
        """The share of rows whose label is predicted."""
        return float(np.trace(self.confusion) / max(1, self.rows))

    @property
    def f1(self) -> Floats:
        """Of each label: 2 · hits / (predicted + right), 0 where it is neither."""
        hits = np.diag(self.confusion)
        either = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return np.asarray(2 * hits / np.maximum(1, either))

    @property
    def log_loss(self) -> float | None:
        """Mean −log of the right label's probability; None where there are no probabilities."""
        return self._log_loss / max(1, self.rows) if self._with_probabilities else None

    @property
    def brier(self) -> float | None:
        """Mean squared distance of the probabilities from the truth: of the second label's where there are two, else
        summed over all labels."""
        half = 2 if len(self.confusion) == 2 else 1
        return self._brier / half / max(1, self.rows) if self._with_probabilities else None

    def aucs(self) -> list[Auc]:
        """One against the rest, of each label; of the second alone where there are two."""
        return [ranking.value() for ranking in self._rankings] if self._with_probabilities else []


class RegressionMetrics:
    """Of one target. Sums are taken around the first batch's mean, so that nothing is lost to large values."""

    def __init__(self) -> None:
        self.rows = 0
        self._absolute = self._squared = self._error = 0.0
        self._origin = self._sum = self._squares = 0.0

    def add(self, truth: Floats, predicted: Floats) -> None:
        """Take the right values and the predicted ones, `[rows]`."""
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
        """Mean of predicted − right."""
        return self._error / max(1, self.rows)

    @property
    def r2(self) -> float:
        """1 − squared error / squared distance from the mean; NaN where all right values are equal."""
        total = self._squares - self._sum**2 / max(1, self.rows)
        return 1 - self._squared / total if total > 0 else float("nan")


class QuantileMetrics:
    """Of one quantile of one target: how much it costs, and how often the truth lies at or below it."""

    def __init__(self, quantile: float) -> None:
        self.quantile, self.rows = quantile, 0
        self._loss, self._below = 0.0, 0

    def add(self, truth: Floats, predicted: Floats) -> None:
        """Take the right values and the predicted quantile, `[rows]`."""
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
        """The share of rows whose right value lies at or below: the quantile itself, where it is right."""
        return self._below / max(1, self.rows)


def macro(values: Sequence[float] | Floats) -> float:
    """The plain mean over labels; NaN where one has none."""
    return float(np.mean(values)) if len(values) else float("nan")

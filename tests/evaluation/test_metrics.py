"""Metrics in batches, compared with scikit-learn on all rows at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.evaluation.metrics import ClassMetrics, QuantileMetrics, Ranking, RegressionMetrics, macro
from sklearn import metrics as skm

scores = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60)


numbers = st.lists(
    st.tuples(st.floats(-1e300, 1e300) | st.floats(1e8, 1e8 + 1), st.booleans()), min_size=1, max_size=60
)


@given(scores, st.integers(1, 7))
def test_auc_is_exact_or_within_its_bound(pairs: list[tuple[float, bool]], cut: int) -> None:
    """In batches, with ties; with bins, the exact value is within the bound."""
    agrees(np.array([a for a, _ in pairs], dtype=np.float32), np.array([b for _, b in pairs]), cut)


@given(numbers, st.integers(1, 7))
def test_auc_of_float64(pairs: list[tuple[float, bool]], cut: int) -> None:
    """Of numbers that float32 cannot tell apart, and of negative ones."""
    agrees(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]), cut)


def agrees(p: np.ndarray, y: np.ndarray, cut: int) -> None:
    """Compare the AUC in batches with scikit-learn's."""
    exact, coarse = Ranking(), Ranking(exact=3)
    for start in range(0, len(p), cut):
        exact.add(p[start : start + cut], y[start : start + cut])
        coarse.add(p[start : start + cut], y[start : start + cut])
    if len(set(y.tolist())) < 2:
        assert np.isnan(exact.value().value)
        return
    wanted = skm.roc_auc_score(y, p)
    assert exact.value().value == pytest.approx(wanted, abs=1e-12)
    assert abs(coarse.value().value - wanted) <= coarse.value().bound + 1e-12


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40), st.integers(1, 9))
def test_r2_in_batches(values: list[float], cut: int) -> None:
    """Equals scikit-learn's on all rows at once."""
    truth = np.array(values)
    predicted = truth * 0.9 + 1
    mine = RegressionMetrics()
    for start in range(0, len(truth), cut):
        mine.add(truth[start : start + cut], predicted[start : start + cut])
    assert mine.mae == pytest.approx(skm.mean_absolute_error(truth, predicted), rel=1e-9)
    if np.ptp(truth) > 1e-3:
        assert mine.r2 == pytest.approx(skm.r2_score(truth, predicted), rel=1e-6, abs=1e-6)


def test_scores_in_one_bin_count_as_ties() -> None:
    """Half of each pair, and the other half is the bound; scores in different bins are compared."""
    close = np.array([1.0, np.nextafter(np.float32(1), np.float32(2)), 0.5], dtype=np.float32)
    ranking = Ranking(exact=0)
    ranking.add(close, np.array([False, True, False]))
    found = ranking.value()
    assert (found.value, found.bound) == (0.75, 0.25)


def test_scores_of_any_sign() -> None:
    """In the order of numbers; both zeros are equal."""
    for exact in (0, 100):
        ranking = Ranking(exact=exact)
        ranking.add(np.array([-5, -0.25, 0.0, 3], dtype=np.float32), np.array([False, True, False, True]))
        assert ranking.value().value == 0.75
        zeros = Ranking(exact=exact)
        zeros.add(np.array([-0.0, 0.0], dtype=np.float32), np.array([False, True]))
        assert zeros.value().value == 0.5


def test_scores_are_kept_up_to_the_limit() -> None:
    """Then all of them are counted in bins, those before as well."""
    ranking = Ranking(exact=3)
    ranking.add(np.array([1, np.nextafter(np.float32(1), np.float32(2)), 0.5], np.float32), np.array([0, 1, 0]) == 1)
    assert (ranking.value().value, ranking.value().bound) == (1.0, 0.0)
    ranking.add(np.array([2], np.float32), np.array([True]))
    assert (ranking.value().value, ranking.value().bound) == (0.875, 0.125)


@pytest.mark.parametrize("labels", [2, 3])
def test_classes_in_batches(labels: int) -> None:
    """Every measure equals scikit-learn's on all rows at once, also with probabilities of 0 and 1."""
    rng = np.random.default_rng(labels)
    p = rng.dirichlet(np.ones(labels), 60).astype(np.float32)
    p[:labels] = np.eye(labels, dtype=np.float32)
    truth = rng.integers(0, labels, 60)
    predicted = np.where(rng.random(60) < 0.7, p.argmax(axis=1), rng.integers(0, labels, 60))
    mine = ClassMetrics(labels)
    for start in range(0, 60, 7):
        part = slice(start, start + 7)
        mine.add(truth[part], predicted[part], p[part])
    assert mine.rows == 60
    assert mine.confusion.tolist() == skm.confusion_matrix(truth, predicted).tolist()
    assert mine.accuracy == pytest.approx(skm.accuracy_score(truth, predicted))
    assert mine.f1.tolist() == pytest.approx(skm.f1_score(truth, predicted, average=None).tolist())
    right = p[np.arange(60), truth].astype(np.float64)
    assert mine.log_loss == pytest.approx(-np.log(np.clip(right, 2**-23, 1 - 2**-23)).mean())
    distances = np.square(p - np.eye(labels)[truth]).sum(axis=1).mean()
    assert mine.brier == pytest.approx(skm.brier_score_loss(truth, p[:, 1]) if labels == 2 else distances, rel=1e-5)
    each = [label for label in range(labels) if labels > 2 or label == 1]
    assert [auc.value for auc in mine.aucs()] == pytest.approx([skm.roc_auc_score(truth == n, p[:, n]) for n in each])


@pytest.mark.parametrize("labels", [2, 3, 6])
def test_the_mean_f1_of_the_labels_that_occur(labels: int) -> None:
    """As scikit-learn's: a label that is neither true nor predicted does not count."""
    truth, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, labels - 1])
    mine = ClassMetrics(labels)
    mine.add(truth, predicted, None)
    assert mine.f1_macro == pytest.approx(skm.f1_score(truth, predicted, average="macro"))


def test_classes_without_probabilities() -> None:
    """Or without rows: nothing is divided by zero."""
    mine = ClassMetrics(3)
    assert (mine.accuracy, mine.f1.tolist()) == (0, [0, 0, 0])
    mine.add(np.array([0, 1]), np.array([0, 2]), None)
    assert (mine.log_loss, mine.brier, mine.aucs()) == (None, None, [])
    assert mine.f1.tolist() == [1, 0, 0]


def test_a_regression() -> None:
    """Values that are large beside their differences; the bias is that of the predictions."""
    truth = 1e9 + np.arange(50.0)
    predicted = truth + np.where(np.arange(50) % 2, 3.0, -1.0)
    mine = RegressionMetrics()
    for start in range(0, 50, 20):
        mine.add(truth[start : start + 20], predicted[start : start + 20])
    assert (mine.bias, mine.mae) == (1.0, 2.0)
    assert mine.rmse == pytest.approx(skm.root_mean_squared_error(truth, predicted))
    assert mine.r2 == pytest.approx(skm.r2_score(truth, predicted), rel=1e-9)
    constant = RegressionMetrics()
    constant.add(np.ones(3), np.arange(3.0))
    assert np.isnan(constant.r2)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles(quantile: float) -> None:
    """A value equal to the predicted quantile is covered."""
    truth, predicted = np.arange(10.0), np.full(10, 4.0)
    mine = QuantileMetrics(quantile)
    mine.add(truth[:3], predicted[:3])
    mine.add(truth[3:], predicted[3:])
    assert mine.pinball == pytest.approx(skm.mean_pinball_loss(truth, predicted, alpha=quantile))
    assert mine.coverage == 0.5


def test_the_mean_over_labels() -> None:
    """Is not a number if that of a label is not."""
    assert macro([0.5, 1.0]) == 0.75
    assert np.isnan(macro([0.5, float("nan")]))
    assert np.isnan(macro([]))

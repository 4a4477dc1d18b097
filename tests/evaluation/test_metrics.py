"""Metrics in batches, compared with scikit-learn on all rows at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.evaluation.metrics import Ranking, RegressionMetrics
from sklearn import metrics as skm

scores = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60)


@given(scores, st.integers(1, 7))
def test_auc_is_exact_or_within_its_bound(pairs: list[tuple[float, bool]], cut: int) -> None:
    """In batches, with ties; with bins, the exact value is within the bound."""
    p, y = np.array([a for a, _ in pairs], dtype=np.float32), np.array([b for _, b in pairs])
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

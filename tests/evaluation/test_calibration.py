"""Temperature and Platt: the fitted parameters are those of scikit-learn, or the labels are refused."""

import numpy as np
import pytest
from scoreline.pipeline.evaluation.calibration import fit_platt, fit_temperature
from sklearn.calibration import _SigmoidCalibration, _TemperatureScaling
from sklearn.linear_model import LogisticRegression

RNG = np.random.default_rng(0)


def classes(rows: int, labels: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from them at some temperature."""
    z = RNG.normal(0, 4, (rows, labels))
    p = np.exp(z / temperature) / np.exp(z / temperature).sum(axis=1, keepdims=True)
    return z, (p.cumsum(axis=1) > RNG.random((rows, 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature(temperature: float) -> None:
    """Close to the true one, and the likelihood is lower on both sides."""
    z, truth = classes(4000, 4, temperature)
    found = fit_temperature(z, truth).temperature
    assert found == pytest.approx(temperature, rel=0.1)
    assert found == pytest.approx(1 / _TemperatureScaling().fit(z, truth).beta_, rel=1e-3)

    def loss(t: float) -> float:
        logs = z / t - np.log(np.exp(z / t).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(len(z)), truth].mean())

    assert loss(found) < min(loss(found * 1.001), loss(found / 1.001))


def test_temperature_of_log_odds() -> None:
    """One column is the second of two labels."""
    z, truth = classes(1000, 2, 2.0)
    apart = z[:, 1] - z[:, 0]
    assert fit_temperature(apart[:, None], truth).temperature == pytest.approx(fit_temperature(z, truth).temperature)


@pytest.mark.parametrize(("factor", "offset"), [(1, 9999.0), (1, -20_000.0), (3000, 0.0), (1e-5, 0.0), (1e9, 1e12)])
def test_temperature_of_any_scale(factor: float, offset: float) -> None:
    """Softmax does not depend on an offset, and the temperature is in proportion to the logits."""
    z, truth = classes(400, 3, 2.0)
    found = fit_temperature(z * factor + offset, truth).temperature
    assert found == pytest.approx(factor / _TemperatureScaling().fit(z, truth).beta_, rel=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 3e4, 1e12])
def test_platt_of_any_scale(factor: float) -> None:
    """The slope is in inverse proportion to the scores."""
    z = RNG.normal(0, 1, 400)
    truth = RNG.random(400) < 1 / (1 + np.exp(-z))
    found = fit_platt(z[:, None] * factor, truth[:, None], ["a"])
    theirs = _SigmoidCalibration().fit(z, truth)
    assert found.slope[0] * factor == pytest.approx(-theirs.a_, rel=1e-3)
    assert found.intercept[0] == pytest.approx(-theirs.b_, rel=1e-3, abs=1e-4)


def test_scores_that_are_not_finite() -> None:
    """Are limited, so that one row does not decide."""
    z, truth = classes(500, 3, 1.5)
    odd = z.copy()
    odd[0] = [np.inf, -np.inf, np.nan]
    truth[0] = 0
    assert fit_temperature(odd, truth).temperature == pytest.approx(fit_temperature(z, truth).temperature, rel=0.05)


@pytest.mark.parametrize("truth", ["best", "worst"])
def test_labels_without_a_temperature(truth: str) -> None:
    """Every prediction is right, or they are worse than chance."""
    z, _ = classes(100, 3, 1.0)
    with pytest.raises(ValueError, match="all predictions are correct, or no better than chance"):
        fit_temperature(z, z.argmax(axis=1) if truth == "best" else z.argmin(axis=1))


def test_platt() -> None:
    """Both parameters of each label, as scikit-learn fits them to smoothed targets; few rows make a difference."""
    for rows in (30, 3000):
        z = RNG.normal(0, 3, (rows, 2))
        truth = RNG.random((rows, 2)) < 1 / (1 + np.exp(-(0.5 * z + [0.4, -1])))
        found = fit_platt(z, truth, ["a", "b"])
        for index in (0, 1):
            theirs = _SigmoidCalibration().fit(z[:, index], truth[:, index])
            assert found.slope[index] == pytest.approx(-theirs.a_, rel=1e-3)
            assert found.intercept[index] == pytest.approx(-theirs.b_, rel=1e-3, abs=1e-4)


def test_platt_of_labels_that_are_separated() -> None:
    """Stays finite, since the targets are not 0 and 1."""
    z = np.array([[-3.0], [-2.0], [2.0], [1e9]])
    found = fit_platt(z, z > 0, ["a"])
    assert 0 < found.slope[0] < 10
    assert np.isfinite(found.intercept[0])


@pytest.mark.parametrize(("center", "spread", "rows"), [(30, 1, 2000), (-40, 3, 2000), (40, 5, 2000), (0, 300, 20)])
def test_platt_of_scores_far_from_zero(center: float, spread: float, rows: int) -> None:
    """Where almost every probability is 0 or 1, the loss is flat, and Newton's method would leave it."""
    for _ in range(5):
        z = RNG.normal(center, spread, (rows, 1))
        truth = RNG.random((rows, 1)) < 1 / (1 + np.exp(-2 * (z - center) / spread))
        found = fit_platt(z, truth, ["a"])
        theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
        share = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((~truth).sum() + 2)
        targets = np.where(truth[:, 0], *share)
        standard = (z - center) / spread
        theirs.fit(
            np.concatenate([standard, standard]), [1] * rows + [0] * rows, sample_weight=np.append(targets, 1 - targets)
        )
        slope = float(theirs.coef_[0, 0]) / spread
        assert found.slope[0] == pytest.approx(slope, rel=1e-3)
        assert found.intercept[0] == pytest.approx(float(theirs.intercept_[0]) - slope * center, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("value", [True, False])
def test_platt_needs_both_answers(value: bool) -> None:
    """For each label."""
    truth = np.array([[False, value], [True, value]])
    with pytest.raises(ValueError, match="column 'b': a label that every row has, or that no row has"):
        fit_platt(np.array([[1.0, 1.0], [2.0, 2.0]]), truth, ["a", "b"])


def test_platt_needs_different_scores() -> None:
    """Also where they differ by rounding alone."""
    for scores in ([7.0, 7.0, 7.0], [1e3, 1e3, np.nextafter(1e3, 0)]):
        with pytest.raises(ValueError, match="column 'a': all rows have the same score"):
            fit_platt(np.array(scores)[:, None], np.array([[True], [False], [True]]), ["a"])

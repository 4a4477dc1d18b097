"""Reliability of probabilities, compared with scikit-learn and a loop in plain Python."""

import numpy as np
import pytest
import torch
from scoreline.pipeline.evaluation.reliability import reliability
from scoreline.pipeline.tasks.tasks import task_of
from scoreline.schemas.heads import BinaryHead, MulticlassHead, Platt, Temperature
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

RNG = np.random.default_rng(5)
BINARY = BinaryHead(outputs="logits", labels=["no", "yes"])
CLASSES = MulticlassHead(outputs="logits", labels=["x", "y", "z"])


def expected_calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total = 0.0
    for at in range(bins):
        last = at == bins - 1
        within = (confidence >= at / bins) & ((confidence <= 1) if last else (confidence < (at + 1) / bins))
        if within.any():
            total += within.sum() * abs(hits[within].mean() - confidence[within].mean())
    return total / len(confidence)


def test_a_binary_head_equals_scikit_learn() -> None:
    """Calibration curve, log loss, Brier score and calibration error of overconfident probabilities."""
    probabilities = RNG.beta(0.4, 0.4, 2000)
    truth = RNG.random(2000) < 0.5 + 0.3 * (probabilities - 0.5)
    found = reliability(probabilities[:, None], truth.astype(np.int64))
    observed, predicted = calibration_curve(truth, probabilities, n_bins=10)
    filled = found.counts > 0
    np.testing.assert_allclose(found.observed[filled], observed)
    np.testing.assert_allclose(found.predicted[filled], predicted)
    assert found.counts.sum() == 2000
    assert found.log_loss == pytest.approx(log_loss(truth, np.clip(probabilities, 1.2e-7, 1 - 1.2e-7)), rel=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(truth, probabilities))
    assert found.error == pytest.approx(expected_calibration_error(probabilities, truth, 10))


def test_a_multiclass_head_uses_the_predicted_label() -> None:
    """For the calibration error; log loss and Brier score use all labels."""
    probabilities = RNG.dirichlet([2, 2, 2], 1500)
    truth = RNG.integers(0, 3, 1500)
    found = reliability(probabilities, truth, bins=7)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    assert len(found.counts) == 7
    assert found.error == pytest.approx(expected_calibration_error(confidence, hits, 7))
    assert found.log_loss == pytest.approx(log_loss(truth, probabilities, labels=[0, 1, 2]), rel=1e-4)
    squares = [
        sum((p - (at == right)) ** 2 for at, p in enumerate(row))
        for row, right in zip(probabilities, truth, strict=True)
    ]
    assert found.brier == pytest.approx(np.mean(squares))


def test_perfect_probabilities_have_no_error() -> None:
    """0 and 1 are counted in the first and the last bin."""
    found = reliability(np.array([[0.0], [1.0], [1.0]]), np.array([0, 1, 1]))
    assert (found.error, found.brier) == (0.0, 0.0)
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.log_loss < 1e-6


def test_calibrations_are_applied_to_the_logits() -> None:
    """A temperature divides them; Platt applies a line; without calibration they are unchanged."""
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]])
    warm = CLASSES.model_copy(update={"calibration": Temperature(temperature=2.0)})
    for head, scale in ((CLASSES, 1.0), (warm, 2.0)):
        powers = np.exp(logits.double().numpy() / scale)
        np.testing.assert_allclose(task_of(head).probabilities(logits), powers / powers.sum(axis=1, keepdims=True))
    one = torch.tensor([[-3.0], [0.25]])
    lined = BINARY.model_copy(update={"calibration": Platt(slope=[0.5], intercept=[-1.0])})
    for head, slope, intercept in ((BINARY, 1.0, 0.0), (lined, 0.5, -1.0)):
        wanted = 1 / (1 + np.exp(-(slope * one.double().numpy() + intercept)))
        np.testing.assert_allclose(task_of(head).probabilities(one), wanted)

"""Quantiles of χ² against scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaincc
from scipy.stats import chi2
from scoreline.pipeline.monitoring.chi_squared import chi_squared_quantile, log_tail


@given(
    tail=st.floats(-15, -1e-6).map(lambda power: 10.0**power),
    df=st.integers(1, 2000),
)
def test_quantiles_equal_scipy(tail: float, df: int) -> None:
    """At every number of degrees of freedom, far into the upper tail."""
    assert chi_squared_quantile(tail, df) == pytest.approx(chi2.isf(tail, df), rel=1e-9, abs=1e-12)


@given(shape=st.floats(0.5, 1000), ratio=st.floats(0, 4))
def test_tails_equal_scipy(shape: float, ratio: float) -> None:
    """Where scipy's result is not 0, on both sides of the mean."""
    expected = gammaincc(shape, shape * ratio)
    if expected > 1e-280:
        assert math.exp(log_tail(shape, shape * ratio)) == pytest.approx(expected, rel=1e-8)


def test_without_degrees_of_freedom() -> None:
    """A single bin cannot differ."""
    assert chi_squared_quantile(0.001, 0) == 0.0

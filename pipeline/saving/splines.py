"""Fitted SplineTransformer → spline steps. Reads attributes of fitted objects without importing scikit-learn."""

from typing import Any

from ...schemas.steps import SplineStep
from ..errors import BundleError
from .step_list import StepList, as_floats


def read_splines(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append a SplineTransformer as one step.

    Raises:
        BundleError: its result is not that of each value by itself, or scikit-learn fails on it.
    """
    beyond, degree = fitted.extrapolation, int(fitted.degree)
    if degree == 0 and beyond in ("constant", "linear"):
        why = (
            "scikit-learn fails on values above the knots"
            if beyond == "constant"
            else "scikit-learn treats the columns after the first differently"
        )
        raise BundleError(
            f"SplineTransformer with degree=0 and extrapolation={beyond!r} cannot be saved, since {why}; use a"
            " KBinsDiscretizer"
        )
    if degree == 1 and beyond == "linear" and len(inputs) > 1:
        raise BundleError(
            "SplineTransformer with degree=1 and extrapolation='linear' cannot be saved for several columns, since"
            " scikit-learn treats the columns after the first differently; fit one for each column, or use degree=2"
        )
    knots = [as_floats(one.t) for one in fitted.bsplines_]
    splines = int(fitted.bsplines_[0].c.shape[1]) - (0 if fitted.include_bias else 1)
    return to.step(
        SplineStep,
        inputs,
        splines * len(inputs),
        degree=degree,
        knots=knots,
        extrapolation=beyond,
        bias=bool(fitted.include_bias),
        zeros_if_missing=getattr(fitted, "handle_missing", "error") == "zeros",  # exists since scikit-learn 1.8
    )

"""Fitted PCA and TruncatedSVD → linear steps. Reads attributes of fitted objects without importing scikit-learn."""

from typing import Any

import numpy as np

from ...schemas.steps import LinearStep
from ..errors import BundleError
from .step_list import StepList, as_floats

#: The largest rounding error of a whitened column, relative to its standard deviation; float32 resolves 6e-8.
_MAX_ERROR = 1e-6


def read_pca(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append PCA or IncrementalPCA as a linear step.

    Raises:
        BundleError: whitening divides rounding errors by a standard deviation of almost 0.
    """
    scale = None
    if fitted.whiten:
        deviations = np.sqrt(np.asarray(fitted.explained_variance_, dtype=np.float64))
        _refuse_noise(fitted, deviations)
        scale = as_floats(deviations)
    matrix = as_floats(fitted.components_)
    return to.step(LinearStep, inputs, len(matrix), matrix=matrix, mean=as_floats(fitted.mean_), scale=scale)


def read_svd(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append TruncatedSVD as a linear step."""
    matrix = as_floats(fitted.components_)
    return to.step(LinearStep, inputs, len(matrix), matrix=matrix)


def _refuse_noise(fitted: Any, deviations: np.ndarray) -> None:
    magnitude = np.abs(np.asarray(fitted.components_, dtype=np.float64)) @ np.abs(fitted.mean_) + deviations.max()
    noisy = np.flatnonzero(~(np.finfo(np.float64).eps * magnitude <= _MAX_ERROR * deviations))
    if len(noisy):
        at = int(noisy[0])
        raise BundleError(
            f"{type(fitted).__name__} with whiten=True cannot be saved: the standard deviation of component {at} is"
            f" {deviations[at]:.3g}, so that dividing by it returns rounding errors; fit it with n_components={at} or"
            " fewer"
            if at
            else f"{type(fitted).__name__} with whiten=True cannot be saved: it was fitted on constant columns; leave"
            " them out"
        )

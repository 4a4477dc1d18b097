"""Rows of six columns, and bundles of models that take them."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from described import save_described

RNG = np.random.default_rng(0)

X = RNG.normal(size=(40, 6))

NAMES = list("abcdef")


def save(path: Path, model: nn.Module, **changes: Any) -> str:
    """Save a bundle, by default with three classes and no scaler."""
    given = {"features": NAMES, "task": "multiclass", "labels": ["x", "y", "z"], "sample": X, **changes}
    return save_described(path, model, **given)

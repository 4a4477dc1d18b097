"""A model's files, and specs that name them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

RNG = np.random.default_rng(2)

FRAME = pd.DataFrame({"a": RNG.normal(5, 2, 40), "b": RNG.normal(-1, 9, 40), "c": RNG.normal(0, 1, 40)})

NAMES = list(FRAME)

LAYERS = """[
  {type = "Linear", in_features = 3, out_features = 8}, {type = "ReLU"},
  {type = "BatchNorm1d", num_features = 8}, {type = "Linear", in_features = 8, out_features = 2},
]"""


def probabilities(model: nn.Module, scaler: Any, frame: pd.DataFrame) -> np.ndarray:
    with torch.no_grad():
        return torch.softmax(model(torch.tensor(scaler.transform(frame), dtype=torch.float32)), 1).numpy()


def spec(files: Path, *, model: str | None = None, scaler: str | None = "scaler.json", more: str = "") -> Path:
    """A spec, with something put in place of something else."""
    model = f'weights = "weights.pt"\nlayers = {LAYERS}' if model is None else model
    text = f'features = {NAMES}\ntask = {{kind = "binary", labels = [0, 1]}}\n'
    text += f'sample = "sample.csv"\n{more}\n[model]\n{model}\n'
    text += "" if scaler is None else f'[scaler]\nfile = "{scaler}"\n'
    (files / "spec.toml").write_text(text)
    return files / "spec.toml"

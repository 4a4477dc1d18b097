"""Networks for every task, and their outputs in float64."""

import numpy as np
import pandas as pd
import torch
from torch import nn

NAMES = list("abcdef")

X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 6)), columns=NAMES)


def net(width: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, width)).eval()


def raw(model: nn.Module, frame: pd.DataFrame = X) -> np.ndarray:
    """The raw outputs of the model, in float64."""
    with torch.no_grad():
        out: np.ndarray = model.double()(torch.from_numpy(frame.to_numpy(np.float64).copy())).numpy()
    model.float()
    return out


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))

"""Files that a training script has saved."""

from pathlib import Path

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from packed_files import FRAME, write_files
from textbook import randomized


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomized(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))).eval()


@pytest.fixture(scope="module")
def scaler() -> StandardScaler:
    return StandardScaler().fit(FRAME)


@pytest.fixture
def files(tmp_path: Path, model: nn.Module, scaler: StandardScaler) -> Path:
    """A folder with the files that a training script has saved."""
    return write_files(tmp_path, model, scaler)

"""Files that a training script has saved."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scoreline.jobs import pack
from sklearn.preprocessing import StandardScaler
from torch import nn

from packed_files import FRAME, write_files
from textbook import randomized
from warm_parent import WarmParent


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


@pytest.fixture(scope="session")
def warm_parent() -> Iterator[WarmParent]:
    parent = WarmParent()
    yield parent
    parent.close()


@pytest.fixture
def forked(warm_parent: WarmParent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the child processes of `pack` from one that has imported everything. `test_pickles.py` starts them as users
    do."""
    monkeypatch.setattr(pack, "subprocess", SimpleNamespace(run=warm_parent.run, DEVNULL=subprocess.DEVNULL))

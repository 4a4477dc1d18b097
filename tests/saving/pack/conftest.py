"""What someone saved at training time."""

import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import skops.io
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from packed_files import FRAME, probabilities
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
    """What someone saved at training time."""
    FRAME.to_csv(tmp_path / "sample.csv", index=False)
    FRAME.to_parquet(tmp_path / "sample.parquet", index=False)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "checkpoint.pth")
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.save(model, tmp_path / "whole.pt")
    joblib.dump(scaler, tmp_path / "scaler.joblib")
    (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    (tmp_path / "scaler.skops").write_bytes(skops.io.dumps(scaler))
    np.savez(tmp_path / "scaler.npz", mean_=scaler.mean_, scale_=scaler.scale_)
    (tmp_path / "scaler.json").write_text(
        json.dumps({"kind": "standard", "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()})
    )
    expected = probabilities(model, scaler, FRAME)
    pd.DataFrame({"probability": expected[:, 1]}).to_csv(tmp_path / "expected.csv", index=False)
    (tmp_path / "train_code.py").write_text(
        "from torch import nn\n\n\ndef make(width):\n    return nn.Sequential(\n"
        "        nn.Linear(3, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 2)\n    )\n"
    )
    return tmp_path

"""The files of a trained model, and specs that reference them."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import safetensors.torch
import skops.io
import torch
from sklearn.preprocessing import StandardScaler
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
    """Write a spec with some sections replaced."""
    model = f'weights = "weights.pt"\nlayers = {LAYERS}' if model is None else model
    text = f'features = {NAMES}\ntask = {{kind = "binary", labels = [0, 1]}}\n'
    text += f'sample = "sample.csv"\n{more}\n[model]\n{model}\n'
    text += "" if scaler is None else f'[scaler]\nfile = "{scaler}"\n'
    (files / "spec.toml").write_text(text)
    return files / "spec.toml"


def write_files(folder: Path, model: nn.Module, scaler: StandardScaler) -> Path:
    """Write the files that a user saved after training."""
    FRAME.to_csv(folder / "sample.csv", index=False)
    FRAME.to_parquet(folder / "sample.parquet", index=False)
    torch.save(model.state_dict(), folder / "weights.pt")
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, folder / "checkpoint.pth")
    safetensors.torch.save_file(model.state_dict(), folder / "weights.safetensors")
    torch.save(model, folder / "whole.pt")
    joblib.dump(scaler, folder / "scaler.joblib")
    (folder / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    (folder / "scaler.skops").write_bytes(skops.io.dumps(scaler))
    np.savez(folder / "scaler.npz", mean_=scaler.mean_, scale_=scaler.scale_)
    (folder / "scaler.json").write_text(
        json.dumps({"kind": "standard", "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()})
    )
    expected = probabilities(model, scaler, FRAME)
    pd.DataFrame({"probability": expected[:, 1]}).to_csv(folder / "expected.csv", index=False)
    (folder / "train_code.py").write_text(
        "from torch import nn\n\n\ndef make(width):\n    return nn.Sequential(\n"
        "        nn.Linear(3, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 2)\n    )\n"
    )
    return folder

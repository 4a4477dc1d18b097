"""A trained model whose features are computed by expressions, with its raw rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from scoreline import Binary, Expressions, save_bundle

SQL = {"hour": "hour(ts)", "amount_log": "ln(amount + 1)", "city": "lower(trim(city))"}
FEATURES = list(SQL)


def raw_rows(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Raw rows: a key, a timestamp, a number and text."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": range(rows),
            "ts": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
            "amount": rng.random(rows) * 100,
            "city": [("  Berlin", "PARIS ", "Rome")[n % 3] for n in range(rows)],
        }
    )


def engineered(raw: pd.DataFrame) -> pd.DataFrame:
    """The features as the training code computes them, in pandas."""
    return pd.DataFrame(
        {"hour": raw.ts.dt.hour, "amount_log": np.log(raw.amount + 1), "city": raw.city.str.strip().str.lower()}
    )


@dataclass(frozen=True)
class Trained:
    """A network and its fitted transformers, over the engineered features."""

    model: nn.Module
    transformer: ColumnTransformer

    def probabilities(self, raw: pd.DataFrame) -> np.ndarray:
        """By pandas, scikit-learn and torch."""
        values = self.transformer.transform(engineered(raw)).astype(np.float32)
        with torch.no_grad():
            return torch.softmax(self.model(torch.from_numpy(values)), 1)[:, 1].numpy()


def trained() -> Trained:
    """A network with fixed weights."""
    transformer = ColumnTransformer(
        [("numbers", StandardScaler(), ["hour", "amount_log"]), ("words", OneHotEncoder(), ["city"])]
    ).fit(engineered(raw_rows()))
    torch.manual_seed(0)
    return Trained(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)).eval(), transformer)


def save(path: Path, sql: dict[str, str] | None = None, sample: Any = None, **options: Any) -> str:
    """Save the model with its expressions."""
    made = trained()
    return save_bundle(
        path,
        made.model,
        features=FEATURES,
        task=Binary(["no", "yes"]),
        preprocessing=[Expressions(sql or SQL), made.transformer],
        sample=raw_rows() if sample is None else sample,
        **options,
    )

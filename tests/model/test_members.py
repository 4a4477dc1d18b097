"""Ensembles: several members in one bundle, whose predictions equal those computed with numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from described import save_described
from scoreline import BundleError, Scorer
from textbook import ClassificationModel, randomized

RNG = np.random.default_rng(3)

FRAME = pd.DataFrame(
    {"a": RNG.normal(5, 2, 60), "b": RNG.normal(-1, 9, 60), "city": RNG.choice(["x", "y", "z"], 60), "k": range(60)}
)


class TestEnsembles:
    """The combined predictions equal those computed with numpy."""

    features = ("a", "b")

    def members(self, width: int) -> list[nn.Module]:
        torch.manual_seed(1)
        return [randomized(ClassificationModel(2, [8], width), seed).eval() for seed in range(3)]

    def raw(self, members: list[nn.Module]) -> np.ndarray:
        x = torch.tensor(FRAME[["a", "b"]].to_numpy(), dtype=torch.float32)
        with torch.no_grad():
            return np.stack([member(x).double().numpy() for member in members])

    def scored(self, tmp_path: Path, members: list[nn.Module], **words: Any) -> pd.DataFrame:
        save_described(tmp_path / "b", members, features=list(self.features), sample=FRAME, std=True, **words)
        return Scorer.load(tmp_path / "b", device="cpu").score_frame(FRAME)

    def softmax(self, raw: np.ndarray) -> np.ndarray:
        shifted = np.exp(raw - raw.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    @pytest.mark.parametrize("combine", ["probability", "logit", "vote", None])
    def test_multiclass(self, tmp_path: Path, combine: Any) -> None:
        members = self.members(3)
        single = self.softmax(self.raw(members))
        expected = single.mean(0)
        if combine == "logit":
            expected = self.softmax(self.raw(members).mean(0))
        elif combine == "vote":
            expected = np.eye(3)[single.argmax(-1)].mean(0)
        got = self.scored(tmp_path, members, task="multiclass", labels=["x", "y", "z"], combine=combine)
        np.testing.assert_allclose(got.filter(like="probability"), expected, rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == [["x", "y", "z"][n] for n in expected.argmax(-1)]
        chosen = np.take_along_axis(single, expected.argmax(-1)[None, :, None], -1)[..., 0]
        np.testing.assert_allclose(got["prediction_std"], chosen.std(0), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("combine", ["probability", "logit", "vote"])
    @pytest.mark.parametrize("width", [1, 2])
    def test_binary(self, tmp_path: Path, combine: Any, width: int) -> None:
        members = self.members(width)
        raw = self.raw(members)
        logits = raw[..., 0] if width == 1 else raw[..., 1] - raw[..., 0]
        single = 1 / (1 + np.exp(-logits))
        expected = {
            "probability": single.mean(0),
            "logit": 1 / (1 + np.exp(-logits.mean(0))),
            "vote": (single > 0.5).mean(0),
        }[combine]
        got = self.scored(tmp_path, members, task="binary", labels=[0, 1], combine=combine)
        np.testing.assert_allclose(got["probability"], expected, rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == (expected > 0.5).astype(int).tolist()

    def test_regression(self, tmp_path: Path) -> None:
        members = self.members(2)
        target = StandardScaler().fit(RNG.normal(50, 9, (40, 2)))
        values = np.stack([target.inverse_transform(raw) for raw in self.raw(members)])
        got = self.scored(tmp_path, members, task="regression", labels=["u", "v"], target_scaler=target)
        assert list(got.columns[-4:]) == ["prediction_u", "prediction_v", "prediction_std_u", "prediction_std_v"]
        np.testing.assert_allclose(got[["prediction_u", "prediction_v"]], values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(got[["prediction_std_u", "prediction_std_v"]], values.std(0), rtol=1e-4, atol=1e-5)

    def test_invalid_combinations_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="'mean' does not support multiclass"):
            self.scored(tmp_path, self.members(3), task="multiclass", labels=[0, 1, 2], combine="mean")
        with pytest.raises(BundleError, match="need several models, and there is only one"):
            self.scored(tmp_path, self.members(3)[:1], task="multiclass", labels=[0, 1, 2])

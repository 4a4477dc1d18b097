"""Outputs of integers instead of scores, such as labels or counts, would be decoded to plausible probabilities."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import BundleError, Scorer

RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(RNG.normal(size=(40, 4)), columns=list("abcd")).astype(np.float32)


def save(folder: Path, model: Any, **more: Any) -> Path:
    more = {"task": "multiclass", "labels": ["u", "v", "w"], **more}
    save_described(folder / "b", model, features=list("abcd"), sample=FRAME, **more)
    return folder / "b"


def refusal(folder: Path, model: Any, **more: Any) -> str:
    with pytest.raises(BundleError) as caught:
        save(folder, model, **more)
    assert "\n" not in str(caught.value)
    assert not (folder / "b").exists()
    return str(caught.value)


class Ends(nn.Module):
    """A linear layer, followed by a function."""

    def __init__(self, end: Callable[[Tensor], Any], width: int = 3) -> None:
        super().__init__()
        self.fc, self.end = nn.Linear(4, width), end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.fc(x))


ENDS: dict[str, tuple[Callable[[Tensor], Any], dict[str, Any]]] = {
    "argmax": (lambda h: h.argmax(1), {"task": "binary", "labels": ["no", "yes"]}),
    "int32": (lambda h: h.argmax(1).int(), {"task": "binary", "labels": ["no", "yes"]}),
    "bool": (lambda h: h[:, :1] > 0, {"task": "binary", "labels": ["no", "yes"]}),
    "one of a tuple": (lambda h: (h.argmax(1), h), {"task": "binary", "labels": ["no", "yes"]}),
    "one of a dict": (
        lambda h: {"label": h.argmax(1), "logits": h[:, :1]},
        {"task": "binary", "labels": [0, 1], "output": "label"},
    ),
    "multilabel": (lambda h: h > 0, {"task": "multilabel"}),
    "probabilities": (lambda h: (h > 0).long(), {"outputs": "probabilities"}),
    "counts": (lambda h: h[:, 0].round().long(), {"task": "regression", "labels": None}),
    "a list of outputs": (
        lambda h: (h[:, :2], h[:, 2:].long()),
        {"output": [0, 1]},
    ),
    "a head of several": (
        lambda h: {"a": h, "b": h.argmax(1)},
        {
            "task": None, "labels": None,
            "heads": {
                "a": {"task": "multiclass", "labels": ["u", "v", "w"], "output": "a"},
                "b": {"task": "regression", "output": "b"},
            },
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_integers_are_refused_for_every_task(name: str, tmp_path: Path) -> None:
    """With dtype and shape, and those of the other outputs."""
    end, more = ENDS[name]
    message = refusal(tmp_path, Ends(end).eval(), **more)
    assert any(kind in message for kind in ("int64 [", "int32 [", "bool ["))
    assert "floating point" in message
    if name == "one of a tuple":
        assert "set output to 1" in message
    if name == "one of a dict":
        assert "set output to 'logits'" in message


def test_integers_of_an_ensemble_are_refused(tmp_path: Path) -> None:
    """Even of only one member."""
    models = [Ends(lambda h: h[:, :1]).eval(), Ends(lambda h: h.argmax(1, keepdim=True)).eval()]
    assert "int64" in refusal(tmp_path, models, task="binary", labels=["no", "yes"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["torchscript", "pt2"])
def test_integers_of_formats_with_code_are_refused(kind: str, tmp_path: Path) -> None:
    """By the returned values, since their code cannot be inspected."""
    model, example = Ends(lambda h: h.argmax(1)).eval(), (torch.zeros(5, 4),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torchscript":
            path = tmp_path / "m.pt"
            torch.jit.trace(model, example).save(str(path))
        else:
            path = tmp_path / "m.pt2"
            batch = torch.export.Dim("batch", min=2)
            torch.export.save(torch.export.export(model, example, dynamic_shapes=({0: batch},)), path)
    assert "int64" in refusal(tmp_path, path, task="binary", labels=["no", "yes"])


def test_integers_of_an_existing_bundle_are_refused(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """A graph that an older version saved is refused when it is loaded, with exit code 78."""
    bundle = save(tmp_path, Ends(lambda h: h[:, :1]).eval(), task="binary", labels=["no", "yes"])
    graph = json.loads((bundle / "graph.json").read_text())
    last = graph["nodes"][-1]["name"]
    graph["nodes"].append({"name": "label", "op": "method", "target": "long", "args": [{"node": last}]})
    graph["output"] = {"node": "label"}
    data = json.dumps(graph).encode()
    (bundle / "graph.json").write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["graph.json"] = "sha256:" + hashlib.sha256(data).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    FRAME.to_parquet(tmp_path / "in.parquet")
    result = scoreline("score", "--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out")
    assert result.code == 78
    assert "int64" in result.message


def test_float64_is_a_score(tmp_path: Path) -> None:
    """Only integers are refused."""
    model = Ends(lambda h: h.double()).eval()
    got = Scorer.load(save(tmp_path, model), device="cpu").score_frame(FRAME)
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor(FRAME.to_numpy())), 1).numpy()
    np.testing.assert_allclose(got["probability_u"], expected[:, 0], atol=1e-5)

"""Checkpoints of training: their state dict is read, and nothing else of them, whatever objects they contain."""

import functools
import importlib.util
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from conftest import Result
from packed_files import FRAME, LAYERS, probabilities, spec
from scoreline import Binary, BundleError, Scorer, load_weights, save_bundle
from textbook import randomized

Command = Callable[..., Result]


class Settings:
    """Hyperparameters of a class that the packing process need not know."""

    def __init__(self, width: int) -> None:
        self.width = width


class Executes:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


class Unscaled:
    """A transformer that changes nothing."""

    def transform(self, X: Any) -> Any:
        return X.to_numpy()


def as_lightning(model: nn.Module, prefix: str, mark: Path) -> dict[str, Any]:
    """A checkpoint with the entries that Lightning's Trainer writes."""
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(4, 3)).sum().backward()
    optimizer.step()
    randomized(model)
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"{prefix}{name}": value for name, value in model.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_path": pathlib.PurePosixPath("/a/b"), "best": torch.tensor(0.2)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "spectrum": {"w": torch.ones(2, dtype=torch.complex64)},
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "width": 8,
            "rate": np.float64(0.1),
            "loss": nn.CrossEntropyLoss(weight=torch.ones(2)),
            "activation": functools.partial(torch.clamp, min=0),
            "settings": Settings(8),
            "payload": Executes(mark),
        },
    }


@pytest.fixture
def fresh() -> nn.Module:
    torch.manual_seed(1)
    return randomized(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))).eval()


def scores_as(model: nn.Module, bundle: Path) -> None:
    got = Scorer.load(bundle, device="cpu").score_frame(FRAME)["probability"]
    np.testing.assert_allclose(got, probabilities(model.eval(), Unscaled(), FRAME)[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", ["model.", "net.", "model._orig_mod.", ""])
def test_a_lightning_checkpoint(prefix: str, files: Path, fresh: nn.Module, scoreline: Command) -> None:
    """Its entry and its prefix are found and named; the payload in its hyperparameters is not executed."""
    mark = files / "executed"
    torch.save(as_lightning(fresh, prefix, mark), files / "last.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(files / "last.ckpt", weights_only=True)
    text = f'weights = "last.ckpt"\nlayers = {LAYERS}'
    result = scoreline("pack", spec(files, model=text, scaler=None), files / "b")
    assert result.code == 0, result.err
    names = f" and the prefix {prefix!r} is removed from 9 names" if prefix else ""
    assert result.out.startswith(f"note: last.ckpt: its entry 'state_dict' is the state dict{names}\npacked ")
    assert not mark.exists()
    scores_as(fresh, files / "b")


TRAINER = """
import sys, warnings
import pytorch_lightning as lightning
import torch
from torch import nn

warnings.simplefilter("ignore")
class Settings: width = 4
class Lit(lightning.LightningModule):
    def __init__(self, settings):
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(2))
    def training_step(self, batch, _):
        return self.loss(self.network(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
rows = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.randint(0, 2, (40,)))
trainer = lightning.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)
lit = Lit(Settings())
trainer.fit(lit, torch.utils.data.DataLoader(rows, batch_size=20))
trainer.save_checkpoint("last.ckpt")
torch.save(lit.network.state_dict(), "network.pt")
"""


def test_a_checkpoint_of_the_trainer_itself(tmp_path: Path) -> None:
    """Written by Lightning, with a loss that has weights and hyperparameters that are objects. By another process,
    since Lightning changes torch when it is imported."""
    if importlib.util.find_spec("pytorch_lightning") is None:
        pytest.skip("pytorch_lightning is not installed")
    done = subprocess.run(
        [sys.executable, "-c", TRAINER], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    empty = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(BundleError, match=r'pass weights_ignore = \["loss.weight"\]'):
        load_weights(empty, tmp_path / "last.ckpt")
    load_weights(empty, tmp_path / "last.ckpt", weights_ignore=["loss.weight"])
    for name, value in torch.load(tmp_path / "network.pt", weights_only=True).items():
        assert torch.equal(empty.state_dict()[name], value)


class TestLoadWeights:
    """`load_weights`: files into a module, in Python."""

    def test_the_filled_module_can_be_saved(
        self, files: Path, fresh: nn.Module, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The prefix is computed from the module's names, and logged."""
        torch.save(as_lightning(fresh, "model.", files / "executed"), files / "last.ckpt")
        empty = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))
        save_bundle(
            files / "b",
            load_weights(empty, files / "last.ckpt"),
            features=list(FRAME),
            task=Binary([0, 1]),
            sample=FRAME,
        )
        scores_as(fresh, files / "b")
        assert caplog.messages == [
            f"{files / 'last.ckpt'}: its entry 'state_dict' is the state dict and the prefix 'model.' is removed from 9"
            " names"
        ]

    def test_wrappers_of_the_module(self, tmp_path: Path) -> None:
        """DataParallel and torch.compile add a prefix to the names of the module, not to those of the file."""
        trained = nn.Linear(3, 2)
        safetensors.torch.save_file(trained.state_dict(), tmp_path / "w.safetensors", metadata={"format": "pt"})
        compiled = functools.partial(torch.compile, backend="eager")
        for wrap in (nn.DataParallel, compiled, torch.optim.swa_utils.AveragedModel):
            empty = wrap(nn.Linear(3, 2))
            assert load_weights(empty, tmp_path / "w.safetensors") is empty
            (weight,) = (each for each in empty.parameters() if each.ndim == 2)
            assert torch.equal(weight, trained.weight)

    def test_tied_weights(self, tmp_path: Path) -> None:
        """safetensors keeps one of their names."""

        class Tied(nn.Module):
            """An embedding whose weight is also that of the last layer."""

            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(5, 4)
                self.last = nn.Linear(4, 5, bias=False)
                self.last.weight = self.embedding.weight

        trained, empty = Tied(), Tied()
        safetensors.torch.save_model(trained, str(tmp_path / "w.safetensors"))
        assert len(safetensors.torch.load_file(tmp_path / "w.safetensors")) == 1
        load_weights(empty, tmp_path / "w.safetensors")
        assert torch.equal(empty.last.weight, trained.last.weight)
        assert empty.last.weight is empty.embedding.weight

    def test_messages_name_arguments(self, tmp_path: Path) -> None:
        """Instead of lines of a spec."""
        state = nn.Linear(3, 2).state_dict()
        torch.save({"model": state, "ema": state}, tmp_path / "w.pt")
        with pytest.raises(BundleError, match='match the architecture; pass weights_key = "model" or weights_key'):
            load_weights(nn.Linear(3, 2), tmp_path / "w.pt")
        with pytest.raises(BundleError, match="cannot be read"):
            load_weights(nn.Linear(3, 2), tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 not an archive", "is not a weights file"),
        (b"", "is not a weights file"),
        (pickle.dumps({"a": Settings(1)}), "contains no state dict; save model.state_dict() when training"),
        (pickle.dumps(Settings(1)), "Settings), not a state dict; save model.state_dict()"),
    ],
)
def test_files_without_weights(content: bytes, message: str, files: Path, scoreline: Command) -> None:
    """One line, with what to save instead."""
    (files / "last.ckpt").write_bytes(content)
    result = scoreline("pack", spec(files, model=f'weights = "last.ckpt"\nlayers = {LAYERS}'), files / "b")
    assert result.code == 78
    assert message in result.message
    assert "\n" not in result.message.strip()

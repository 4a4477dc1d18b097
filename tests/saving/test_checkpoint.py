"""Weights files whose names have a prefix, and archives that are decompression bombs."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from conftest import Result
from scoreline import Scorer

FRAME = pd.DataFrame(np.random.default_rng(2).normal(size=(30, 2)), columns=["a", "b"])
LAYERS = (
    '[{type = "Linear", in_features = 2, out_features = 3}, {type = "Tanh"},'
    ' {type = "Linear", in_features = 3, out_features = 1}]'
)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).eval()


def packed(
    folder: Path, tensors: dict[str, Tensor] | bytes, scoreline: Callable[..., Result], lines: str = "", more: str = ""
) -> Result:
    """The result of `scoreline pack` with a weights file."""
    FRAME.to_parquet(folder / "sample.parquet")
    if isinstance(tensors, bytes):
        (folder / "weights.pt").write_bytes(tensors)
    else:
        torch.save(tensors, folder / "weights.pt")
    (folder / "spec.toml").write_text(
        'features = ["a", "b"]\ntask = {kind = "regression"}\nsample = "sample.parquet"\n'
        f'[model]\nweights = "weights.pt"\nlayers = {LAYERS}\n{lines}\n{more}'
    )
    return scoreline("pack", folder / "spec.toml", folder / "b")


def as_trained(folder: Path, model: nn.Module) -> None:
    got = Scorer.load(folder / "b", device="cpu").score_frame(FRAME)["prediction"]
    with torch.no_grad():
        expected = model(torch.tensor(FRAME.to_numpy(), dtype=torch.float32))[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net.body."])
def test_the_prefix_is_found_by_the_names_of_the_architecture(
    prefix: str, tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]
) -> None:
    """It is named in the output, and the bundle equals the trained model, as with the prefix in the spec."""
    tensors = {f"{prefix}{name}": value for name, value in model.state_dict().items()}
    found = packed(tmp_path, tensors, scoreline)
    assert found.code == 0, found.err
    assert found.out.startswith(f"note: weights.pt: the prefix {prefix!r} is removed from 4 names\npacked ")
    as_trained(tmp_path, model)
    named = packed(tmp_path, tensors, scoreline, f'weights_prefix = "{prefix}"')
    assert named.code == 0
    assert "note" not in named.out
    as_trained(tmp_path, model)


def test_a_prefix_under_which_some_names_are_missing(
    tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]
) -> None:
    """The message names the prefix and what is missing."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items() if name != "2.bias"}
    refused = packed(tmp_path, tensors, scoreline)
    assert refused.code == 78
    assert "does not match the architecture, after the prefix 'model.' was removed" in refused.message
    assert '"2.bias"' in refused.message


def test_several_prefixes_of_the_architecture(
    tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]
) -> None:
    """A student and a teacher have the same names and shapes; one of other shapes does not count."""
    state = model.state_dict()
    student = {f"student.{name}": value for name, value in state.items()}
    teacher = {f"teacher.{name}": value * 2 for name, value in state.items()}
    refused = packed(tmp_path, student | teacher, scoreline)
    assert refused.code == 78
    assert 'add under [model]: weights_prefix = "student." or weights_prefix = "teacher."' in refused.message
    larger = {f"large.{name}": torch.cat([value, value]) for name, value in state.items()}
    refused = packed(tmp_path, larger | student, scoreline)
    lines = refused.message.strip().split("add under [model]: ")[1]
    assert lines.startswith('weights_ignore = ["large.0.weight"')
    assert packed(tmp_path, larger | student, scoreline, lines).code == 0
    as_trained(tmp_path, model)


def test_the_counter_of_averaged_weights_is_ignored(
    tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]
) -> None:
    """`AveragedModel` saves it beside the module."""
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert packed(tmp_path, dict(averaged.state_dict()), scoreline).code == 0
    as_trained(tmp_path, model)


def test_names_outside_the_prefix_are_listed(
    tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]
) -> None:
    """With the line that ignores them; nothing is ignored without it."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {"loss.weight": torch.ones(2), 'odd"name': torch.ones(1)}
    refused = packed(tmp_path, tensors, scoreline, 'weights_prefix = "model."')
    assert refused.code == 78
    assert "of the 6 tensor names in weights.pt, 2 do not" in refused.message
    line = refused.message.strip().split("add under [model]: ")[1]
    assert line == 'weights_ignore = ["loss.weight", "odd\\"name"]'
    assert packed(tmp_path, tensors, scoreline, f'weights_prefix = "model."\n{line}').code == 0
    as_trained(tmp_path, model)
    unknown = packed(tmp_path, tensors, scoreline, 'weights_prefix = "model."\nweights_ignore = ["loss.bias"]')
    assert "weights_ignore names 'loss.bias'" in unknown.message


def test_a_prefix_that_no_name_has(tmp_path: Path, model: nn.Module, scoreline: Callable[..., Result]) -> None:
    """The message lists the names."""
    refused = packed(tmp_path, dict(model.state_dict()), scoreline, 'weights_prefix = "module."')
    assert refused.code == 78
    assert "begins with weights_prefix 'module.'; the names are '0.weight'" in refused.message


def test_no_prefix_if_the_names_have_none(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """As for weights of other shapes."""
    refused = packed(tmp_path, dict(nn.Sequential(nn.Linear(2, 4)).state_dict()), scoreline)
    assert refused.code == 78
    assert "weights_prefix" not in refused.message


def bomb(names: list[str], size: int) -> bytes:
    """A small archive whose entries unpack to many zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as entry:
                for _ in range(size >> 20):
                    entry.write(bytes(1 << 20))
    return buffer.getvalue()


def lying(data: bytes) -> bytes:
    """The same archive, with a directory that claims gigabytes for an entry."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 24] + b"\xfe\xff\xff\xff" + data[at + 28 :]


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return bomb(["mean.npy", "scale.npy"], 80 << 20)


def test_an_npz_bomb_is_refused(
    tmp_path: Path, model: nn.Module, zeros: bytes, scoreline: Callable[..., Result]
) -> None:
    """By the sizes in its directory, before anything is unpacked."""
    assert len(zeros) < 2 << 20
    for data in (zeros, lying(bomb(["mean.npy"], 1 << 20))):
        (tmp_path / "scaler.npz").write_bytes(data)
        more = '[scaler]\nfile = "scaler.npz"\nkind = "standard"'
        refused = packed(tmp_path, dict(model.state_dict()), scoreline, more=more)
        assert refused.code == 78
        assert "scaler.npz has" in refused.message
        assert "above the limit" in refused.message


@pytest.mark.parametrize("suffix", [".pt", ".skops"])
def test_bombs_in_other_archives_are_refused(
    suffix: str, tmp_path: Path, model: nn.Module, zeros: bytes, scoreline: Callable[..., Result]
) -> None:
    """Weights and skops files are archives as well."""
    if suffix == ".pt":
        refused = packed(tmp_path, zeros, scoreline)
    else:
        (tmp_path / "scaler.skops").write_bytes(zeros)
        refused = packed(tmp_path, dict(model.state_dict()), scoreline, more='[scaler]\nfile = "scaler.skops"')
    assert refused.code == 78
    assert "above the limit" in refused.message


def test_valid_archives_pass(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """Numbers that compress well, and data that is not an archive; a broken archive is refused."""
    from scoreline.pipeline.errors import BundleError
    from scoreline.pipeline.saving.archives import refuse_bomb

    buffer = io.BytesIO()
    np.savez_compressed(buffer, mean=np.zeros(1 << 20))
    refuse_bomb(buffer.getvalue(), "s.npz")
    refuse_bomb(b"no archive", "s.npz")
    with pytest.raises(BundleError, match="broken zip archive"):
        refuse_bomb(buffer.getvalue()[:-30] + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0", "s.npz")

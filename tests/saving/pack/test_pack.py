"""Bundles from files: weights, scalers, expected predictions, and messages with a line to paste for missing fields."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from torch import nn

from conftest import Result
from packed_files import FRAME, LAYERS, NAMES, RNG, probabilities, spec
from scoreline import Scorer

Command = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("forked")


def as_trained(bundle: Path, model: nn.Module, scaler: Any) -> None:
    """Check that the bundle scores new rows as plain torch and scikit-learn do."""
    new = FRAME * 1.5 + 0.1
    got = Scorer.load(bundle, device="cpu").score_frame(new)["probability"]
    np.testing.assert_allclose(got, probabilities(model, scaler, new)[:, 1], rtol=0, atol=1e-6)


MODELS = {
    "state dict": (None, ()),
    "safetensors": (f'weights = "weights.safetensors"\nlayers = {LAYERS}', ()),
    "checkpoint": (f'weights = "checkpoint.pth"\nweights_key = "state_dict"\nlayers = {LAYERS}', ()),
    "checkpoint, its entry found": (f'weights = "checkpoint.pth"\nlayers = {LAYERS}', ()),
    "factory": ('weights = "weights.pt"\nfactory = "train_code:make"\nfactory_args = {width = 8}', ("--allow-import",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_with_their_architecture(
    name: str, files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command
) -> None:
    """A list of layers, or a factory that is imported only for packing; either way, the bundle contains only data."""
    text, flags = MODELS[name]
    result = scoreline("pack", spec(files, model=text), files / "b", *flags)
    assert result.code == 0, result.err
    assert "sha256:" in result.out
    as_trained(files / "b", model, scaler)


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        ("scaler.skops", ()),
        ("scaler.json", ()),
        ("scaler.joblib", ("--allow-pickle",)),
        ("scaler.pkl", ("--allow-pickle",)),
    ],
)
def test_scaler_files(
    file: str, flags: tuple[str, ...], files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command
) -> None:
    """skops with trusted types, numbers, or a pickle read by a child process; compared with `expected`."""
    result = scoreline("pack", spec(files, scaler=file, more='expected = "expected.csv"'), files / "b", *flags)
    assert result.code == 0, result.err
    as_trained(files / "b", model, scaler)
    assert "compared with the expected predictions" in scoreline("check", "--bundle", files / "b").out
    if flags:
        refused = scoreline("pack", spec(files, scaler=file), files / "b2")
        assert refused.code == 78
        assert "--allow-pickle" in refused.message
        assert not (files / "b2").exists()


@pytest.mark.parametrize("file", ["named.json", "named.npz"])
def test_numbers_are_bound_by_their_feature_names(
    files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command, file: str
) -> None:
    """In any order, as fitted objects are; a spec with another order is refused."""
    names = list(reversed(FRAME.columns))
    other = StandardScaler().fit(FRAME[names])
    numbers = {"feature_names_in_": names, "mean": other.mean_, "scale": other.scale_}
    if file.endswith(".npz"):
        np.savez(files / file, kind=np.array("standard"), **numbers)
    else:
        listed = {name: [*values] for name, values in numbers.items()}
        (files / file).write_text(json.dumps({"kind": "standard", **listed}))
    assert scoreline("pack", spec(files, scaler=file), files / "b").code == 0
    as_trained(files / "b", model, scaler)
    path = spec(files, scaler=file)
    path.write_text(path.read_text() + f"features = {json.dumps(list(FRAME.columns))}\n")
    refused = scoreline("pack", path, files / "b2")
    assert refused.code == 78
    assert "was fitted on" in refused.message


def test_numbers_of_a_wider_frame(files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command) -> None:
    """By column, with columns that are not features."""
    numbers = {
        name: {"mean": mean, "std": scale} for name, mean, scale in zip(NAMES, scaler.mean_, scaler.scale_, strict=True)
    }
    wide = {"id": {"mean": 5.0, "std": 2.0}, **dict(reversed(numbers.items())), "z": {"mean": 0.0, "std": 1.0}}
    (files / "wide.json").write_text(json.dumps(wide))
    result = scoreline("pack", spec(files, scaler="wide.json"), files / "b")
    assert result.code == 0, result.err
    as_trained(files / "b", model, scaler)
    (files / "short.json").write_text(json.dumps({"a": numbers["a"]}))
    refused = scoreline("pack", spec(files, scaler="short.json", more='expected = "expected.csv"'), files / "b2")
    assert refused.code == 78


def test_numbers_in_an_npz(files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command) -> None:
    """Their kind is that of their names, or named in the spec; a scale alone needs it."""
    np.savez(files / "alone.npz", scale=scaler.scale_)
    refused = scoreline("pack", spec(files, scaler="alone.npz"), files / "b")
    assert "scale with kind = maxabs" in refused.message
    path = spec(files, scaler="scaler.npz")
    assert scoreline("pack", path, files / "b").code == 0
    as_trained(files / "b", model, scaler)
    path.write_text(path.read_text() + 'kind = "standard"\n')
    assert scoreline("pack", path, files / "b").code == 0
    as_trained(files / "b", model, scaler)
    minmax = MinMaxScaler(clip=True).fit(FRAME)
    np.savez(files / "minmax.npz", scale_=minmax.scale_, min_=minmax.min_, clip=[0.0, 1.0])
    path.write_text(path.read_text().replace("scaler.npz", "minmax.npz").replace('"standard"', '"minmax"'))
    assert scoreline("pack", path, files / "b").code == 0
    as_trained(files / "b", model, minmax)


@pytest.mark.parametrize("flags", [(), ("--allow-pickle",)])
def test_expected_predictions_that_are_not_reproduced(files: Path, scoreline: Command, flags: tuple[str, ...]) -> None:
    """With a forgotten scaler, and with another scaler, from a pickle."""
    joblib.dump(StandardScaler().fit(FRAME * 3), files / "other.joblib")
    path = spec(files, scaler="other.joblib" if flags else None, more='expected = "expected.csv"')
    result = scoreline("pack", path, files / "b", *flags)
    assert result.code == 78
    assert "column 'probability' differs by" in result.message
    assert not (files / "b").exists()


def test_messages_for_missing_fields_have_a_line_to_paste(files: Path, scoreline: Command) -> None:
    """Pasting the suggested lines one after another results in a bundle."""
    path = files / "grow.toml"
    path.write_text("")
    answers = {
        "features": f"features = {NAMES}",
        "task": 'task = {kind = "binary"}',
        "sample": 'sample = "sample.parquet"',
        "model": f'[model]\nweights = "weights.pt"\nlayers = {LAYERS}',
        "labels": "labels = [0, 1]",
    }
    for _ in range(8):
        result = scoreline("pack", path, files / "b")
        if result.code == 0:
            break
        missing = result.message.split("lacks ")[1].split("'")[1]
        assert "add: " in result.message
        if missing == "labels":
            path.write_text(path.read_text().replace('"binary"', f'"binary", {answers[missing]}'))
            continue
        top = missing != "model"
        path.write_text(
            f"{answers[missing]}\n{path.read_text()}" if top else f"{path.read_text()}\n{answers[missing]}\n"
        )
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('weights = "weights.pt"', 'layers = [{type = "Linear"'),
        ("", 'weights = "weights.safetensors"'),
        ('weights = "weights.pt"\nfactory = "train_code:make"', "--allow-import"),
        ('file = "whole.pt"', "whole model saved as a pickle (torch.nn.modules.container.Sequential)"),
        ('file = "whole.pt"', "--allow-pickle"),
        ('file = "weights.pt"', 'replace file by: weights = "weights.pt"'),
        ('file = "checkpoint.pth"', 'replace file by: weights = "checkpoint.pth"'),
        (f'weights = "whole.pt"\nlayers = {LAYERS}', "model.state_dict()"),
        (f'weights = "checkpoint.pth"\nweights_key = "epoch"\nlayers = {LAYERS}', 'weights_key = "state_dict"'),
        ('weights = "weights.pt"\nlayers = [{type = "Linear", in_features = 3, out_features = 2}]', "does not match"),
        (
            'weights = "weights.pt"\nlayers = [{type = "Conv9d"}]',
            "model: layers[0]: type: 'Conv9d' is not supported; use one of Linear",
        ),
        ('weights = "weights.pt"\nlayers = [{type = "Linear", size = 3}]', "model: layers[0], Linear"),
        ('file = "nowhere.onnx"', "cannot be read"),
        ('file = "sample.csv"\n', "--allow-import"),
        ("bogus = 1", "bogus"),
    ],
)
def test_models_that_cannot_be_packed(files: Path, scoreline: Command, text: str, message: str) -> None:
    """Exit code 78, and one line with the next step."""
    result = scoreline("pack", spec(files, model=text), files / "b")
    assert result.code == 78, result.out
    assert message in result.message
    assert "\n" not in result.message.strip()
    assert not (files / "b").exists()


def test_usage(scoreline: Command, tmp_path: Path) -> None:
    """Needs a spec and an output folder, and the spec must exist."""
    assert scoreline("pack", tmp_path / "x.toml").code == 2
    assert scoreline("pack", tmp_path / "no.toml", tmp_path / "b").code == 78


def test_an_mlflow_folder(files: Path, model: nn.Module, scoreline: Command) -> None:
    """With an MLmodel as MLflow writes it, read without mlflow; task and labels come from the spec."""
    folder = files / "mlruns" / "model"
    (folder / "data").mkdir(parents=True)
    torch.save(model, folder / "data" / "model.pth")
    (folder / "input_example.json").write_text(
        json.dumps({"columns": NAMES, "data": FRAME.head(5).to_numpy().tolist()})
    )
    signature = json.dumps([{"name": name, "type": "double"} for name in NAMES])
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pytorch\n  pytorch:\n    model_data: data\n"
        f"    pytorch_version: 2.13.0\nsignature:\n  inputs: '{signature}'\n"
        "saved_input_example_info:\n  artifact_path: input_example.json\n  type: dataframe\n"
    )
    refused = scoreline("pack", "--from-mlflow", folder, files / "b")
    assert "add: task" in refused.message
    (files / "task.toml").write_text('task = {kind = "binary", labels = [0, 1]}\n')
    refused = scoreline("pack", "--from-mlflow", folder, files / "task.toml", files / "b")
    assert "--allow-pickle" in refused.message
    result = scoreline("pack", "--from-mlflow", folder, files / "task.toml", files / "b", "--allow-pickle")
    assert result.code == 0, result.err
    assert Scorer.load(files / "b", device="cpu").features == NAMES
    got = Scorer.load(files / "b", device="cpu").score_frame(FRAME)["probability"]
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor(FRAME.to_numpy(), dtype=torch.float32)), 1)[:, 1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    with (files / "task.toml").open("a") as spec:
        spec.write("[model]\nprune = 0.5\n")  # the file is still the folder's
    assert scoreline("pack", "--from-mlflow", folder, files / "task.toml", files / "p", "--allow-pickle").code == 0
    assert json.loads((files / "p" / "bundle.json").read_text())["pruning"]["share"] == 0.5
    (folder / "MLmodel").write_text("flavors:\n  sklearn: {}\n")
    assert "flavors sklearn" in scoreline("pack", "--from-mlflow", folder, files / "b").message


def test_a_target_scaler_from_numbers(files: Path, scoreline: Command) -> None:
    """Its inverse is applied: predictions are in the target's unit."""
    (files / "target.json").write_text(json.dumps({"kind": "standard", "mean": [50.0], "scale": [4.0]}))
    network = nn.Linear(3, 1)
    torch.save(network.state_dict(), files / "linear.pt")
    (files / "spec.toml").write_text(
        f'features = {NAMES}\ntask = {{kind = "regression", scaler = {{file = "target.json"}}}}\n'
        f'sample = "sample.csv"\n[model]\nweights = "linear.pt"\n'
        'weights_prefix = ""\nlayers = [{type = "Linear", in_features = 3, out_features = 1}]\n'
    )
    torch.save({f"0.{name}": value for name, value in network.state_dict().items()}, files / "linear.pt")
    assert scoreline("pack", files / "spec.toml", files / "b").code == 0
    got = Scorer.load(files / "b", device="cpu").score_frame(FRAME)["prediction"]
    with torch.no_grad():
        expected = network(torch.tensor(FRAME.to_numpy(), dtype=torch.float32))[:, 0] * 4 + 50
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_many_categories_are_probed_at_once(files: Path) -> None:
    """Ten thousand categories take one call of the encoder."""
    from scoreline.pipeline.saving.fitted import Compiler

    words = pd.DataFrame({"word": [f"w{n}" for n in range(10_000)]})
    encoder, calls = OneHotEncoder(handle_unknown="ignore").fit(words), []
    real = encoder.transform
    encoder.transform = lambda X: calls.append(len(X)) or real(X)
    outputs = Compiler(["word"], ["word"]).add(encoder, ["word"])
    assert len(outputs) == 10_000
    assert calls == [10_000, 1, 1]


def test_a_bundle_of_images_from_files(tmp_path: Path, scoreline: Command) -> None:
    """Paths are relative to the sample's folder, not to the working directory; scores equal plain torch's."""
    (tmp_path / "scans").mkdir()
    pictures = [RNG.integers(0, 255, (6, 6), dtype=np.uint8) for _ in range(9)]
    for at, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "scans" / f"{at}.png")
    pd.DataFrame({"scan": [f"scans/{at}.png" for at in range(9)]}).to_csv(tmp_path / "sample.csv", index=False)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)).eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "spec.toml").write_text(
        """
task = {kind = "multiclass", labels = ["a", "b"]}
sample = "sample.csv"
inputs = {kind = "image", column = "scan", size = [6, 6], channels = 1}
[model]
weights = "weights.safetensors"
layers = [
  {type = "Conv2d", in_channels = 1, out_channels = 4, kernel_size = 3}, {type = "ReLU"}, {type = "Flatten"},
  {type = "Linear", in_features = 64, out_features = 2},
]
"""
    )
    done = scoreline("pack", tmp_path / "spec.toml", tmp_path / "bundle")
    assert done.code == 0, done.err
    table = pa.table({"scan": [(tmp_path / "scans" / f"{at}.png").read_bytes() for at in range(9)]})
    scored = Scorer.load(tmp_path / "bundle", device="cpu").score_table(table)
    with torch.no_grad():
        pixels = torch.tensor(np.stack(pictures)[:, None] / np.float32(255), dtype=torch.float32)
        wanted = torch.softmax(model(pixels), dim=1)[:, 1]
    np.testing.assert_allclose(scored["probability_b"].to_numpy(), wanted, atol=1e-6)

"""Bundles from files; what is a pickle or code says so and asks, and nothing of it runs otherwise."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.torch
import skops.io
import torch
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from torch import nn

from conftest import Result
from scoreline import Scorer
from textbook import ClassificationModel, randomized

Command = Callable[..., Result]
RNG = np.random.default_rng(2)
FRAME = pd.DataFrame({"a": RNG.normal(5, 2, 40), "b": RNG.normal(-1, 9, 40), "c": RNG.normal(0, 1, 40)})
NAMES = list(FRAME)
LAYERS = """[
  {type = "Linear", in_features = 3, out_features = 8}, {type = "ReLU"},
  {type = "BatchNorm1d", num_features = 8}, {type = "Linear", in_features = 8, out_features = 2},
]"""


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


def probabilities(model: nn.Module, scaler: Any, frame: pd.DataFrame) -> np.ndarray:
    with torch.no_grad():
        return torch.softmax(model(torch.tensor(scaler.transform(frame), dtype=torch.float32)), 1).numpy()


def spec(files: Path, *, model: str | None = None, scaler: str | None = "scaler.json", more: str = "") -> Path:
    """A spec, with something put in place of something else."""
    model = f'weights = "weights.pt"\nlayers = {LAYERS}' if model is None else model
    text = f'features = {NAMES}\ntask = "binary"\nlabels = [0, 1]\nsample = "sample.csv"\n{more}\n[model]\n{model}\n'
    text += "" if scaler is None else f'[scaler]\nfile = "{scaler}"\n'
    (files / "spec.toml").write_text(text)
    return files / "spec.toml"


def as_trained(bundle: Path, model: nn.Module, scaler: Any) -> None:
    """The bundle scores new rows as bare torch and scikit-learn do."""
    new = FRAME * 1.5 + 0.1
    got = Scorer.load(bundle, device="cpu").score_frame(new)["probability"]
    np.testing.assert_allclose(got, probabilities(model, scaler, new)[:, 1], rtol=0, atol=1e-6)


MODELS = {
    "state dict": (None, ()),
    "safetensors": (f'weights = "weights.safetensors"\nlayers = {LAYERS}', ()),
    "checkpoint": (f'weights = "checkpoint.pth"\nweights_key = "state_dict"\nlayers = {LAYERS}', ()),
    "factory": ('weights = "weights.pt"\nfactory = "train_code:make"\nfactory_args = {width = 8}', ("--allow-import",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_with_their_architecture(
    name: str, files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command
) -> None:
    """A list of layers, or a factory that is imported only here; the bundle is data either way."""
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
    """By skops' trusted types, by numbers, or by a child process that hands back data; expected= stands by."""
    result = scoreline("pack", spec(files, scaler=file, more='expected = "expected.csv"'), files / "b", *flags)
    assert result.code == 0, result.err
    as_trained(files / "b", model, scaler)
    assert "predictions handed over" in scoreline("check", "--bundle", files / "b").out
    if flags:
        refused = scoreline("pack", spec(files, scaler=file), files / "b2")
        assert refused.code == 78
        assert "--allow-pickle" in refused.message
        assert not (files / "b2").exists()


@pytest.mark.parametrize("file", ["named.json", "named.npz"])
def test_numbers_are_bound_by_the_names_they_were_fitted_with(
    files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command, file: str
) -> None:
    """As fitted objects are, in whatever order; a spec that says otherwise is refused."""
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


def test_numbers_in_an_npz(files: Path, model: nn.Module, scaler: StandardScaler, scoreline: Command) -> None:
    """Their kind has to be said."""
    refused = scoreline("pack", spec(files, scaler="scaler.npz"), files / "b")
    assert 'kind = "standard"' in refused.message
    path = spec(files, scaler="scaler.npz")
    path.write_text(path.read_text() + 'kind = "standard"\n')
    assert scoreline("pack", path, files / "b").code == 0
    as_trained(files / "b", model, scaler)
    minmax = MinMaxScaler(clip=True).fit(FRAME)
    np.savez(files / "minmax.npz", scale_=minmax.scale_, min_=minmax.min_, clip=[0.0, 1.0])
    path.write_text(path.read_text().replace("scaler.npz", "minmax.npz").replace('"standard"', '"minmax"'))
    assert scoreline("pack", path, files / "b").code == 0
    as_trained(files / "b", model, minmax)


@pytest.mark.parametrize("flags", [(), ("--allow-pickle",)])
def test_an_expectation_that_does_not_come_out(files: Path, scoreline: Command, flags: tuple[str, ...]) -> None:
    """A scaler that was forgotten, from files; a scaler of elsewhere, from a pickle."""
    joblib.dump(StandardScaler().fit(FRAME * 3), files / "other.joblib")
    path = spec(files, scaler="other.joblib" if flags else None, more='expected = "expected.csv"')
    result = scoreline("pack", path, files / "b", *flags)
    assert result.code == 78
    assert "column 'probability' differs by" in result.message
    assert not (files / "b").exists()


def test_whatever_is_missing_is_said_with_a_line_to_paste(files: Path, scoreline: Command) -> None:
    """Pasting what is printed, again and again, ends in a bundle."""
    path = files / "grow.toml"
    path.write_text("")
    answers = {
        "features": f"features = {NAMES}",
        "task": 'task = "binary"',
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
        top = missing != "model"
        path.write_text(
            f"{answers[missing]}\n{path.read_text()}" if top else f"{path.read_text()}\n{answers[missing]}\n"
        )
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('weights = "weights.pt"', 'layers = [{type = "Linear"'),
        ("", 'weights = "weights.safetensors"'),
        ('weights = "weights.pt"\nfactory = "train_code:make"', "--allow-import"),
        ('file = "whole.pt"', "--allow-import"),
        (f'weights = "whole.pt"\nlayers = {LAYERS}', "model.state_dict()"),
        (f'weights = "checkpoint.pth"\nlayers = {LAYERS}', 'weights_key = "state_dict"'),
        ('weights = "weights.pt"\nlayers = [{type = "Linear", in_features = 3, out_features = 2}]', "does not fit"),
        ('weights = "weights.pt"\nlayers = [{type = "Conv9d"}]', "'Conv9d'; known are Linear"),
        ('weights = "weights.pt"\nlayers = [{type = "Linear", size = 3}]', "layer 0 of the spec, Linear"),
        ('file = "nowhere.onnx"', "cannot be read"),
        ('file = "sample.csv"\n', "--allow-import"),
        ("bogus = 1", "bogus"),
    ],
)
def test_models_that_cannot_be_packed(files: Path, scoreline: Command, text: str, says: str) -> None:
    """78, one line, the next step in it."""
    result = scoreline("pack", spec(files, model=text), files / "b")
    assert result.code == 78, result.out
    assert says in result.message
    assert "\n" not in result.message.strip()
    assert not (files / "b").exists()


def test_usage(scoreline: Command, tmp_path: Path) -> None:
    """Two words, or one with an MLflow model."""
    assert scoreline("pack", tmp_path / "x.toml").code == 2
    assert scoreline("pack", tmp_path / "no.toml", tmp_path / "b").code == 78


def test_an_mlflow_folder(files: Path, model: nn.Module, scoreline: Command) -> None:
    """Its MLmodel as MLflow writes it, read without mlflow; task and labels are ours to say."""
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
    (files / "task.toml").write_text('task = "binary"\nlabels = [0, 1]\n')
    refused = scoreline("pack", "--from-mlflow", folder, files / "task.toml", files / "b")
    assert "--allow-pickle" in refused.message
    result = scoreline("pack", "--from-mlflow", folder, files / "task.toml", files / "b", "--allow-pickle")
    assert result.code == 0, result.err
    assert Scorer.load(files / "b", device="cpu").features == NAMES
    got = Scorer.load(files / "b", device="cpu").score_frame(FRAME)["probability"]
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor(FRAME.to_numpy(), dtype=torch.float32)), 1)[:, 1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    (folder / "MLmodel").write_text("flavors:\n  sklearn: {}\n")
    assert "flavors sklearn" in scoreline("pack", "--from-mlflow", folder, files / "b").message


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


AUDITED = """
import sys
import skops.io, sklearn.preprocessing, pandas, onnxruntime  # what they import is not what a file makes them import
from scoreline.jobs.cli import run
from scoreline.pipeline import pack
mark, events = sys.argv.pop(), []
processes = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind")
def hook(event, args):
    if event in processes or event == "pickle.find_class" or (event in ("compile", "open") and mark in str(args[0])):
        events.append((event, str(args)[:200]))
sys.addaudithook(hook)
code = run(sys.argv[1:])
sys.stdout.write("EVENTS " + repr(events) + "\\n")
sys.exit(code)
"""


def zipped_pickle(payload: bytes) -> bytes:
    """A zip with a pickle in it, as torch and .npz have."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
        archive.writestr("mean_.npy", payload)
    return data.getvalue()


@pytest.mark.parametrize(
    "name",
    ["weights.pt", "weights.safetensors", "scaler.npz", "scaler.json", "scaler.skops", "model.onnx", "sample.csv",
     "sample.parquet", "object.npz"],
)  # fmt: skip
def test_a_pickle_under_any_name_executes_nothing(name: str, files: Path) -> None:
    """M1: in a process under an audit hook, nothing of the file is executed, compiled or looked up."""
    mark = files / "executed"
    payload = pickle.dumps(Evil(mark))
    data = zipped_pickle(payload) if name in ("weights.pt", "scaler.skops", "scaler.npz") else payload
    (files / name).write_bytes(data)
    if name == "object.npz":
        np.savez(files / name, mean_=np.array([Evil(mark)], dtype=object), scale_=np.ones(1))
    scaler = name if name.startswith("scaler") or name == "object.npz" else "scaler.json"
    text = {"model.onnx": 'file = "model.onnx"', "weights.safetensors": f'weights = "{name}"\nlayers = {LAYERS}'}.get(
        name
    )
    path = spec(files, model=text, scaler=scaler)
    path.write_text(path.read_text().replace('"sample.csv"', f'"{name if "sample" in name else "sample.csv"}"'))
    if scaler.endswith(".npz"):
        path.write_text(path.read_text() + 'kind = "standard"\n')
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, "pack", str(path), str(files / "b"), str(mark)],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists()
    assert done.stdout == "EVENTS []\n"
    assert not (files / "b").exists()


def test_the_audit_sees_what_it_should(files: Path) -> None:
    """The same file, unpickled: so the hook above is no blind one."""
    mark = files / "executed"
    (files / "evil.pkl").write_bytes(pickle.dumps(Evil(mark)))
    code = AUDITED.replace("code = run(sys.argv[1:])", "import pickle; pickle.load(open(sys.argv[1], 'rb')); code = 0")
    words = [sys.executable, "-c", code, str(files / "evil.pkl"), str(mark)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert mark.exists()
    assert "pickle.find_class" in done.stdout
    assert "compile" in done.stdout


def test_pickles_are_read_by_another_process(files: Path, scoreline: Command) -> None:
    """With --allow-pickle the child executes it, as was asked; the parent takes data or nothing."""
    mark = files / "executed"
    (files / "evil.pkl").write_bytes(pickle.dumps(Evil(mark)))
    result = scoreline("pack", spec(files, scaler="evil.pkl"), files / "b", "--allow-pickle")
    assert result.code == 78
    assert mark.exists()
    assert not (files / "b").exists()


def test_a_mixed_pipeline_from_joblib(files: Path, scoreline: Command) -> None:
    """A ColumnTransformer over numbers and words, pickled, becomes steps."""
    frame = FRAME.assign(c=RNG.choice(["x", "y"], 40))
    frame.to_csv(files / "sample.csv", index=False)
    fitted = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(), ["c"])]).fit(frame)
    joblib.dump(fitted, files / "mixed.joblib")
    network = ClassificationModel(4, [8], 2).eval()
    torch.save(network.state_dict(), files / "weights.pt")
    layers = LAYERS.replace("in_features = 3", "in_features = 4").replace(
        '{type = "Linear", in_features = 8', '{type = "Dropout"}, {type = "Linear", in_features = 8'
    )
    text = f'weights = "weights.pt"\nweights_prefix = "network."\nlayers = {layers}'
    result = scoreline("pack", spec(files, model=text, scaler="mixed.joblib"), files / "b", "--allow-pickle")
    assert result.code == 0, result.err
    got = Scorer.load(files / "b", device="cpu").score_frame(frame)["probability"]
    np.testing.assert_allclose(got, probabilities(network, fitted, frame)[:, 1], rtol=0, atol=1e-6)


def test_a_target_scaler_from_numbers(files: Path, scoreline: Command) -> None:
    """Its inverse, in the target's own unit."""
    (files / "target.json").write_text(json.dumps({"kind": "standard", "mean": [50.0], "scale": [4.0]}))
    network = nn.Linear(3, 1)
    torch.save(network.state_dict(), files / "linear.pt")
    (files / "spec.toml").write_text(
        f'features = {NAMES}\ntask = "regression"\nsample = "sample.csv"\n[model]\nweights = "linear.pt"\n'
        'weights_prefix = ""\nlayers = [{type = "Linear", in_features = 3, out_features = 1}]\n'
        '[target_scaler]\nfile = "target.json"\n'
    )
    torch.save({f"0.{name}": value for name, value in network.state_dict().items()}, files / "linear.pt")
    assert scoreline("pack", files / "spec.toml", files / "b").code == 0
    got = Scorer.load(files / "b", device="cpu").score_frame(FRAME)["prediction"]
    with torch.no_grad():
        expected = network(torch.tensor(FRAME.to_numpy(), dtype=torch.float32))[:, 0] * 4 + 50
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_code_that_ends_the_process_is_no_success(files: Path, scoreline: Command) -> None:
    """A scheduler would take exit 0 for done."""
    (files / "quits.py").write_text("import sys\nsys.exit(0)\n")
    result = scoreline(
        "pack", spec(files, model='weights = "weights.pt"\nfactory = "quits:make"'), files / "b", "--allow-import"
    )
    assert result.code == 78
    assert "'quits:make' fails" in result.message


def test_many_categories_are_probed_at_once(files: Path) -> None:
    """Ten thousand of them, in one call of the encoder."""
    from scoreline.pipeline.saving.fitted import Compiler

    words = pd.DataFrame({"word": [f"w{n}" for n in range(10_000)]})
    encoder, calls = OneHotEncoder(handle_unknown="ignore").fit(words), []
    real = encoder.transform
    encoder.transform = lambda X: calls.append(len(X)) or real(X)
    outputs = Compiler(["word"], ["word"]).add(encoder, ["word"])
    assert len(outputs) == 10_000
    assert calls == [10_000, 1, 1]


def test_a_bundle_of_images_from_files(tmp_path: Path, scoreline: Command) -> None:
    """Paths begin where the sample lies, wherever the command runs; the score is bare torch's."""
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
features = ["scan"]
task = "multiclass"
labels = ["a", "b"]
sample = "sample.csv"
images = {scan = {size = [6, 6], channels = 1}}
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

"""Pickles and code need a flag, and nothing of them is executed without it."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from conftest import Result
from packed_files import FRAME, LAYERS, RNG, probabilities, spec, write_files
from scoreline import Scorer
from textbook import ClassificationModel

Command = Callable[..., Result]


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


IMPORTS = """
import skops.io, sklearn.preprocessing, pandas, onnxruntime  # what they import is not what a file makes them import
from scoreline.jobs.cli import run
from scoreline.pipeline.saving import pack
"""
HOOK = """
import json, sys
events = []
processes = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind")
def hook(event, args):
    of_a_file = event in ("compile", "open") and "executed" in str(args[0])
    if event in processes or event == "pickle.find_class" or of_a_file:
        events.append((event, str(args)[:200]))
sys.addaudithook(hook)
for words in json.loads(sys.argv[1]):
    events.clear()
    sys.stderr.write(f"ENDED {run(words)} {json.dumps(events)}\\n")
    print("ENDED", flush=True)
"""


def zipped_pickle(payload: bytes) -> bytes:
    """A zip file with a pickle in it, as in torch files and .npz."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
        archive.writestr("mean_.npy", payload)
    return data.getvalue()


def saved(value: Any, *, old: bool = False) -> bytes:
    """A file of torch.save, in its present format or in that before torch 1.6."""
    data = io.BytesIO()
    torch.save(value, data, _use_new_zipfile_serialization=not old)
    return data.getvalue()


class MaliciousModule(torch.nn.Linear):
    """A module with an attribute that is executed when it is unpickled."""

    def __init__(self, evil: Any) -> None:
        super().__init__(3, 2)
        self.evil = evil


NAMES = (
    "weights.pt", "weights.safetensors", "scaler.npz", "scaler.json", "scaler.skops", "model.onnx", "sample.csv",
    "sample.parquet", "object.npz", "zipped.safetensors", "old.ckpt", "evil.ckpt", "module.pt", "old_module.pt",
    "pickled_module.pth", "forged.ckpt", "as_weights.pt",
)  # fmt: skip
#: Models by file, in place of weights.pt.
FILES = ("module.pt", "old_module.pt", "pickled_module.pth", "model.onnx")
WEIGHTS = ("weights.safetensors", "zipped.safetensors", "old.ckpt", "evil.ckpt", "forged.ckpt", "as_weights.pt")


def contents(name: str, evil: Any) -> bytes:
    """The bytes of a file with a payload."""
    payload = pickle.dumps(evil)
    match name:
        case "weights.pt" | "scaler.skops" | "scaler.npz" | "zipped.safetensors":
            return zipped_pickle(payload)
        case "module.pt" | "as_weights.pt":
            return saved(MaliciousModule(evil))
        case "old_module.pt":
            return saved(MaliciousModule(evil), old=True)
        case "pickled_module.pth":
            return pickle.dumps(MaliciousModule(evil))
        case "old.ckpt":
            return saved({"state_dict": {}, "hyper_parameters": {"loss": evil}}, old=True)
        case "evil.ckpt":  # whose state dict is the payload
            return saved({"state_dict": evil, "hyper_parameters": {}})
        case "forged.ckpt":  # with a tensor whose arguments are the payload
            state = {"0.weight": torch.ones(2), "x": evil}
            return saved({"state_dict": state}).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")
    return payload


def spec_with_a_pickle(name: str, files: Path) -> Path:
    """A spec whose file of that name is a pickle that creates `executed` when it is read."""
    evil = Malicious(files / "executed")
    (files / name).write_bytes(contents(name, evil))
    if name == "object.npz":
        np.savez(files / name, mean_=np.array([evil], dtype=object), scale_=np.ones(1))
    scaler = name if name.startswith("scaler") or name == "object.npz" else "scaler.json"
    text = (
        f'file = "{name}"' if name in FILES else f'weights = "{name}"\nlayers = {LAYERS}' if name in WEIGHTS else None
    )
    path = spec(files, model=text, scaler=scaler)
    path.write_text(path.read_text().replace('"sample.csv"', f'"{name if "sample" in name else "sample.csv"}"'))
    if scaler.endswith(".npz"):
        path.write_text(path.read_text() + 'kind = "standard"\n')
    return path


def checkpoint_with_a_payload(files: Path, model: torch.nn.Module) -> Path:
    """A spec whose checkpoint has payloads beside the weights."""
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    evil = Malicious(files / "executed")
    state = {"state_dict": weights, "hyper_parameters": {"a": evil, "b": [evil]}, "callbacks": evil, "epoch": 3}
    (files / "last.ckpt").write_bytes(saved(state))
    return spec(files, model=f'weights = "last.ckpt"\nlayers = {LAYERS}')


@dataclass(frozen=True)
class Packed:
    """The result of `pack` with a spec, under the audit hook."""

    files: Path
    code: int
    events: list[Any]
    out: str
    err: str


@pytest.fixture(scope="module")
def packed(
    tmp_path_factory: pytest.TempPathFactory, model: torch.nn.Module, scaler: StandardScaler
) -> dict[str, Packed]:
    """Every spec, packed by one process under the audit hook, since imports take longer than packing."""
    names = (*NAMES, "last.ckpt")
    folders = {name: write_files(tmp_path_factory.mktemp("packed"), model, scaler) for name in names}
    specs = {name: spec_with_a_pickle(name, folders[name]) for name in NAMES}
    specs["last.ckpt"] = checkpoint_with_a_payload(folders["last.ckpt"], model)
    words = [["pack", str(specs[name]), str(folders[name] / "b")] for name in names]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + HOOK, json.dumps(words)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    *said, rest = done.stdout.split("ENDED\n")
    assert not rest
    ended = re.findall(r"(.*?)^ENDED (\d+) (\[.*?\])$\n", done.stderr, re.DOTALL | re.MULTILINE)
    return {
        name: Packed(folders[name], int(code), json.loads(events), out, err)
        for name, out, (err, code, events) in zip(names, said, ended, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_under_any_name_executes_nothing(name: str, packed: dict[str, Packed]) -> None:
    """Under an audit hook, nothing of the file is executed, compiled or looked up."""
    result = packed[name]
    assert result.code == 78, result.err
    assert not result.out
    assert "Traceback" not in result.err
    assert not (result.files / "executed").exists()
    assert result.events == []
    assert not (result.files / "b").exists()


@pytest.mark.parametrize("name", FILES[:3])
def test_a_module_needs_permission(name: str, packed: dict[str, Packed]) -> None:
    """The message names its class, which is read without unpickling."""
    assert "is a whole model saved as a pickle" in packed[name].err
    assert "MaliciousModule), which can execute any code when it is read" in packed[name].err
    assert "--allow-pickle" in packed[name].err


def test_hyperparameters_with_a_payload(packed: dict[str, Packed]) -> None:
    """A bundle is made from the weights beside them, under the audit hook, and nothing is executed."""
    result = packed["last.ckpt"]
    assert (result.code, result.events) == (0, []), result.err
    assert result.out.startswith("note: last.ckpt: its entry 'state_dict' is the state dict and the prefix 'model.'")
    assert not (result.files / "executed").exists()
    assert (result.files / "b" / "bundle.json").exists()


def test_the_audit_hook_detects_unpickling(files: Path) -> None:
    """The same file, unpickled on purpose, is recorded by the hook."""
    mark = files / "executed"
    (files / "evil.pkl").write_bytes(pickle.dumps(Malicious(mark)))
    code = "import pickle\n" + HOOK.replace("run(words)", "pickle.load(open(words[0], 'rb'))")
    words = [sys.executable, "-c", code, json.dumps([[str(files / "evil.pkl")]])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert mark.exists()
    assert "pickle.find_class" in done.stderr
    assert "compile" in done.stderr


def test_pickles_are_read_by_another_process(files: Path, scoreline: Command) -> None:
    """With --allow-pickle, the child process executes the pickle; the parent only accepts data."""
    mark = files / "executed"
    (files / "evil.pkl").write_bytes(pickle.dumps(Malicious(mark)))
    result = scoreline("pack", spec(files, scaler="evil.pkl"), files / "b", "--allow-pickle")
    assert result.code == 78
    assert mark.exists()
    assert not (files / "b").exists()


def test_a_mixed_pipeline_from_joblib(files: Path, forked: None, scoreline: Command) -> None:
    """A pickled ColumnTransformer of numbers and text becomes steps."""
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


@pytest.mark.parametrize(("features", "target"), [("scaler.joblib", "y.skops"), ("scaler.skops", "y.pkl")])
def test_scalers_of_features_and_targets(files: Path, scoreline: Command, features: str, target: str) -> None:
    """Either may be a pickle."""
    of_target = StandardScaler().fit(RNG.normal(50, 4, (40, 1)))
    (files / "y.pkl").write_bytes(pickle.dumps(of_target))
    (files / "y.skops").write_bytes(skops.io.dumps(of_target))
    network = torch.nn.Linear(3, 1)
    torch.save({f"0.{name}": value for name, value in network.state_dict().items()}, files / "linear.pt")
    made = spec(
        files, model='weights = "linear.pt"\nlayers = [{type = "Linear", in_features = 3, out_features = 1}]',
        scaler=features,
    )  # fmt: skip
    task = f'task = {{kind = "regression", scaler = {{file = "{target}"}}}}\n'
    made.write_text(re.sub("task = .*\n", task, made.read_text()))
    result = scoreline("pack", made, files / "b", "--allow-pickle")
    assert result.code == 0, result.err
    scaled = joblib.load(files / "scaler.joblib").transform(FRAME)
    with torch.no_grad():
        outputs = network(torch.tensor(scaled, dtype=torch.float32)).numpy()
    got = Scorer.load(files / "b", device="cpu").score_frame(FRAME)["prediction"]
    np.testing.assert_allclose(got, of_target.inverse_transform(outputs)[:, 0], rtol=1e-5)


def test_code_that_ends_the_process_is_not_a_success(files: Path, scoreline: Command) -> None:
    """A scheduler would take exit code 0 for success."""
    (files / "quits.py").write_text("import sys\nsys.exit(0)\n")
    result = scoreline(
        "pack", spec(files, model='weights = "weights.pt"\nfactory = "quits:make"'), files / "b", "--allow-import"
    )
    assert result.code == 78
    assert "'quits:make' fails" in result.message

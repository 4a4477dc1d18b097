"""What is a pickle or code says so and asks, and nothing of it runs otherwise."""

import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from conftest import Result
from packed_files import FRAME, LAYERS, RNG, probabilities, spec
from scoreline import Scorer
from textbook import ClassificationModel

Command = Callable[..., Result]


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
from scoreline.pipeline.saving import pack
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


def test_code_that_ends_the_process_is_no_success(files: Path, scoreline: Command) -> None:
    """A scheduler would take exit 0 for done."""
    (files / "quits.py").write_text("import sys\nsys.exit(0)\n")
    result = scoreline(
        "pack", spec(files, model='weights = "weights.pt"\nfactory = "quits:make"'), files / "b", "--allow-import"
    )
    assert result.code == 78
    assert "'quits:make' fails" in result.message

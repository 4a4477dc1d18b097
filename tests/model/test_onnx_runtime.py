"""onnxruntime sends nothing and writes nothing to the home directory, in any process that loads it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper

from scoreline import Regression, save_bundle

#: Environment variables that disable telemetry.
DISABLING = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")
X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=list("abc"))
SHAPES = [("x", 3), ("y", 1)]
WRITES = re.compile(r'(?:creat|mkdir(?:at)?)\(.*?"([^"]*)"|open(?:at)?\(.*?"([^"]*)".*(?:O_WRONLY|O_RDWR|O_CREAT)')
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its bundle and rows to score."""
    folder = tmp_path_factory.mktemp("onnx")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name, width in SHAPES]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, -2.0, 0.5])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", shapes[:1], shapes[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    save_bundle(folder / "b", folder / "m.onnx", features=list("abc"), task=Regression(), sample=X)
    X.to_parquet(folder / "in.parquet", index=False)
    X.to_csv(folder / "sample.csv", index=False)
    (folder / "pack.toml").write_text(
        'features = ["a", "b", "c"]\nsample = "sample.csv"\ntask = {kind = "regression"}\n[model]\nfile = "m.onnx"\n'
    )
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a process with its own home directory. Returns that directory; `before`: the start of the command line."""

    def call(*words: object, before: tuple[str, ...] = ()) -> Path:
        home = tmp_path / "home"
        (tmp_path / "tmp").mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if name not in DISABLING and "XDG" not in name}
        done = subprocess.run(
            [*before, sys.executable, *map(str, words)],
            env={**kept, "HOME": str(home), "TMPDIR": str(tmp_path / "tmp")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return home

    return call


def test_onnxruntime_alone_writes_files(run: Run) -> None:
    """So the tests below can detect them."""
    home = run("-c", "import onnxruntime")
    assert list(home.rglob("*onnxruntime*")), "this onnxruntime has no telemetry, so the tests below prove nothing"


def test_packing_a_bundle_writes_nothing(onnx: Path, run: Run, tmp_path: Path) -> None:
    """The home directory stays empty."""
    assert list(run("-m", "scoreline", "pack", onnx / "pack.toml", tmp_path / "packed").rglob("*")) == []


def test_nothing_is_sent_and_no_file_is_written_elsewhere(onnx: Path, run: Run, tmp_path: Path) -> None:
    """According to the system calls of a run, which include those of native code."""
    strace, log = shutil.which("strace"), tmp_path / "calls"
    traced = ("-f", "--seccomp-bpf", "-e", "trace=network,open,openat,creat,mkdir,mkdirat", "-o", str(log))
    words = ["--bundle", onnx / "b", "--input", onnx / "in.parquet", "--output", tmp_path / "o"]
    home = run("-m", "scoreline", "score", *words, before=(strace, *traced) if strace else ())
    assert list(home.rglob("*")) == []
    if strace is None:
        pytest.skip("strace is not installed: connections were not watched")
    calls = log.read_text(errors="replace").splitlines()
    assert not [line for line in calls if re.search(r"\b(connect|sendto|sendmsg|sendmmsg|bind)\(|AF_INET", line)]
    allowed = (str(tmp_path / "o"), str(tmp_path / "tmp"), "/dev/")
    found = [match[1] or match[2] for line in calls if "ENOENT" not in line and (match := WRITES.search(line))]
    assert any(path.startswith(str(tmp_path / "o")) for path in found)
    assert not [path for path in found if not path.startswith(allowed)]

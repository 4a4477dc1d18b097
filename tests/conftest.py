"""Shared fixtures: real data, small real models, and the command as a user calls it.

Heavy libraries are imported where they are used: pytest-xdist imports this file in the process that distributes the
tests, too, before it starts the workers.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from scoreline.jobs import cli

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

    from object_storage import Service, Storage
    from warm_parent import WarmParent


#: Where what a test downloads is kept.
CACHE = Path(__file__).parent.parent / ".cache"


def pytest_collectstart() -> None:
    """Set the defaults of hypothesis, before the test files are imported. What they import stays alive, and collecting
    garbage meanwhile takes two seconds."""
    from hypothesis import settings

    settings.register_profile("scoreline", deadline=None, max_examples=60)
    settings.load_profile("scoreline")
    gc.disable()


def pytest_collection_finish() -> None:
    """Exclude the imported modules and the collected tests from garbage collection: each scan takes half a second. Scan
    the rest less often: with Python's threshold of 700 objects, that is a twentieth of the time of all tests."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def immediate_fsync() -> Iterator[None]:
    """Do not wait for the disk: what an fsync is for can only be seen after a power failure. The order of the calls and
    their failures are tested in faults/, in processes of their own, whose fsync is that of the kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which takes the same argument, and raises for a closed file
        yield


@pytest.fixture
def cuda() -> Iterator[None]:
    """A GPU: the first of this machine, or an emulated one, whose findings fail the test."""
    import torch

    import fakecuda
    import fakecuda_clocks

    if torch.cuda.is_available():
        yield
        return
    gc.freeze()  # so that only what the test makes is scanned at its end
    with fakecuda.installed():
        yield
        gc.collect()
        assert fakecuda_clocks.problems == []


@dataclass(frozen=True, kw_only=True)
class Example:
    """A trained model, its scaler, its bundle, and rows to score."""

    name: str
    task: str
    frame: pd.DataFrame
    features: list[str]
    labels: list[Any]
    model: nn.Module
    scaler: Any
    bundle: Path

    def raw(self, frame: pd.DataFrame | None = None) -> np.ndarray:
        """The model's outputs computed with plain torch and scikit-learn: transform on float64, cast to float32."""
        import numpy as np
        import pandas as pd
        import torch

        frame = self.frame if frame is None else frame
        X = frame[self.features].to_numpy(dtype=np.float64)
        scaled = self.scaler.transform(pd.DataFrame(X, columns=self.features)).astype(np.float32)
        with torch.no_grad():
            return self.model.eval()(torch.from_numpy(scaled)).numpy()


def _example(name: str, task: str, folder: Path) -> Example:
    import numpy as np
    import torch
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    from described import save_described
    from textbook import ClassificationModel, randomized

    loaded = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = loaded.frame.rename(columns={"target": "truth"})
    features = [column for column in frame.columns if column != "truth"]
    labels = [] if task == "regression" else sorted(frame["truth"].unique().tolist())
    scaler = StandardScaler().fit(frame[features])
    torch.manual_seed(7)
    model = randomized(ClassificationModel(len(features), [32, 16], max(1, len(labels))))
    if task == "binary":
        model = randomized(ClassificationModel(len(features), [32, 16], 1))
    save_described(
        folder / name,
        model,
        features=features,
        scaler=scaler,
        task=task,
        labels=labels or None,
        sample=frame,
    )
    frame.insert(0, "row_id", np.arange(len(frame)) * 10_000_000_019)
    return Example(
        name=name,
        task=task,
        frame=frame,
        features=features,
        labels=labels,
        model=model,
        scaler=scaler,
        bundle=folder / name,
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the bundles of the whole session."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def digits(bundles: Path) -> Example:
    """64 features, ten classes."""
    return _example("digits", "multiclass", bundles)


@pytest.fixture(scope="session")
def iris(bundles: Path) -> Example:
    """4 features, three classes."""
    return _example("iris", "multiclass", bundles)


@pytest.fixture(scope="session")
def diabetes(bundles: Path) -> Example:
    """10 features, a regression."""
    return _example("diabetes", "regression", bundles)


@pytest.fixture(scope="session")
def cancer(bundles: Path) -> Example:
    """30 features, binary, one logit."""
    return _example("breast_cancer", "binary", bundles)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Run models on one thread, as the lanes of a run do: tiny forward passes do not benefit from more, and tests may
    run in parallel."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON log lines."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any]:
        """The only log line with this name."""
        (found,) = [event for event in self.events if event["event"] == name]
        return found

    @property
    def message(self) -> str:
        """The error message as the user sees it."""
        errors = [event["message"] for event in self.events if event["event"] == "command_failed"]
        return errors[0] if errors else self.err


@pytest.fixture
def scoreline(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command, called in this process with its arguments."""

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = cli.run([str(word) for word in words])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def process() -> Callable[..., Result]:
    """The command in a separate process, in another working directory."""

    def call(*words: object, cwd: Path | None = None, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "scoreline", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=cwd or "/",
            env={**os.environ, **environment},
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def warm_parent() -> Iterator[WarmParent]:
    """A process that has imported everything, and forks the child processes of `pack`."""
    from warm_parent import WarmParent

    parent = WarmParent()
    yield parent
    parent.close()


@pytest.fixture
def forked(warm_parent: WarmParent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the child processes of `pack` from one that has imported everything. `test_pickles.py` starts them as users
    do."""
    from scoreline.jobs import pack

    monkeypatch.setattr(pack, "subprocess", SimpleNamespace(run=warm_parent.run, DEVNULL=subprocess.DEVNULL))


@pytest.fixture(scope="session")
def moto_service() -> Iterator[Service]:
    """An S3 server on the loopback interface."""
    pytest.importorskip("moto", reason="moto is not installed")
    from object_storage import moto

    with moto() as service:
        yield service


@pytest.fixture(scope="session")
def ceph_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A Ceph cluster on the loopback interface."""
    from ceph import ceph

    with ceph(CACHE / "ceph", tmp_path_factory.mktemp("ceph")) as service:
        yield service


@pytest.fixture(scope="session")
def azurite_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An emulator of Azure Blob Storage on the loopback interface."""
    from azurite import azurite

    with azurite(CACHE / "azurite", tmp_path_factory.mktemp("azurite")) as service:
        yield service


@pytest.fixture(scope="session")
def google_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The API of Google Cloud Storage on the loopback interface."""
    pytest.importorskip("moto", reason="moto is not installed")
    from google_storage import google_storage

    with google_storage(tmp_path_factory.mktemp("google")) as service:
        yield service


@pytest.fixture
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """An empty bucket, with the credentials and the endpoint in the environment. Of moto, unless a test is marked with
    `every_service`."""
    from object_storage import MotoStorage, Storage, new_bucket, use_service

    name = getattr(request, "param", "moto")
    service: Service = request.getfixturevalue(f"{name}_service")
    use_service(service, monkeypatch)
    with new_bucket(service, MotoStorage if name == "moto" else Storage) as created:
        yield created


@pytest.fixture
def iris_file(tmp_path: Path, iris: Example) -> Path:
    """Iris as one Parquet file."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    return tmp_path / "in.parquet"


@pytest.fixture
def score(scoreline: Callable[..., Result], iris: Example, tmp_path: Path) -> Callable[..., Result]:
    """Run `scoreline score` on an input, with output to tmp_path/out."""

    def call(data: object, *words: object) -> Result:
        return scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", *words)

    return call


@pytest.fixture
def four_files(tmp_path: Path, iris: Example) -> Path:
    """Four files of Iris, two of them with a reject."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(4):
        frame = iris.frame.assign(row_id=iris.frame["row_id"] + n)
        if n % 2:
            frame.loc[17, iris.features[0]] = float("nan")
        frame.to_parquet(folder / f"{n}.parquet", index=False)
    return folder


@pytest.fixture
def score_four_files(
    scoreline: Callable[..., Result], iris: Example, four_files: Path, tmp_path: Path
) -> Callable[..., Result]:
    """Run `scoreline score` on the four files, with output to tmp_path/out."""
    words = ["--bundle", iris.bundle, "--input", four_files, "--output", tmp_path / "out", "--max-rejects", "9"]
    return lambda *more: scoreline("score", *words, *more)

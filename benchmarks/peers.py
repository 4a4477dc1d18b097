"""Scoreline compared with other tools: same files, same model and scaler, same output columns, whole processes.

    python benchmarks/peers.py                     all of them, five rounds, a table
    python benchmarks/peers.py --rows 400000 --rounds 1 --only plain,tuned
    python benchmarks/peers.py --cluster           on a running Ray cluster of two workers, which is started before

In every round, each tool runs once, so that other load on the machine affects all of them alike. The table shows
medians, and ratios to Scoreline's. Each output is read back and compared. Needs `pip install 'scoreline[bench]'`.
"""

# ruff: noqa: T201 - this prints a table

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

FEATURES = [f"f{number}" for number in range(30)]
LABELS = list("abcde")
#: Of a cluster; and the name of Scoreline on it.
WORKERS, ON_RAY = 2, "scoreline on Ray"


def make(folder: Path, rows: int, files: int) -> None:
    """Write the bundle, the same model and scaler in the formats of the other tools, and the input files."""
    import pickle

    import numpy as np
    import torch
    from scoreline.pipeline.examples.synthetic import make_data
    from sklearn.preprocessing import StandardScaler

    from scoreline import Multiclass, save_bundle

    torch.manual_seed(0)
    sample = np.random.default_rng(0).normal(size=(256, len(FEATURES)))
    model, scaler = network(), StandardScaler().fit(sample)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean, module.running_var = torch.randn(module.num_features), torch.rand(module.num_features)
    save_bundle(folder / "bundle", model, features=FEATURES, scaler=scaler, task=Multiclass(LABELS), sample=sample)
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    example = torch.zeros(2, len(FEATURES))
    torch.onnx.export(
        model.eval(),
        (example,),
        folder / "model.onnx",
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "rows"}},
    )
    make_data(folder, FEATURES, rows=rows, files=files, format="parquet")


def network() -> Any:
    """The network: Linear-ReLU-BatchNorm 128-64-5."""
    from torch import nn

    layers: list[nn.Module] = []
    for wide, narrow in ((len(FEATURES), 128), (128, 64)):
        layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.BatchNorm1d(narrow)]
    return nn.Sequential(*layers, nn.Linear(64, len(LABELS)))


def trained(folder: Path) -> tuple[Any, Any]:
    """The model in eval mode, and the scaler."""
    import pickle

    import torch

    model = network()
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    return model.eval(), pickle.loads((folder / "scaler.pkl").read_bytes())


def columns(frame: Any, probabilities: Any) -> Any:
    """The output as a frame: key, label, a probability per class."""
    import numpy as np
    import pandas as pd

    best = probabilities.argmax(axis=1)
    named = {f"probability_{label}": probabilities[:, index] for index, label in enumerate(LABELS)}
    return pd.DataFrame({"row_id": frame["row_id"], "prediction": np.array(LABELS)[best], **named})


def loop(folder: Path, out: Path, slice_rows: int) -> None:
    """A typical script: pandas, scaler.transform, slices under no_grad, to_parquet."""
    import numpy as np
    import pandas as pd
    import torch

    model, scaler = trained(folder)
    for file in sorted((folder / "data").iterdir()):
        frame = pd.read_parquet(file)
        X = torch.from_numpy(scaler.transform(frame[FEATURES].to_numpy()).astype(np.float32))
        found = []
        with torch.no_grad():
            for start in range(0, len(X), slice_rows):
                found.append(torch.softmax(model(X[start : start + slice_rows]), dim=1).numpy())
        columns(frame, np.concatenate(found)).to_parquet(out / file.name, index=False)


def plain(folder: Path, out: Path) -> None:
    """The loop with slices of 32, a common batch size for training."""
    loop(folder, out, 32)


def tuned(folder: Path, out: Path) -> None:
    """The loop with slices of 8,192."""
    loop(folder, out, 8192)


def lightning(folder: Path, out: Path) -> None:
    """`Trainer.predict` with a writer callback and a DataLoader, as in Lightning's documentation."""
    import logging
    import warnings

    import lightning as pl
    import numpy as np
    import pandas as pd
    import torch
    from lightning.pytorch.callbacks import BasePredictionWriter
    from torch.utils.data import DataLoader, TensorDataset

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model, scaler = trained(folder)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def predict_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
            return torch.softmax(self.model(batch[0]), dim=1)

    class Writer(BasePredictionWriter):
        def __init__(self) -> None:
            super().__init__("batch")
            self.found: list[Any] = []

        def write_on_batch_end(self, _trainer: Any, _module: Any, prediction: Any, *_rest: Any) -> None:
            self.found.append(prediction.numpy())

    for file in sorted((folder / "data").iterdir()):
        frame = pd.read_parquet(file)
        X = torch.from_numpy(scaler.transform(frame[FEATURES].to_numpy()).astype(np.float32))
        writer = Writer()
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False, enable_model_summary=False
        )
        trainer.predict(Module(), DataLoader(TensorDataset(X), batch_size=32), return_predictions=False)
        columns(frame, np.concatenate(writer.found)).to_parquet(out / file.name, index=False)


def ray(folder: Path, out: Path) -> None:
    """`read_parquet → map_batches → write_parquet` with the model in an actor, as in its documentation. With two actors
    on a cluster of two cores, none would be left to read."""
    import logging

    import numpy as np
    import ray as engine
    import torch

    class Predictor:
        def __init__(self) -> None:
            self.model, self.scaler = trained(folder)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            X = np.stack([batch[name] for name in FEATURES], axis=1)
            X = torch.from_numpy(self.scaler.transform(X).astype(np.float32))
            with torch.inference_mode():
                found = torch.softmax(self.model(X), dim=1).numpy()
            named = {f"probability_{label}": found[:, index] for index, label in enumerate(LABELS)}
            return {"row_id": batch["row_id"], "prediction": np.array(LABELS)[found.argmax(axis=1)], **named}

    engine.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    engine.data.DataContext.get_current().enable_progress_bars = False
    data = engine.data.read_parquet(str(folder / "data"))
    data.map_batches(Predictor, batch_size=8192, concurrency=1).write_parquet(str(out))


def onnx(folder: Path, out: Path) -> None:
    """The tuned loop with onnxruntime's forward pass."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime
    import pandas as pd
    from scipy.special import softmax

    _, scaler = trained(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for file in sorted((folder / "data").iterdir()):
        frame = pd.read_parquet(file)
        X = scaler.transform(frame[FEATURES].to_numpy()).astype(np.float32)
        found = [session.run(None, {"x": X[start : start + 8192]})[0] for start in range(0, len(X), 8192)]
        columns(frame, softmax(np.concatenate(found), axis=1).astype(np.float32)).to_parquet(
            out / file.name, index=False
        )


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "plain": plain,
    "tuned": tuned,
    "lightning": lightning,
    "ray": ray,
    "onnx": onnx,
}


def command(name: str, folder: Path, out: Path) -> list[str]:
    """The command that runs a tool as a process of its own."""
    if name.startswith("scoreline"):
        words = ["-m", "scoreline", "score", "--bundle", str(folder / "bundle"), "--input", str(folder / "data")]
        if name == ON_RAY:
            words += ["--engine", "ray", "--address", os.environ["RAY_ADDRESS"], "--workers", str(WORKERS)]
        return [sys.executable, *words, "--output", str(out)]
    return [sys.executable, __file__, "--run", name, str(folder), str(out)]


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster of one node on the loopback interface, which RAY_ADDRESS names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={WORKERS}"]
    os.environ["RAY_AUTH_MODE"] = "disabled"  # nobody else reaches it
    started = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words, "--include-dashboard=false", "--block"],
        stdout=subprocess.DEVNULL,
    )
    os.environ["RAY_ADDRESS"] = f"127.0.0.1:{port}"
    try:
        for _ in range(60):
            with socket.socket() as head:
                if head.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)
        time.sleep(5)  # its node registers
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        started.terminate()
        started.wait()


def read_back(out: Path) -> Any:
    """The output of a tool, sorted by its keys."""
    import pyarrow.dataset as ds

    files = [str(file) for file in sorted(out.rglob("*.parquet"))]
    table = ds.dataset(files).to_table(columns=["row_id", "prediction", "probability_a"])
    return table.sort_by("row_id")


def race(folder: Path, names: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of every tool, round by round."""
    import numpy as np

    seconds: dict[str, list[float]] = {name: [] for name in names}
    wanted = None
    for turn in range(rounds):
        for name in names:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            start = time.perf_counter()
            done = subprocess.run(command(name, folder, out), capture_output=True, text=True, check=False)
            seconds[name].append(time.perf_counter() - start)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            if turn == 0:
                found = read_back(out)
                wanted = wanted or found
                apart = np.abs(found["probability_a"].to_numpy() - wanted["probability_a"].to_numpy()).max()
                same = np.mean(found["prediction"].to_numpy() == wanted["prediction"].to_numpy())
                equal = found["row_id"] == wanted["row_id"] and apart < 1e-4 and same > 0.9999
                print(f"{name}: {found.num_rows:,} rows, largest difference {apart:.1e}", file=sys.stderr)
                if not equal:
                    sys.exit(f"the output of {name} differs from that of scoreline")
    return seconds


def main() -> None:
    """Run all tools, or the one that --run names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PEERS), help="tools, separated by commas")
    parser.add_argument("--cluster", action="store_true", help="race on a Ray cluster of two workers")
    parser.add_argument("--run", nargs=3, metavar=("NAME", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        PEERS[arguments.run[0]](Path(arguments.run[1]), Path(arguments.run[2]))
        return
    names = ["scoreline", *([ON_RAY, "ray"] if arguments.cluster else arguments.only.split(","))]
    with tempfile.TemporaryDirectory(prefix="scoreline-peers-") as scratch:
        folder = Path(scratch)
        make(folder, arguments.rows, arguments.files)
        with cluster() if arguments.cluster else nullcontext():
            seconds = race(folder, names, arguments.rounds)
    own = median(seconds["scoreline"])
    print(f"\n{arguments.rows:,} rows x {len(FEATURES)} in {arguments.files} files, whole processes,", end=" ")
    print(f"medians of {arguments.rounds}\n")
    print(f"{'':18}{'seconds':>9}{'relative':>12}")
    for name, each in seconds.items():
        print(f"{name:18}{median(each):9.2f}{median(each) / own:12.2f}")


if __name__ == "__main__":
    main()

"""Modes that the caller has set in torch and numpy do not affect results, and are restored afterwards."""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from conftest import Example, Result
from described import save_described
from scoreline import Scorer

NAMES = [f"f{place}" for place in range(8)]
FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 8)), columns=NAMES).assign(
    tiny=np.random.default_rng(1).normal(size=300) * 1e-39
)
SAVED = {"features": [*NAMES, "tiny"], "sample": FRAME.head(64)}


class Attends(nn.Module):
    """Depends on the modes: products, attention, a tensor of the default type and device, a float32 denormal."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(8, 64)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.narrow = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        own = torch.ones(3) / 3
        met = self.layer(self.wide(x[:, :8]).reshape(-1, 8, 8)).flatten(1)
        scores: Tensor = self.narrow(met) * own + x[:, 8:] * 1e20 * 1e19
        return scores


@contextmanager
def changed(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> Iterator[None]:
    """Change a setting within a context."""
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


@contextmanager
def flushed() -> Iterator[None]:
    """Flush denormals to zero within a context."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def product(backend: Any, value: str) -> AbstractContextManager[None]:
    """Set the precision of float32 products within a context."""
    return changed(lambda: "none", lambda word: setattr(backend, "fp32_precision", word), value)


def deterministic(mode: bool) -> AbstractContextManager[None]:
    return changed(lambda: False, torch.use_deterministic_algorithms, mode)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to fp16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default dtype float64": lambda: changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "default dtype bfloat16": lambda: changed(torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    "default device": lambda: changed(lambda: None, torch.set_default_device, "meta"),
    "device context": lambda: torch.device("meta"),
    "inference mode": lambda: torch.inference_mode(True),
    "inference mode off": lambda: torch.inference_mode(False),
    "no_grad": torch.no_grad,
    "deterministic": lambda: deterministic(True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "medium": lambda: changed(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "products in bf16": lambda: product(torch.backends, "bf16"),
    "products of oneDNN in bf16": lambda: product(torch.backends.mkldnn.matmul, "bf16"),
    "no oneDNN": lambda: changed(
        lambda: True, lambda value: setattr(torch.backends.mkldnn, "enabled", value), False
    ),
    "no fast path": lambda: changed(
        torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, False
    ),
    "attention by hand": lambda: sdpa_kernel(SDPBackend.MATH),
    "three threads": lambda: changed(torch.get_num_threads, torch.set_num_threads, 3),
    "flushed denormals": flushed,
    "numpy raises": lambda: np.errstate(all="raise"),
}  # fmt: skip
MIXED = {
    "medium",
    "products in bf16",
    "products of oneDNN in bf16",
}  # torch refuses the old setting together with the new ones


def state() -> dict[str, object]:
    """All modes as the caller sees them."""
    found: dict[str, object] = {
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "device": torch.zeros(1).device,
        "inference": torch.is_inference_mode_enabled(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "products": [
            place.fp32_precision
            for place in (
                torch.backends, torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cudnn.conv,
                torch.backends.mkldnn, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv,
            )
        ],
        "oneDNN": torch.backends.mkldnn.enabled,
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "attention": torch.backends.cuda.flash_sdp_enabled(),
        "threads": torch.get_num_threads(),
        "denormals": sys.float_info.min * float("0.5"),
        "numpy": np.geterr(),
    }  # fmt: skip
    try:
        found["word"] = torch.get_float32_matmul_precision()
    except RuntimeError:
        found["word"] = "contradicted"
    return found


def written(table: pa.Table) -> str:
    """The digest of a table's bytes, in which 0.0 and -0.0 differ."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("modes") / "b"
    save_described(folder, Attends().eval(), task="multiclass", labels=list("abc"), **SAVED)
    return folder


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle, device="cpu")


@pytest.fixture(scope="module")
def plain(scorer: Scorer) -> str:
    return written(scorer.score_table(pa.table(FRAME)))


@pytest.mark.parametrize("name", MODES)
def test_no_mode_of_the_caller_affects_results(name: str, bundle: Path, scorer: Scorer, plain: str) -> None:
    """The model may be loaded before or under the mode; the caller's modes are active between blocks and afterwards."""
    with MODES[name]():
        before = state()
        assert written(scorer.score_table(pa.table(FRAME))) == plain
        own = Scorer.load(bundle, device="cpu", batch_rows=100)
        assert state() == before
        seen: list[dict[str, object]] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in pa.table(FRAME).to_batches(max_chunksize=100):
                seen.append(state())
                yield batch

        parts = []
        for part in own.score_batches(batches()):
            seen.append(state())
            parts.append(part.rows)
        assert len(seen) == 6
        assert all(one == before for one in seen)
        assert written(own.score_table(pa.table(FRAME))) == written(pa.Table.from_batches(parts))
        assert state() == before


def compatible(names: list[str]) -> bool:
    return len(MIXED & set(names)) <= 1


@settings(max_examples=40)
@given(names=st.lists(st.sampled_from(sorted(MODES)), unique=True, min_size=2, max_size=6).filter(compatible))
def test_no_combination_of_modes_affects_results(names: list[str], scorer: Scorer, plain: str) -> None:
    """In any order."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(MODES[name]())
        before = state()
        assert written(scorer.score_table(pa.table(FRAME))) == plain
        assert state() == before


@pytest.mark.parametrize("name", MODES)
def test_bundles_saved_under_a_mode_are_identical(name: str, bundle: Path, tmp_path: Path) -> None:
    """Including the golden rows, for a model that was made before."""
    torch.manual_seed(0)
    model = Attends().eval()
    with MODES[name]():
        before = state()
        save_described(tmp_path / "b", model, task="multiclass", labels=list("abc"), **SAVED)
        assert state() == before
    for file in sorted(bundle.iterdir()):
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes(), file.name


def test_modes_are_restored_after_errors(scorer: Scorer) -> None:
    """And after a generator that is not read to its end."""
    with torch.autocast("cpu", dtype=torch.bfloat16), np.errstate(all="raise"):
        before = state()
        with pytest.raises(Exception, match="f0"):
            scorer.score_table(pa.table(FRAME.drop(columns="f0")))
        next(scorer.score_batches(pa.table(FRAME).to_batches()))
        assert state() == before


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory, cancer: Example) -> Path:
    """A file of twelve rows. Beside its folder, the outputs of runs without a mode, by method."""
    folder = tmp_path_factory.mktemp("attributed") / "in"
    folder.mkdir()
    cancer.frame.head(12).to_parquet(folder / "rows.parquet", index=False)
    return folder / "rows.parquet"


@pytest.mark.parametrize("method", ["integrated-gradients", "shapley"])
@pytest.mark.parametrize("name", ["inference mode", "no_grad", "autocast", "default dtype float64", "device context"])
def test_attributions_do_not_depend_on_modes(
    name: str, method: str, cancer: Example, twelve: Path, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """A run under a mode, as in a notebook cell, writes identical parts."""
    words = ["score", "--bundle", cancer.bundle, "--input", twelve.parent, "--explain", method]
    if not (twelve.parent.parent / method).exists():
        assert scoreline(*words, "--output", twelve.parent.parent / method).code == 0
    with MODES[name]():
        before = state()
        assert scoreline(*words, "--output", tmp_path / "under").code == 0
        assert state() == before
    assert (tmp_path / "under" / twelve.name).read_bytes() == (twelve.parent.parent / method / twelve.name).read_bytes()


@pytest.mark.parametrize("name", ["autocast", "default dtype float64", "default device", "inference mode", "medium"])
def test_calibration_and_bench_do_not_depend_on_modes(
    name: str, iris: Example, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """The fitted temperature is equal to the last bit."""
    shuffled = iris.frame.assign(truth=np.random.default_rng(0).permutation(iris.frame["truth"]))
    predicted = iris.raw().argmax(axis=1)  # right in half of the rows, so that a temperature fits
    shuffled["truth"] = np.where(shuffled.index % 2 == 0, np.array(iris.labels)[predicted], shuffled["truth"])
    shuffled.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet"]
    assert scoreline("calibrate", *words, "--label", "truth", tmp_path / "plain").code == 0
    with MODES[name]():
        before = state()
        assert scoreline("calibrate", *words, "--label", "truth", tmp_path / "under").code == 0
        assert scoreline("bench", *words, "--rounds", 1, "--json").code == 0
        assert state() == before
    assert (tmp_path / "under" / "bundle.json").read_bytes() == (tmp_path / "plain" / "bundle.json").read_bytes()


def test_threads_do_not_restore_the_modes_of_others(scorer: Scorer, plain: str) -> None:
    """Modes of the process are restored when the last of several threads has finished."""
    with changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64):
        results: list[str] = []

        def work() -> None:
            results.extend(written(scorer.score_table(pa.table(FRAME))) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_default_dtype() == torch.float64
    assert results == [plain] * 20

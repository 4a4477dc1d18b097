"""TF32 products: in the scores that were asked for them, and nowhere else."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.model.loading import OnnxModel
from scoreline.pipeline.model.modes import pinned
from scoreline.pipeline.model.precision import reduced
from scoreline.pipeline.model.tf32 import float32_products
from torch import nn

import fakecuda
from both_devices import explaining, network, rows, save, score, small_bundle
from conftest import Example, Result
from scoreline import BundleError, DeviceError, Scorer

REAL = torch.cuda.is_available()
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def settings() -> tuple[object, ...]:
    """Every setting of float32 products."""
    read = torch._C._get_fp32_precision_getter
    new = [read(backend, one) for backend in ("cuda", "mkldnn") for one in ("all", "matmul", "conv", "rnn")]
    return (*new, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


@pytest.mark.usefixtures("cuda")
class TestScores:
    """`--precision tf32` on a GPU."""

    def test_scores_differ_from_float32_in_their_last_digits(self, tmp_path: Path) -> None:
        """As far as factors of 11 bits do, and fp32 does not use TF32."""
        bundle, before = small_bundle(tmp_path), settings()
        plain, fast = (score(bundle, rows(), "cuda", precision=one) for one in ("fp32", "tf32"))
        apart = abs(plain["probability_a"].to_numpy() - fast["probability_a"].to_numpy()).max()
        assert 1e-6 < apart < 2e-3
        assert settings() == before

    def test_hidden_layers_and_attributions_stay_float32(self, tmp_path: Path) -> None:
        """Beside scores in TF32, in several blocks at once."""
        bundle = small_bundle(tmp_path)
        options = {"columns": {"hidden": ("2",), **explaining("integrated-gradients")}}
        plain, fast = (
            score(bundle, rows(2000), "cuda", precision=one, batch_rows=100, columns=dict(options["columns"]))
            for one in ("fp32", "tf32")
        )
        names = [name for name in plain.schema.names if name.startswith(("hidden", "attribution_f"))]
        assert len(names) == 7
        # Attributions are those of the predicted class, which is the same in both for all but a few rows.
        same = plain["prediction"].to_numpy(False) == fast["prediction"].to_numpy(False)
        assert same.mean() > 0.99
        for name in names:
            assert plain[name].filter(same).equals(fast[name].filter(same)), name
        assert not plain["probability_a"].equals(fast["probability_a"])

    def test_golden_rows_decide(self, tmp_path: Path) -> None:
        """A small difference of large numbers is refused before the first row."""
        model = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 3)).eval()
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[1000.0, 1, 1, 1, 1, 1], [1000.0, -1, 1, 1, 1, 1]]))
            model[0].bias.zero_()
            model[1].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]))
        save(tmp_path / "b", model)
        Scorer.load(tmp_path / "b", device="cuda")
        with pytest.raises(BundleError, match=r"reproduced in fp32.*not in tf32.*use --precision fp32$"):
            Scorer.load(tmp_path / "b", device="cuda", precision="tf32")

    def test_other_threads_wait_for_their_own_setting(self) -> None:
        """Kernels that are launched at the same time have the same setting."""
        entered, end = Event(), Event()
        seen: list[bool] = []

        def other(tf32: bool) -> None:
            with float32_products(CUDA, tf32=tf32):
                seen.append(torch.backends.cuda.matmul.allow_tf32)
                entered.set()
                end.wait(5)

        with pinned():
            self._wait_for_each_other(other, entered, end)
        assert seen == [False]

    def _wait_for_each_other(self, other: Callable[[bool], None], entered: Event, end: Event) -> None:
        before = settings()
        with float32_products(CUDA, tf32=True):
            thread = Thread(target=other, args=(False,))
            thread.start()
            assert not entered.wait(0.1)
            assert torch.backends.cuda.matmul.allow_tf32
            with float32_products(CUDA, tf32=True):  # inside another
                assert torch.backends.cudnn.allow_tf32
        assert entered.wait(5)
        end.set()
        thread.join()
        assert settings() == before

    @pytest.mark.skipif(REAL, reason="the age of a real GPU is given")
    def test_an_old_gpu_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would compute in float32 without a word."""
        monkeypatch.setattr(fakecuda.Limits, "major", 7)
        with pytest.raises(DeviceError, match=r"compute capability 8\.0 or above, but emulated has 7\.0; use --prec"):
            Scorer.load(small_bundle(tmp_path), device="cuda", precision="tf32")


def test_a_cpu_is_refused(iris: Example) -> None:
    """torch would compute in float32 without a word."""
    with pytest.raises(UsageError, match="the device is cpu, which has no TF32; use --precision fp32, or --device"):
        Scorer.load(iris.bundle, device="cpu", precision="tf32")


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.skipif(REAL, reason="auto is the CPU only without a GPU")
def test_a_run_on_a_cpu_is_refused(
    iris: Example, tmp_path: Path, scoreline: Callable[..., Result], device: str
) -> None:
    """`--device cpu` before anything is read; `auto` once torch has found no GPU."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    done = scoreline(*words, "--precision", "tf32", "--device", device)
    assert done.code == 2
    assert "--precision tf32 needs a CUDA GPU" in done.message
    assert not (tmp_path / "out" / "in.parquet").exists()


def test_onnx_is_refused() -> None:
    """torch does not run it."""
    with pytest.raises(UsageError, match="but onnxruntime runs this model; save the module itself"):
        reduced(OnnxModel.__new__(OnnxModel), "tf32")
    assert isinstance(reduced(network(), "tf32"), nn.Sequential)


def test_a_cpu_does_not_wait() -> None:
    """There is nothing to set."""
    before = settings()
    with float32_products(CPU, tf32=False), float32_products(CPU, tf32=True):
        assert settings() == before

"""`--precision tf32` from the environment, and with `--compile`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.model.members import Members
from scoreline.pipeline.model.modes import pinned
from scoreline.pipeline.model.tf32 import float32_products
from torch import Tensor, nn
from torch._dynamo.utils import counters

from both_devices import explaining, rows, score, small_bundle
from conftest import Result
from scoreline import Scorer

REAL = torch.cuda.is_available()


def uses_tf32() -> bool:
    """The setting of products at this moment."""
    return bool(torch.backends.cuda.matmul.allow_tf32)


class Compiled(nn.Module):
    """Stands for a compiled model: notes the setting in which it is called."""

    def __init__(self, model: nn.Module, seen: list[bool], factor: float = 1.0) -> None:
        super().__init__()
        self.model, self.seen, self.factor = model, seen, factor

    def forward(self, *given: Tensor) -> Tensor:
        self.seen.append(uses_tf32())
        made: Tensor = self.model(*given)
        return made if self.factor == 1 else made * self.factor


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """`scoreline score` on a GPU."""
    rows(600).to_parquet(tmp_path / "in.parquet", index=False)
    bundle = small_bundle(tmp_path)
    return ["score", "--bundle", bundle, "--input", tmp_path / "in.parquet", "--device", "cuda", "--output"]


def written(folder: Path) -> pa.Table:
    """The part of a run."""
    return pq.read_table(folder / "in.parquet")


@pytest.mark.usefixtures("cuda")
class TestEnvironment:
    """`SCORELINE_PRECISION`."""

    def test_it_is_the_flag(
        self, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
    ) -> None:
        """The same values and fingerprint; the command line takes precedence."""
        assert scoreline(*words, tmp_path / "flag", "--precision", "tf32").code == 0
        monkeypatch.setenv("SCORELINE_PRECISION", "tf32")
        assert scoreline(*words, tmp_path / "environment").code == 0
        assert scoreline(*words, tmp_path / "plain", "--precision", "fp32").code == 0
        assert written(tmp_path / "flag").equals(written(tmp_path / "environment"))
        assert not written(tmp_path / "flag").equals(written(tmp_path / "plain"))
        assert scoreline(*words, tmp_path / "flag").event("nothing_to_do")
        monkeypatch.delenv("SCORELINE_PRECISION")
        again = scoreline(*words, tmp_path / "flag")
        assert "precision" in str(again.event("run_started")["to_score"])

    @pytest.mark.skipif(REAL, reason="auto is the GPU")
    def test_a_cpu_is_refused(
        self, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
    ) -> None:
        """As with the flag; an unknown value names the known ones."""
        monkeypatch.setenv("SCORELINE_PRECISION", "tf32")
        done = scoreline(*words, tmp_path / "out", "--device", "cpu")
        assert (done.code, "--precision tf32 needs a CUDA GPU" in done.message) == (2, True)
        monkeypatch.setenv("SCORELINE_PRECISION", "tf16")
        done = scoreline(*words, tmp_path / "out")
        assert done.code == 2
        assert "tf32" in done.err


@pytest.mark.usefixtures("cuda")
class TestCompiled:
    """`--compile` with TF32, with a compiler that does nothing."""

    def test_compiled_models_run_in_tf32(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While they are probed and later, so that they are compiled once; hidden layers and attributions are neither
        compiled nor in TF32."""
        seen: list[bool] = []
        bundle = small_bundle(tmp_path)
        options = {"columns": {"hidden": ("2",), **explaining("integrated-gradients")}}
        plain = score(bundle, rows(), "cuda", precision="tf32", columns=dict(options["columns"]))
        monkeypatch.setattr(torch, "compile", lambda model, **_: Compiled(model, seen))
        compiled = score(bundle, rows(), "cuda", precision="tf32", compile=True, columns=dict(options["columns"]))
        assert compiled.equals(plain)
        assert len(seen) > 2
        assert all(seen)
        seen.clear()
        score(bundle, rows(), "cuda", compile=True)
        assert seen
        assert not any(seen)

    @pytest.mark.parametrize("precision", ["tf32", "fp32"])
    def test_golden_rows_decide(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any) -> None:
        """A compiled model that differs by more than TF32 may is not used, in either precision."""
        seen: list[bool] = []
        monkeypatch.setattr(torch, "compile", lambda model, **_: Compiled(model, seen, 1.1))
        bundle = small_bundle(tmp_path)
        scorer = Scorer.load(bundle, device="cuda", precision=precision, compiled=True)
        assert scorer.not_compiled is not None
        assert "different values for the golden rows" in scorer.not_compiled
        assert not scorer.members.compiled
        plain = Scorer.load(bundle, device="cuda", precision=precision)
        assert scorer.score_frame(rows(50)).equals(plain.score_frame(rows(50)))

    def test_a_compiled_model_may_differ_as_far_as_tf32(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """But not in fp32."""
        monkeypatch.setattr(torch, "compile", lambda model, **_: Compiled(model, [], 1.0003))
        bundle = small_bundle(tmp_path)
        reasons = {
            precision: Scorer.load(bundle, device="cuda", precision=precision, compiled=True).not_compiled
            for precision in ("tf32", "fp32")
        }
        assert reasons["tf32"] is None
        assert reasons["fp32"] is not None


def test_a_model_is_compiled_once_for_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own tracer, on tensors of the CPU and with the settings of a GPU: they belong to what it guards, and
    are the same for every pass, whatever other models run with in between."""
    scorer = Scorer.load(small_bundle(tmp_path), device="cpu")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    manifest = scorer.manifest
    members = Members(
        scorer.members.models, manifest.inputs, manifest.heads, call=manifest.call, device=torch.device("cuda"),
        pass_rows=64, tf32=True,
    )  # fmt: skip
    name, seen = manifest.inputs[0].name, counters["stats"]
    wanted = members.run({name: torch.ones(20, 6)})["output"]
    before = seen["unique_graphs"]
    assert members.compile(lambda: members.run({name: torch.ones(20, 6)})) is None
    compiled = seen["unique_graphs"]
    assert compiled > before
    with pinned():
        for number in (20, 64, 33):
            made = members.run({name: torch.ones(number, 6)})["output"]
            assert torch.equal(made[:20], wanted)
            with float32_products(torch.device("cuda"), tf32=False):
                assert not uses_tf32()
        assert seen["unique_graphs"] <= compiled + 1  # of any number of rows, once

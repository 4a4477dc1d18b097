"""`--compile` gives the same predictions, or falls back to the plain model with a warning."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import Tensor, nn

from conftest import Example, Result
from packing_helper import last_states
from scoreline import Regression, TokenSequence, save_bundle

Command = Callable[..., Result]
#: Compile without vector instructions: torch would try the compiler with each set of them, which takes longer than to
#: compile the model.
SCALAR = {"TORCHINDUCTOR_VEC_ISA_OK": "0"}


@pytest.fixture
def words(iris: Example, tmp_path: Path) -> list[object]:
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    return ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
def test_compiled_models_give_the_same_predictions(
    process: Command, scoreline: Command, words: list[object], tmp_path: Path
) -> None:
    """The option is part of the fingerprint: the same command without it rescores."""
    compiled = process(*words, tmp_path / "out", "--compile", **SCALAR)
    assert compiled.code == 0, compiled.err
    assert compiled.event("bundle_loaded")["compiled"] is True
    first = pq.read_table(tmp_path / "out" / "in.parquet")
    plain = scoreline(*words, tmp_path / "out")
    assert plain.event("run_started")["kept"] == 0, plain.err
    assert "compile" in json.dumps(plain.event("run_started")["to_score"])
    second = pq.read_table(tmp_path / "out" / "in.parquet")
    assert first["prediction"] == second["prediction"]
    assert first["row_id"] == second["row_id"]
    np.testing.assert_allclose(first["probability_0"], second["probability_0"], atol=1e-6)


class Packing(nn.Module):
    """Packs its lists, which torch compiles in parts, and gives advice about that."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.turn, self.out = nn.Embedding(9, 2), nn.GRU(2, 2, batch_first=True), nn.Linear(2, 1)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        return self.out(last_states(self.turn, self.words(words), lengths))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
def test_the_compiler_writes_nothing_of_its_own(process: Command, tmp_path: Path) -> None:
    """Each line is an event."""
    rows = pa.table({"words": [[1, 2, 3], [4], [5, 6]] * 20})
    inputs = TokenSequence("words", longest=4, mask="lengths")
    save_bundle(tmp_path / "b", Packing().eval(), inputs=inputs, task=Regression(), sample=rows)
    pq.write_table(rows, tmp_path / "in.parquet")
    words = ["score", "--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = process(*words, "--compile", **SCALAR)
    assert result.code == 0, result.err
    assert [json.loads(line)["event"] for line in result.err.splitlines()][-1] == "run_ended"
    assert result.event("bundle_loaded")["compiled"] is True


@pytest.mark.slow
def test_without_a_compiler_the_plain_model_runs(
    process: Command, scoreline: Command, words: list[object], tmp_path: Path
) -> None:
    """With a warning that names the reason, and identical columns."""
    broken = {**SCALAR, "CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    result = process(*words, tmp_path / "out", "--compile", **broken)
    assert result.code == 0, result.err
    assert result.event("bundle_loaded")["compiled"] is False
    assert "compiler" in result.event("model_not_compiled")["reason"]
    assert scoreline(*words, tmp_path / "plain").code == 0
    got, wanted = (pq.read_table(tmp_path / name / "in.parquet") for name in ("out", "plain"))
    assert got.equals(wanted)

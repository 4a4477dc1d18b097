"""Cores, memory, blocks: the limits of a run, and running out of device memory."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.cores import available_cores
from scoreline.pipeline.errors import ModelFailedError
from torch import Tensor

from conftest import Example, Result
from scoreline import Scorer


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_counts(
    tmp_path: Path, files: dict[str, str], count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For both versions of control groups, rounded up; never the host's number of cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = available_cores(tmp_path, tmp_path / "none")
    assert found.count == (count or 8)
    assert ("quota" in found.limited_by) == (count is not None)


@pytest.mark.parametrize(
    ("own", "files", "count"),
    [
        ("0::/system.slice/score.service\n", {"system.slice/score.service/cpu.max": "200000 100000"}, 2),
        ("0::/system.slice/score.service\n", {"system.slice/cpu.max": "300000 100000"}, 3),
        (
            "0::/a/b\n",
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000", "cpu.max": "500000 100000"},
            4,
        ),
        (
            "5:devices:/x\n4:cpu,cpuacct:/jobs/1\n0::/\n",
            {"cpu/jobs/1/cpu.cfs_quota_us": "150000", "cpu/jobs/1/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpu:/jobs\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("0::/of/the/host\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/../../elsewhere\n", {"cpu.max": "600000 100000"}, 6),
        ("0:://x\n", {"x/cpu.max": "200000 100000"}, 2),
        ("0::/a\x00b\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/a\udcffb\n", {"cpu.max": "200000 100000"}, 2),
        ("nonsense\n\n", {"cpu.max": "700000 100000"}, 7),
        ("0::/a\n", {}, None),
    ],
)
def test_the_quota_of_the_own_group(
    tmp_path: Path, own: str, files: dict[str, str], count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of those above it, as systemd (CPUQuota=) and batch systems set it outside of containers."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "own").write_text(own, errors="surrogateescape")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    assert available_cores(tmp_path / "cgroup", tmp_path / "own").count == (count or 8)


def short_of_memory(scorer: Scorer, most_rows: int) -> list[int]:
    """Make a scorer run out of memory above some number of rows. Returns the sizes that were tried."""
    tried: list[int] = []
    model = scorer.members.models[0]
    real = model.forward

    def forward(x: Tensor) -> Tensor:
        tried.append(x.shape[0])
        if x.shape[0] > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory (as the test has it)")
        out: Tensor = real(x)
        return out

    model.forward = forward  # type: ignore[method-assign]
    return tried


def test_out_of_memory_halves_the_block(
    iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """The same rows are retried in smaller batches; that size is kept and logged, order and count are unchanged."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output"]
    assert scoreline(*words, tmp_path / "whole").code == 0
    real = Scorer.load
    tried: list[list[int]] = []

    def load(*given: object, **options: object) -> Scorer:
        scorer = real(*given, **options)  # type: ignore[arg-type]
        tried.append(short_of_memory(scorer, 40))
        return scorer

    monkeypatch.setattr(Scorer, "load", load)
    result = scoreline(*words, tmp_path / "out", "--batch-size", "100")
    assert result.code == 0, result.err
    assert result.event("out_of_memory")["rows_at_once"] == 25
    # Another flow may have begun with the block of 50 rows before the size is known.
    assert sorted(tried[0]) in ([*[25] * 6, 50, 100], [*[25] * 6, 50, 50, 100])
    got, wanted = (pq.read_table(tmp_path / name / "in.parquet") for name in ("out", "whole"))
    assert got["row_id"] == wanted["row_id"]
    assert got["prediction"] == wanted["prediction"]
    np.testing.assert_allclose(got["probability_0"], wanted["probability_0"], atol=1e-6)


def test_no_memory_for_a_single_row(iris: Example) -> None:
    """The run fails if even one row does not fit."""
    scorer = Scorer.load(iris.bundle, device="cpu")
    short_of_memory(scorer, 0)
    with pytest.raises(ModelFailedError, match="no memory for a single row"):
        scorer.score_table(pa.Table.from_pandas(iris.frame, preserve_index=False))


def test_the_memory_option_does_not_change_values(
    iris: Example, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """The same bytes with little memory as with much; an invalid size is refused."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--batch-size", "10", "--output"]
    for memory in ("1k", "2G"):
        assert scoreline(*words, tmp_path / memory, "--memory", memory).code == 0
    one, other = ((tmp_path / memory / "in.parquet").read_bytes() for memory in ("1k", "2G"))
    assert one == other
    assert scoreline(*words, tmp_path / "x", "--memory", "lots").code == 2


def test_the_log_names_the_limits_of_a_run(iris: Example, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """Cores and block size, with their reasons."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    result = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o")
    start, loaded = result.event("run_started"), result.event("bundle_loaded")
    assert start["cores"] == available_cores().count
    assert start["cores_limited_by"]
    assert (loaded["batch_rows"], loaded["batch_reason"]) == (
        32768,
        "blocks of 4 columns take 1 MiB, and a widest layer of 32 takes 2 MiB in a pass of 16,384 rows on cpu",
    )  # fmt: skip
    assert loaded["folded_layers"] == 2
    assert json.loads((tmp_path / "o" / "_scoreline" / "run.json").read_text())["options"]["batch_rows"] == 32768

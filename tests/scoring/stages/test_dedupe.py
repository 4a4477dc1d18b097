"""Repeated rows are scored once: equal values, reproducible bytes, and a warning if it costs more than it saves."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.scoring.stages.dedupe import SplitTable
from torch import Tensor, nn

from conftest import Result
from scoreline import Multiclass, Regression, save_bundle

Command = Callable[..., Result]
NAMES = list("abcd")


def rows(number: int, different: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    pool = draw.normal(size=(different, 4))
    frame = pd.DataFrame(pool[draw.integers(0, different, number)], columns=NAMES)
    frame.insert(0, "id", np.arange(number))
    return frame


class Heavy(nn.Module):
    """A model that is slow enough to measure."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 600), nn.Linear(600, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_bundle(tmp_path / "b", Heavy(), features=NAMES, task=Multiclass(list("xyz")), sample=rows(50, 50)[NAMES])
    return tmp_path / "b"


def test_the_same_values_and_the_same_bytes(tmp_path: Path, bundle: Path, scoreline: Command) -> None:
    """Across blocks, splits and files, with rejects; the model scores each distinct row once per split."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        frame = rows(20_000, 40, number)
        frame.loc[[5, 9_000, 19_999], "b"] = np.nan
        frame.to_parquet(tmp_path / "in" / f"{number}.parquet", index=False)
    words = ["score", "--bundle", bundle, "--input", tmp_path / "in", "--max-rejects", "10",
             "--split-rows", "15000", "--batch-size", "1000", "--output"]  # fmt: skip
    assert scoreline(*words, tmp_path / "plain").code == 0
    for name in ("one", "two"):
        result = scoreline(*words, tmp_path / name, "--dedupe")
        assert result.code == 0, result.err
    run = json.loads((tmp_path / "one" / "_scoreline" / "run.json").read_text())
    assert (run["stages"]["dedupe"]["rows"], run["stages"]["forward"]["rows"]) == (39_994, 160)
    assert result.event("rows_deduplicated")["hit_rate"] == pytest.approx(1 - 160 / 39_994, abs=1e-4)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.parquet"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        got, wanted = (pq.read_table(tmp_path / name / file).to_pandas() for name in ("one", "plain"))
        assert got[["id", "prediction"]].equals(wanted[["id", "prediction"]])
        probabilities = [f"probability_{label}" for label in "xyz"]
        np.testing.assert_allclose(got[probabilities], wanted[probabilities], atol=1e-6)
    assert scoreline("verify", tmp_path / "one").code == 0


def test_a_warning_if_deduplication_costs_more_than_it_saves(tmp_path: Path, bundle: Path, scoreline: Command) -> None:
    """As where no row repeats."""
    rows(5_000, 10**6).to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, "--dedupe")
    assert result.event("rows_deduplicated")["hit_rate"] < 0.01
    event = result.event("dedupe_too_slow")
    assert event["level"] == "warning"
    assert "leave --dedupe out" in event["reason"]


def test_repeats_of_a_failing_row_are_rejected(tmp_path: Path, scoreline: Command) -> None:
    """A row that makes the model raise is a reject each time it repeats, in later blocks too; hidden layers match."""
    embedding = nn.Embedding(5, 3)

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = embedding

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x[:, 0].abs().long()) * x[:, 1:2]

    sample = pd.DataFrame(np.abs(np.random.default_rng(0).integers(0, 5, (50, 4))).astype(float), columns=NAMES)
    save_bundle(tmp_path / "b", Lookup(), features=NAMES, task=Regression(list("xyz")), sample=sample)
    frame = pd.concat([sample] * 20, ignore_index=True)
    bad = np.arange(17, 1000, 50)
    frame.loc[bad, NAMES] = [-7.0, 1.0, 1.0, 1.0]  # hidden from the checks by abs()
    frame.insert(0, "id", np.arange(1000))
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    words += ["--batch-size", "64", "--max-rejects", "100", "--hidden", "mul"]
    result = scoreline("score", *words, "--dedupe")
    assert result.code == 0, result.err
    table = pq.read_table(tmp_path / "out" / "in.parquet").to_pandas()
    assert sorted(set(range(1000)) - set(table["id"])) == bad.tolist()
    with torch.no_grad():
        wanted = Lookup()(torch.from_numpy(frame.drop(index=bad)[NAMES].to_numpy(np.float32).copy())).numpy()
    np.testing.assert_allclose(table[[f"prediction_{label}" for label in "xyz"]], wanted, atol=1e-6)
    np.testing.assert_allclose(np.stack(list(table["hidden_mul"])), wanted, atol=1e-6)


pairs = st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5]))


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5])), min_size=1, max_size=12), max_size=6
    ),
    st.sampled_from([1, 40, 1 << 20]),
)
def test_every_row_gets_its_own_output(blocks: list[list[tuple[int, float]]], room: int) -> None:
    """For any repeats and any memory limit; rows are compared bitwise, so 0 and -0 differ."""
    table = SplitTable(room)
    for block in blocks:
        values = torch.tensor(block, dtype=torch.float32).T.contiguous().T
        repeats = table.find({"x": values})
        heads, reasons = table.fill(repeats, {"out": values[torch.from_numpy(repeats.fresh)]}, {})
        assert not reasons
        assert np.array_equal(heads["out"].numpy().view(np.uint32), values.contiguous().numpy().view(np.uint32))
        keys = [tuple(row) for row in values.contiguous().numpy().view(np.uint32).tolist()]
        assert len(repeats.fresh) <= len(set(keys))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=2, max_size=30), st.integers(0, 999))
def test_lanes_do_not_deadlock(blocks: list[list[int]], seed: int) -> None:
    """Several threads fill in blocks, in any order that flows may take; some blocks have no fresh rows."""
    draw = np.random.default_rng(seed)
    table = SplitTable()
    found = []
    for block in blocks:
        values = torch.tensor(block, dtype=torch.float32)[:, None]
        found.append((values, table.find({"x": values}), draw.random() * 2e-3))

    def fill(item: tuple[Tensor, Any, float]) -> bool:
        values, repeats, pause = item
        time.sleep(pause)
        heads, _ = table.fill(repeats, {"out": values[torch.from_numpy(repeats.fresh)]}, {})
        return torch.equal(heads["out"], values)

    pool = ThreadPoolExecutor(3)
    futures = [pool.submit(fill, item) for item in found]
    try:
        assert all(future.result(timeout=10) for future in futures)
    finally:
        table.give_up()
        pool.shutdown()

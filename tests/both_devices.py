"""Bundles and rows that are scored on both devices and compared."""

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scoreline.pipeline.options import ColumnOptions, Explain, RejectBudget, ScoreJob
from scoreline.pipeline.running.run import run
from torch import nn

from described import save_described

FEATURES = [f"f{n}" for n in range(6)]
ROWS = 1500
BLOCK = 500


def rows(number: int = ROWS, seed: int = 0, *, repeated: bool = False) -> pd.DataFrame:
    """Numbers; with `repeated`, each row about five times."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(number, 6))
    if repeated:
        values = values[draw.integers(0, number // 5, number)]
    frame = pd.DataFrame(values, columns=FEATURES)
    frame.insert(0, "id", np.arange(number))
    return frame


def network(width: int = 3) -> nn.Module:
    """A small model of six numbers, whose batch norm is folded unless it is run as saved."""
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, width)).eval()


def save(path: Path, model: Any, **more: Any) -> Path:
    """A bundle of a model of the six features."""
    given = {"features": FEATURES, "sample": rows(40)[FEATURES], "task": "multiclass", "labels": list("abc")} | more
    save_described(path, model, **given)
    return path


def small_bundle(folder: Path) -> Path:
    """Three classes of six numbers."""
    torch.manual_seed(0)
    return save(folder / "b", network())


def score(bundle: Path, data: pd.DataFrame | pa.Table, device: str, **options: Any) -> pa.Table:
    """Score rows on a device; every row may be rejected."""
    folder = bundle.parent
    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    pq.write_table(table, folder / "in.parquet")
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    columns = ColumnOptions(**options.pop("columns", {}))
    job = ScoreJob(
        bundle=str(bundle), input=str(folder / "in.parquet"), output=str(out), run_id="r", device=device,
        columns=columns, max_rejects=RejectBudget(count=None, share=Fraction(1)), **{"batch_rows": BLOCK} | options,
    )  # fmt: skip
    run(job)
    return pq.read_table(out / "in.parquet")


def assert_close(got: pa.Table, wanted: pa.Table) -> None:
    """Equal, floating-point numbers within 2e-5."""
    assert got.schema.equals(wanted.schema)
    for name in got.schema.names:
        left, right = got[name].combine_chunks(), wanted[name].combine_chunks()
        while pa.types.is_list(left.type) or pa.types.is_fixed_size_list(left.type):
            left, right = left.flatten(), right.flatten()
        if pa.types.is_floating(left.type):
            values = [column.to_numpy(zero_copy_only=False) for column in (left, right)]
            np.testing.assert_allclose(*values, atol=2e-5, err_msg=name)
        else:
            assert left.equals(right), name


def compare(bundle: Path, data: pd.DataFrame | pa.Table, **options: Any) -> pa.Table:
    """Score on both devices and compare; returns the result."""
    got, wanted = (score(bundle, data, device, **dict(options)) for device in ("cuda", "cpu"))
    assert got.num_rows == wanted.num_rows > 0
    assert_close(got, wanted)
    return got


def explaining(method: Any, share: Fraction = Fraction(1, 20)) -> dict[str, Any]:
    """Column options."""
    return {"explain": Explain(method=method, share=share)}

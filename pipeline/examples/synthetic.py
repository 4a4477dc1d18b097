"""A synthetic model and synthetic data of any size, for benchmarks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import torch
from torch import nn

from ...schemas.specs.tasks import Multiclass
from ..errors import UsageError, counted
from ..saving.save import save_bundle


def make_bundle(folder: Path, features: int) -> Path:
    """The classifier of the published benchmarks: a scaler, then Linear-ReLU-BatchNorm 128-64-5."""
    try:
        from sklearn.preprocessing import StandardScaler  # optional: scoring does not need it
    except ImportError as error:
        raise UsageError(
            "the synthetic model needs scikit-learn; install it with: pip install 'scoreline[demo]', or pass --bundle"
        ) from error
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    sample = draw.normal(size=(256, features))
    layers: list[nn.Module] = []
    for wide, narrow in ((features, 128), (128, 64)):
        norm = nn.BatchNorm1d(narrow)
        norm.running_mean, norm.running_var = torch.randn(narrow), torch.rand(narrow) + 0.5
        layers += [nn.Linear(wide, narrow), nn.ReLU(), norm]
    names = [f"f{number}" for number in range(features)]
    save_bundle(
        folder / "bundle",
        nn.Sequential(*layers, nn.Linear(64, 5)),
        features=names,
        scaler=StandardScaler().fit(sample),
        task=Multiclass(list("abcde")),
        sample=pa.table({name: sample[:, index] for index, name in enumerate(names)}),
    )
    return folder / "bundle"


def make_data(folder: Path, features: Sequence[str], *, rows: int, files: int, format: str) -> Path:  # noqa: A002
    """Write files of normally distributed float64 features and a key, with `rows` rows in total."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(1)
    if not 1 <= files <= rows:
        raise UsageError(
            f"{counted(rows, 'row')} cannot be split into {counted(files, 'file')}; each file needs at least one row"
        )
    for number in range(files):
        count = rows * (number + 1) // files - rows * number // files
        columns = {name: pa.array(draw.normal(size=count)) for name in features}
        table = pa.table({"row_id": pa.array(np.arange(count) + number * rows), **columns})
        if format == "csv":
            pacsv.write_csv(table, data / f"{number:05d}.csv")
        else:
            pq.write_table(table, data / f"{number:05d}.parquet")
    os.sync()  # pending writes would slow down reading in the benchmark
    return data

"""Attributions of rows, computed through the Python API."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from scoreline.pipeline.options import ColumnOptions, Explain

from scoreline import Scorer

METHODS = ("integrated-gradients", "shapley", "lime", "occlusion")


def explained(bundle: Path, frame: pd.DataFrame, method: str, **settings: Any) -> pd.DataFrame:
    """The columns that `--explain` writes, through the Python API."""
    options = Explain(method=method, **settings)
    scorer = Scorer.load(bundle, device="cpu", explain=options)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    blocks = scorer.score_batches(table.to_batches(), options=ColumnOptions(explain=options), source="rows")
    return pa.Table.from_batches([block.rows for block in blocks]).to_pandas()

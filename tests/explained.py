"""Rows that are explained by way of Python, and their attributions."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from scoreline.pipeline.options import ColumnOptions, Explain

from scoreline import Scorer

METHODS = ("integrated-gradients", "shapley", "lime", "occlusion")


def explained(bundle: Path, frame: pd.DataFrame, method: str, **words: Any) -> pd.DataFrame:
    """The columns of `--explain`, by way of Python."""
    asked = Explain(method=method, **words)
    scorer = Scorer.load(bundle, device="cpu", explain=asked)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    blocks = scorer.score_batches(table.to_batches(), options=ColumnOptions(explain=asked), source="rows")
    return pa.Table.from_batches([block.rows for block in blocks]).to_pandas()

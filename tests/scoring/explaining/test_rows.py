"""The choice of rows to explain, and their baseline."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from scoreline.pipeline.options import Explain
from scoreline.pipeline.scoring.explaining.rows import baseline_row, chosen, draws

pytestmark = pytest.mark.usefixtures("one_core")


def test_a_sample_of_rows_is_drawn_by_partition_and_row() -> None:
    """The share is correct, and the choice of a row does not depend on the others."""
    rows = np.arange(200_000, dtype=np.int64)
    share = Explain(method="shapley", share=Fraction(1, 100))
    taken = chosen(draws("a.parquet", rows), share)
    assert 1800 < len(taken) < 2200
    late = chosen(draws("a.parquet", rows[150_000:]), share) + 150_000
    assert late.tolist() == [row for row in taken.tolist() if row >= 150_000]
    assert taken.tolist() != chosen(draws("b.parquet", rows), share).tolist()


def test_baseline_of_missing_and_equally_frequent_values() -> None:
    """Nulls are ignored; of equally frequent values the smallest is used."""
    batch = pa.record_batch(
        {"x": pa.array([None, 3.0, 1.0, 2.0, None]), "w": ["b", "a", "b", "a", None],
         "f": [True, False, True, True, None], "n": pa.array([None] * 5, pa.float64())}
    )  # fmt: skip
    row = baseline_row(batch, {"w", "f"})
    assert row.to_pylist() == [{"x": 2.0, "w": "a", "f": True, "n": None}]

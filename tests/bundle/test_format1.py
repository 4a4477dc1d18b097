"""Stored bundles of format 1 load, reproduce their golden rows, and give the scores that they gave when saved."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoreline import Scorer

FOLDER = Path(__file__).parent.parent / "bundles" / "format1"
NAMES = ("multiclass", "ensemble", "heads", "sequence", "image")


def flat(column: pa.ChunkedArray) -> pa.Array:
    """The values of a column, lists joined."""
    values = column.combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    return values


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_bundle_gives_the_same_scores(name: str) -> None:
    """The same columns, types and labels, floats within 1e-5, and the same rejected row."""
    scorer = Scorer.load(FOLDER / name / "bundle", device="cpu")
    assert scorer.golden is not None
    assert scorer.golden.largest_difference < 1e-5
    expected = pq.read_table(FOLDER / name / "expected.parquet")
    scored, rejects = scorer.score_table(pq.read_table(FOLDER / name / "input.parquet"), with_rejects=True)
    assert rejects["id"].to_pylist() == [5]
    assert scored.schema.names == expected.schema.names
    assert scored.schema.types == expected.schema.types
    for column in expected.column_names:
        got, wanted = flat(scored[column]), flat(expected[column])
        if pa.types.is_floating(wanted.type):
            np.testing.assert_allclose(got.to_numpy(), wanted.to_numpy(), rtol=1e-5, atol=1e-6)
        else:
            assert got.to_pylist() == wanted.to_pylist()


def test_every_stored_bundle_is_tested() -> None:
    """Every folder is listed above."""
    assert sorted(NAMES) == sorted(path.name for path in FOLDER.iterdir() if (path / "bundle").is_dir())

"""The importance of features, compared with NumPy over all rows at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError, NoInputError, UsageError
from scoreline.pipeline.evaluation.importance import importance

from attributed_output import write_output


def attributions(rows: int, seed: int, prefix: str = "") -> pa.Table:
    """Keys, a prediction, and attributions of two features and their gap; every third row is not explained."""
    rng = np.random.default_rng(seed)
    missing = np.arange(rows) % 3 == 0
    columns: dict[str, Any] = {"attribution_old": pa.array(["x"] * rows), f"{prefix}prediction": rng.normal(size=rows)}
    for name, scale in (("attribution_a", 1.0), ("attribution_b", -5.0), ("attribution_gap", 1e-6)):
        values = (scale * rng.exponential(size=rows)).astype(np.float32)
        columns[prefix + name] = pa.array(values, mask=missing)
    return pa.table(columns)


@pytest.mark.parametrize("prefix", ["", "p_"])
def test_the_importance_of_each_feature(tmp_path: Path, prefix: str) -> None:
    """Over all parts, without rows that were not explained; keys with such names are not attributions."""
    tables = [attributions(100, 0, prefix), attributions(1, 1, prefix), attributions(44, 2, prefix)]
    seen: list[int] = []
    found = importance(str(write_output(tmp_path / "out", tables, prefix=prefix)), seen.append)
    whole = pa.concat_tables(tables)
    assert sum(seen) == 145
    assert (found.method, [one.feature for one in found.features]) == ("shapley", ["b", "a"])
    for one in found.features:
        values = whole[f"{prefix}attribution_{one.feature}"].drop_null().to_numpy().astype(np.float64)
        assert found.rows == len(values)
        assert one.mean_absolute == pytest.approx(np.abs(values).mean(), rel=1e-12)
        assert one.mean == pytest.approx(values.mean(), rel=1e-12)
        assert one.largest == np.abs(values).max()
    assert found.largest_gap == np.abs(whole[f"{prefix}attribution_gap"].drop_null().to_numpy()).max()


def test_constants_with_such_names_are_no_attributions(tmp_path: Path) -> None:
    """They follow the predictions, but are text."""
    table = attributions(9, 0).append_column("attribution_of", pa.array(["us"] * 9))
    found = importance(str(write_output(tmp_path / "out", [table])))
    assert {one.feature for one in found.features} == {"a", "b"}


def test_a_foreign_file_in_place_of_a_part(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out", [attributions(9, 0)])
    pq.write_table(pa.table({"id": [1]}), next(out.glob("*.parquet")))
    with pytest.raises(DataError, match="has no column 'prediction'; run scoreline verify"):
        importance(str(out))


def test_methods_without_a_guarantee_have_no_gap(tmp_path: Path) -> None:
    """Their attributions need not sum to the difference in score."""
    table = attributions(9, 0).drop_columns("attribution_gap")
    assert importance(str(write_output(tmp_path / "out", [table], method="occlusion"))).largest_gap is None


def test_no_row_was_explained(tmp_path: Path) -> None:
    """The features are listed with zeros."""
    found = importance(str(write_output(tmp_path / "out", [attributions(1, 0)])))
    assert found.rows == 0
    assert {(one.mean_absolute, one.mean, one.largest) for one in found.features} == {(0.0, 0.0, 0.0)}


def test_outputs_that_have_no_importance(tmp_path: Path) -> None:
    """Not an output, not complete, without attributions, damaged: each with what to do."""
    with pytest.raises(NoInputError, match="is not an output of scoreline score"):
        importance(str(tmp_path))
    out = write_output(tmp_path / "out", [attributions(9, 0)], method=None)
    with pytest.raises(UsageError, match="the output has no attributions; score it with --explain shapley"):
        importance(str(out))
    out = write_output(tmp_path / "out", [attributions(9, 0)])
    (out / "in-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"in-00000\.parquet.*; run scoreline verify$"):
        importance(str(out))
    (out / "_SUCCESS").unlink()
    with pytest.raises(DataError, match=r"is not complete: .*; run the same scoreline score again"):
        importance(str(out))

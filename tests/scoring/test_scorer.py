"""Scoring batches, tables and frames in memory: order, blocks, rejects, and errors as a caller sees them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scoreline.pipeline.errors import ColumnError, RowsRejectedError, UsageError
from scoreline.pipeline.options import ColumnOptions, Explain

from conftest import Example
from scoreline import Scorer


@pytest.fixture
def scorer(iris: Example) -> Scorer:
    return Scorer.load(iris.bundle, device="cpu", batch_rows=16)


def table_of(iris: Example, **changes: Any) -> pa.Table:
    return pa.Table.from_pandas(iris.frame.assign(**changes), preserve_index=False)


def broken(iris: Example, *rows: int) -> dict[str, Any]:
    """The first feature, with NaN in some rows."""
    column = iris.frame[iris.features[0]].copy()
    column.iloc[list(rows)] = np.nan
    return {iris.features[0]: column}


@pytest.mark.parametrize("sizes", [[150], [1] * 150, [7, 0, 100, 43], [149, 1]])
def test_blocks_do_not_depend_on_batches(scorer: Scorer, iris: Example, sizes: list[int]) -> None:
    """Blocks have `batch_rows` rows, in input order, with the same values, however the input is cut."""
    table = table_of(iris)
    starts = np.cumsum([0, *sizes])
    batches = [table.slice(start, size).combine_chunks() for start, size in zip(starts, sizes, strict=False)]
    blocks = list(scorer.score_batches(b.to_batches()[0] for b in batches if b.num_rows))
    assert [block.rows.num_rows for block in blocks] == [16] * 9 + [6]
    rows = pa.Table.from_batches([block.rows for block in blocks])
    assert rows["row_id"].to_pylist() == iris.frame["row_id"].tolist()
    assert rows["prediction"].to_pylist() == [iris.labels[at] for at in iris.raw().argmax(axis=1)]
    assert rows == scorer.score_table(table)


def test_rejects_have_the_numbers_of_the_input(scorer: Scorer, iris: Example) -> None:
    """Counted over all batches, with the source that the caller names."""
    batches = table_of(iris, **broken(iris, 0, 15, 16, 149)).to_batches(max_chunksize=40)
    blocks = list(scorer.score_batches(batches, source="orders"))
    rejects = [row for block in blocks for row in block.rejects["reject"].to_pylist()]
    assert [(row["source"], row["row_number"]) for row in rejects] == [("orders", n) for n in (0, 15, 16, 149)]
    assert sum(block.rows.num_rows for block in blocks) == 146


def test_a_table_with_rejects(scorer: Scorer, iris: Example) -> None:
    """They are returned on request; otherwise the first is named."""
    table = table_of(iris, **broken(iris, 3, 40))
    rows, rejects = scorer.score_table(table, with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == (148, 2)
    with pytest.raises(RowsRejectedError) as raised:
        scorer.score_table(table)
    assert str(raised.value) == (
        f"row 3: column {iris.features[0]!r} is null (2 of 150 rows cannot be scored); fix them, or pass"
        " with_rejects=True to get the rejects"
    )


@pytest.mark.parametrize("chunks", [0, 1])
def test_an_empty_table(scorer: Scorer, iris: Example, chunks: int) -> None:
    """Has the same columns, with or without a chunk."""
    schema = table_of(iris).schema
    table = schema.empty_table() if chunks else pa.Table.from_batches([], schema=schema)
    rows = scorer.score_table(table)
    assert rows.num_rows == 0
    assert rows.schema.names == scorer.score_table(table_of(iris)).schema.names


def test_a_frame_keeps_its_index_and_other_columns(scorer: Scorer, iris: Example) -> None:
    """Unchanged, whatever their type; the predictions come last."""
    frame = iris.frame.assign(anything=[{"a": 1}] * 150).set_index(pd.Index(range(500, 350, -1), name="key"))
    found = scorer.score_frame(frame)
    assert found.index.equals(frame.index)
    assert list(found.columns) == [
        "row_id", "truth", "anything", "prediction", *(f"probability_{label}" for label in iris.labels),
    ]  # fmt: skip
    assert found["prediction"].tolist() == [iris.labels[at] for at in iris.raw().argmax(axis=1)]


def test_a_frame_of_another_library(scorer: Scorer, iris: Example) -> None:
    """Any object with Arrow's stream interface gives a table."""
    found = scorer.score_frame(table_of(iris))
    assert isinstance(found, pa.Table)
    assert found == scorer.score_table(table_of(iris))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (lambda f: f.to_numpy(), UsageError, "not ndarray; collect a lazy frame first"),
        (lambda f: f.assign(prediction=1), UsageError, "column 'prediction' is also the name of an output; rename it"),
        (lambda f: f.iloc[:, 2:], ColumnError, "sepal length"),
        (lambda f: f.assign(**{f.columns[1]: [object()] * 150}), ColumnError, "features are not plain numbers"),
        (lambda f: f.assign(**{f.columns[1]: "x"}), ColumnError, "sepal length"),
        (lambda f: f.assign(**{f.columns[1]: np.nan}), RowsRejectedError, "150 of 150 rows cannot be scored"),
    ],
)
def test_frames_that_cannot_be_scored(
    scorer: Scorer, iris: Example, given: Callable[[pd.DataFrame], Any], error: type[Exception], says: str
) -> None:
    """With the column and what to do."""
    with pytest.raises(error, match=says):
        scorer.score_frame(given(iris.frame))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ColumnOptions(hidden=("network.0",)), r"use Scorer.load\(…, hidden=\[…\]\)"),
        (ColumnOptions(explain=Explain(method="occlusion")), r"use Scorer.load\(…, explain=…\)"),
        (ColumnOptions(keys={"row_id", "truth"}), "keys"),  # type: ignore[arg-type]
    ],
)
def test_options_that_do_not_match(scorer: Scorer, iris: Example, options: ColumnOptions, says: str) -> None:
    """Are refused before the first row."""
    with pytest.raises(UsageError, match=says):
        next(scorer.score_batches(table_of(iris).to_batches(), options=options))


def test_options_of_columns(scorer: Scorer, iris: Example) -> None:
    """Keys, prefix and probabilities apply as in a run."""
    options = ColumnOptions(keys=("truth",), prefix="p_", probabilities="none", top_k=1)
    block = next(scorer.score_batches(table_of(iris).to_batches(), options=options))
    assert block.rows.schema.names == ["truth", "p_prediction", "p_top_1", "p_top_1_probability"]
    assert [field.name for field in scorer.output_fields(options)] == ["prediction", "top_1", "top_1_probability"]


def test_what_was_loaded(scorer: Scorer, iris: Example) -> None:
    """Features, device, block size, and the shapes of the graph's results."""
    assert (scorer.features, scorer.device.type, scorer.block_rows) == (iris.features, "cpu", 16)
    assert scorer.not_compiled is None
    assert scorer.golden.rows == 150
    shapes = scorer.shapes()
    assert shapes[-1].sizes == ("rows", 3)
    assert all(shape.sizes[0] == "rows" for shape in shapes)

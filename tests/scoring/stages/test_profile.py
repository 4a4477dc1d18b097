"""The stages that count rows, in a line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.monitoring.count import ProfileBuilder
from scoreline.pipeline.monitoring.layout import Layout, open_layout
from scoreline.pipeline.monitoring.profile import Profile
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.scoring.block import Block, Origin
from scoreline.pipeline.scoring.line import LineOptions, compose

from scoreline import Binary, Expressions, Scorer, save_bundle

FRAME = pd.DataFrame({"a": np.arange(400.0), "b": np.arange(400.0)[::-1] / 7})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one column of the file and one expression."""
    path = tmp_path_factory.mktemp("profile") / "b"
    torch.manual_seed(0)
    save_bundle(
        path, torch.nn.Linear(2, 1), features=["a", "double"], task=Binary(["no", "yes"]),
        preprocessing=[Expressions({"double": "2 * b"})], sample=FRAME, reference=FRAME,
    )  # fmt: skip
    return path


def total(bundle: Path, block_rows: int, options: ColumnOptions, about_rows: int = 400) -> tuple[Layout, Profile]:
    """The profile of the frame, in blocks."""
    scorer, layout = Scorer.load(bundle, device="cpu"), open_layout(open_bundle(bundle))
    assert layout is not None
    line = compose(replace(scorer.loaded, layout=layout), LineOptions(columns=options, profile=True))
    batch, builder = pa.RecordBatch.from_pandas(FRAME), ProfileBuilder(layout)
    for start in range(0, len(FRAME), block_rows):
        block = Block(
            batch=batch.slice(start, block_rows), first_row=start, origin=Origin(about_rows=about_rows)
        )  # fmt: skip
        builder.add(line.score(line.load(block)).need_sample())
    return layout, builder.build()


def test_expressions_and_predictions_are_counted(bundle: Path) -> None:
    """Training rows themselves have the counts of the reference."""
    layout, found = total(bundle, 90, ColumnOptions())
    assert [column.name for column in layout.columns] == ["a", "double", "prediction", "probability"]
    for index, column in enumerate(layout.columns):
        assert found.counts[layout.starts[index] + 2 : layout.starts[index + 1]].tolist() == column.counts
    assert (found.rows, found.sampled) == (400, 400)


def test_large_files_are_sampled(bundle: Path) -> None:
    """By a distance that depends on the number of rows of the file."""
    _, found = total(bundle, 64, ColumnOptions(), about_rows=100_000)
    assert (found.stride, found.sampled, found.rows) == (11, 37, 400)


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        (ColumnOptions(), {"prediction", "probability"}),
        (ColumnOptions(probabilities="none"), {"prediction"}),
        (ColumnOptions(thresholds=(("", 0.2),)), {"probability"}),
    ],
)
def test_what_the_options_change_is_not_counted(bundle: Path, options: ColumnOptions, counted: set[str]) -> None:
    """Columns that are not written, and labels by another threshold than the bundle's."""
    layout, found = total(bundle, 400, options)
    rows = np.add.reduceat(found.counts, layout.starts[:-1])
    outputs = {column.name: int(rows[at]) for at, column in enumerate(layout.columns) if at >= layout.num_features}
    assert {name for name, number in outputs.items() if number} == counted

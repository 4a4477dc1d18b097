"""What a caller may pass to `Scorer`, and what is refused before anything is loaded or scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import ColumnError, UsageError
from torch import nn

from scoreline import Regression, Scorer, save_bundle

NAMES = ["a", "b"]
ROWS = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
TABLE = pa.table({name: ROWS[:, at] for at, name in enumerate(NAMES)})


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    """A small network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()


@pytest.fixture(scope="module")
def bundle(model: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, as a bundle."""
    folder = tmp_path_factory.mktemp("arguments") / "b"
    save_bundle(folder, model, features=NAMES, task=Regression(), sample=ROWS)
    return folder


def test_hidden_layers_are_columns(bundle: Path, model: nn.Sequential) -> None:
    """Of every kind of input, without any option."""
    scorer = Scorer.load(bundle, hidden=["1"])
    with torch.inference_mode():
        wanted = model[:2](torch.from_numpy(ROWS)).numpy()
    column = scorer.output_fields()[-1].name
    blocks = [block.rows for block in scorer.score_batches(TABLE.to_batches(max_chunksize=7))]
    found = [scorer.score_table(TABLE), pa.Table.from_batches(blocks), scorer.score_frame(TABLE)]
    found.append(pa.Table.from_pandas(scorer.score_frame(TABLE.to_pandas())))
    for table in found:
        np.testing.assert_allclose(np.stack(table[column].to_pylist()), wanted, atol=1e-6)


def test_attributions_are_columns(bundle: Path) -> None:
    """The method is enough; they add up to the prediction's distance from that of the baseline."""
    pytest.importorskip("captum")
    rows = Scorer.load(bundle, explain="shapley").score_table(TABLE)
    columns = [f"attribution_{name}" for name in NAMES]
    rest = rows["prediction"].to_numpy() - sum(rows[name].to_numpy() for name in columns)
    np.testing.assert_allclose(rest, rest[0], atol=1e-5)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ({"precision": "bf17"}, "precision is 'bf17'; it must be one of fp32, tf32, bf16, fp16, int8"),
        ({"batch_rows": 0}, "batch_rows is 0; it must be an integer of at least 1"),
        ({"batch_rows": -5}, "batch_rows is -5"),
        ({"batch_rows": "64k"}, "batch_rows is '64k'"),
        ({"batch_rows": 2.5}, r"batch_rows is 2\.5"),
        ({"device": None}, "device is None; it must be a name"),
        ({"trust": "sha256:x"}, "trust is a text, 'sha256:x'; it must be a list"),
        ({"trust": ["x"]}, "trust: 'x' is not a digest; use sha256:"),
        ({"trust": [7]}, "trust: 7 is not a digest"),
        ({"hidden": "1"}, r"hidden is a text, '1'; it must be a list of names, such as \['1'\]"),
        ({"hidden": {"1"}}, "hidden is a set, which has no order"),
        ({"explain": "nope"}, "explain is 'nope'; it must be one of integrated-gradients, shapley, lime, occlusion"),
        ({"explain": True}, "explain is True"),
        ({"explain": []}, r"explain is \[\]"),
    ],
)
def test_arguments_of_load(bundle: Path, argument: dict[str, Any], says: str) -> None:
    """With the value and those that are possible."""
    with pytest.raises(UsageError, match=says):
        Scorer.load(bundle, **argument)


def test_other_objects_than_tables(bundle: Path) -> None:
    """The method that takes them is named."""
    scorer, batch, frame = Scorer.load(bundle), TABLE.to_batches()[0], TABLE.to_pandas()
    for given in (frame, batch, ROWS, None):
        with pytest.raises(UsageError, match=f"score_table takes a pyarrow.Table, not {type(given).__name__}; use"):
            scorer.score_table(given)  # type: ignore[call-overload]
    for given in (TABLE, batch, None, 3):
        with pytest.raises(UsageError, match=f"several pyarrow.RecordBatch, not a {type(given).__name__}; use score_f"):
            next(scorer.score_batches(given))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"not a DataFrame \(batch 1\)"):
        list(scorer.score_batches([batch, frame]))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"a": pa.array([1.0]), "b": pa.array([1.0], pa.float32())}, r"'a' \(double\) is 'a' \(float\) there"),
        ({"b": pa.array([1.0], pa.float32()), "a": pa.array([1.0], pa.float32())}, r"'b' \(float\) is 'a' \(float\)"),
        ({"a": pa.array([1.0], pa.float32())}, "it has 1 column, not 2"),
        (dict.fromkeys("abc", pa.array([1.0], pa.float32())), "it has 3 columns, not 2"),
    ],
)
def test_batches_with_other_columns(bundle: Path, other: dict[str, pa.Array], says: str) -> None:
    """The batch and the first difference are named."""
    batches = [*TABLE.to_batches(), pa.RecordBatch.from_pydict(other)]
    with pytest.raises(ColumnError, match=f"batch 1 differs from batch 0: .*{says}"):
        list(Scorer.load(bundle).score_batches(batches))


def test_batches_that_differ_only_in_what_may_be_null(bundle: Path) -> None:
    """They have the same columns."""
    fields = [pa.field(name, pa.float32(), nullable=False) for name in NAMES]
    strict = pa.RecordBatch.from_arrays(TABLE.to_batches()[0].columns, schema=pa.schema(fields))
    scored = list(Scorer.load(bundle).score_batches([*TABLE.to_batches(), strict]))
    assert sum(block.rows.num_rows for block in scored) == 2 * len(ROWS)


def test_frames_of_every_kind(bundle: Path) -> None:
    """Still go through `score_frame`."""
    scorer = Scorer.load(bundle)
    wanted = scorer.score_table(TABLE)["prediction"].to_numpy()
    frame: pd.DataFrame = scorer.score_frame(TABLE.to_pandas())
    np.testing.assert_array_equal(frame["prediction"].to_numpy(), wanted)

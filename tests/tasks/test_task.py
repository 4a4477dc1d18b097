"""What every task promises: columns as planned, shapes, empty outputs, and errors for what it does not support."""

from typing import Any

import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError, counted
from scoreline.pipeline.options import ColumnOptions, Probabilities
from scoreline.pipeline.records import Lists, Sequences
from scoreline.pipeline.tasks.task import some_numbers, split_members
from scoreline.pipeline.tasks.tasks import task_of
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import (
    BinaryHead,
    GenerationHead,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TaggingHead,
)

XYZ = ["x", "y", "z"]
HEADS: dict[str, Any] = {
    "binary": BinaryHead(outputs="logits", labels=["n", "y"]),
    "multiclass": MulticlassHead(outputs="logits", labels=[1, 2, 3]),
    "multilabel": MultilabelHead(outputs="logits", labels=XYZ, thresholds=[0.5] * 3),
    "regression": RegressionHead(targets=["u", "v"], quantiles=[0.1, 0.9]),
    "spread": RegressionHead(spread="variance"),
    "tagging": TaggingHead(outputs="logits", labels=XYZ),
    "generation": GenerationHead(outputs="logits", labels=XYZ, end=2, steps=4),
}
#: Rows of 2, 0 and 1 steps; a generated text has at least one token.
STEPS, TOKENS = [0, 2, 2, 3], [0, 1, 2, 3]


def raw_of(name: str, members: int = 1) -> torch.Tensor | Sequences:
    """Raw outputs of three rows."""
    task = task_of(HEADS[name])
    values = torch.rand((3, members * task.width), generator=torch.Generator().manual_seed(0)) + 0.1
    if task.generates:
        values[:, 0] = torch.tensor([0.0, 1.0, 2.0])
    if not (task.per_step or task.generates):
        return values
    return Sequences(values=values, offsets=torch.tensor(STEPS if task.per_step else TOKENS))


@pytest.mark.parametrize("probabilities", ["columns", "list", "none"])
@pytest.mark.parametrize("name", HEADS)
def test_decoding_makes_the_planned_columns(name: str, probabilities: Probabilities) -> None:
    """As many as `fields` lists, with the same types, one value per row."""
    options = ColumnOptions(probabilities=probabilities, top_k=2 if name == "multiclass" else None)
    task = task_of(HEADS[name])
    decoded = task.decode(raw_of(name), options)
    assert [column.type for column in decoded.columns] == [field.type for field in task.fields(options, std=False)]
    assert {len(column) for column in decoded.columns} == {3}
    assert (decoded.finite, decoded.out_of_bounds) == (None, None)


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel", "regression", "spread"])
def test_the_deviation_over_members_is_planned(name: str) -> None:
    """For ensembles that write it."""
    combine: Any = "mean" if name in ("regression", "spread") else "probability"
    task, options = task_of(HEADS[name]), ColumnOptions()
    decoded = task.decode(raw_of(name, members=2), options, Ensemble(combine=combine, std=True), 2)
    fields = task.fields(options, std=True)
    assert [column.type for column in decoded.columns] == [field.type for field in fields]
    assert any(field.name.startswith("prediction_std") for field in fields)


@pytest.mark.parametrize("name", HEADS)
def test_no_rows(name: str) -> None:
    """Decode to empty columns of the same types."""
    task, options = task_of(HEADS[name]), ColumnOptions()
    none = task.no_rows(1)
    decoded = task.decode(none, options)
    assert [(len(column), column.type) for column in decoded.columns] == [
        (0, field.type) for field in task.fields(options, std=False)
    ]
    stored = task.raw_array(none)
    assert isinstance(stored, Lists) == (name == "tagging")
    assert len(stored) == 0


@pytest.mark.parametrize(("name", "width", "largest"), [("multiclass", 3, 3), ("regression", 4, 4), ("tagging", 3, 24)])
def test_values_per_row(name: str, width: int, largest: int) -> None:
    """Each step of a sequence has its own values."""
    task = task_of(HEADS[name])
    assert (task.width, task.values_per_row(8)) == (width, largest)


@pytest.mark.parametrize(
    ("name", "shape", "fits"),
    [
        ("binary", (5,), True),
        ("binary", (5, 1), True),
        ("binary", (5, 2), True),
        ("binary", (5, 3), False),
        ("multiclass", (5, 3), True),
        ("multiclass", (5,), False),
        ("multiclass", (3, 5), False),
        ("multiclass", (5, 3, 1), False),
        ("spread", (5, 2), True),
        ("spread", (5,), False),
        ("regression", (5, 4), True),
    ],
)
def test_shapes(name: str, shape: tuple[int, ...], fits: bool) -> None:
    """One number per row may lack the second dimension."""
    task = task_of(HEADS[name])
    if fits:
        task.check_shape(torch.zeros(shape), 5)
        return
    with pytest.raises(BundleError):
        task.check_shape(torch.zeros(shape), 5)


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 11, 300])
def test_a_wrong_shape_names_the_allowed_ones(rows: int) -> None:
    """In the words that a user sees, in the same order for every number of rows."""
    with pytest.raises(BundleError) as raised:
        task_of(HEADS["binary"]).check_shape(torch.zeros(rows, 4), rows)
    assert str(raised.value) == (
        f"the model's output has the shape [{rows}, 4] for {counted(rows, 'row')}, but binary with 2 labels takes"
        " [rows] or [rows, 1] or [rows, 2]; list one label for each output of the model"
    )


def test_tasks_without_calibration_or_attributions() -> None:
    """Raise for what callers must not request."""
    regression, tagging = task_of(HEADS["regression"]), task_of(HEADS["tagging"])
    assert (regression.calibrations, regression.most_top_k, regression.threshold_labels) == ((), None, None)
    with pytest.raises(NotImplementedError, match="task regression cannot be calibrated"):
        regression.logits(torch.zeros(1, 4))
    with pytest.raises(NotImplementedError, match="task tagging cannot be calibrated"):
        tagging.probabilities(torch.zeros(1, 3))


def test_split_members() -> None:
    """The outputs of the first member come first; a single model is unchanged."""
    raw = torch.arange(12.0).reshape(2, 6)
    assert split_members(raw, None, 1) is raw
    parts = split_members(raw, Ensemble(combine="mean"), 3)
    assert parts.shape == (2, 3, 2)
    assert parts[1, 2].tolist() == [10.0, 11.0]


def test_some_numbers() -> None:
    """The first six, and the number of others."""
    assert some_numbers([0.5, 1.0, 0.025]) == "'0.5', '1', '0.025'"
    assert some_numbers([1.0] * 8) == ", ".join(["'1'"] * 6) + " and 2 more"
    assert some_numbers([1.0] * 6) == ", ".join(["'1'"] * 6)
    assert some_numbers([]) == ""


def test_raw_arrays_are_float32() -> None:
    """Also of float64 outputs; lists keep the numbers of steps."""
    raw = task_of(HEADS["multiclass"]).raw_array(torch.ones(2, 3, dtype=torch.float64))
    assert not isinstance(raw, Lists)
    assert raw.dtype == "float32"
    stored = task_of(HEADS["tagging"]).raw_array(raw_of("tagging"))
    assert isinstance(stored, Lists)
    assert stored.offsets.tolist() == STEPS
    assert not isinstance(stored.values, pa.Array)
    assert stored.values.dtype == "float32"

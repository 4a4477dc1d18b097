"""The compared columns of every task."""

from typing import Any

import pyarrow as pa
import pytest
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.monitoring.compared_columns import Predictions, compared_columns
from scoreline.schemas.run import HeadRecord

F, B, S = pa.float32(), pa.bool_(), pa.string()


def predictions(task: str, columns: dict[str, pa.DataType], **more: Any) -> Predictions:
    """Predictions without a prefix."""
    head = HeadRecord(name="output", task=task, columns=list(columns), **more)
    return Predictions(head=head, prefix="", schema=pa.schema(columns))


@pytest.mark.parametrize(
    ("task", "columns", "labels", "numbers"),
    [
        ("binary", {"prediction": S, "probability": F}, ["prediction"], ["probability"]),
        ("binary", {"prediction": pa.float64()}, ["prediction"], []),
        (
            "multiclass",
            {"prediction": pa.int64(), "top_1": S, "top_1_probability": F, "probabilities": pa.list_(F)},
            ["prediction"],
            ["probability_1", "probability_2"],
        ),
        ("multilabel", {"prediction_1": B, "prediction_2": B, "probability_1": F}, ["prediction_1", "prediction_2"],
         ["probability_1"]),
        ("regression", {"prediction": pa.float64(), "above_threshold": B}, ["above_threshold"], ["prediction"]),
        ("tagging", {"prediction": pa.list_(S), "probability": pa.list_(F)}, ["prediction"], []),
        ("tagging", {"prediction": pa.list_(S), "probabilities": pa.list_(pa.list_(F))}, ["prediction"], []),
        ("generation", {"prediction": pa.list_(S), "score": pa.float64(), "ended": B}, ["prediction", "ended"],
         ["score"]),
    ],
)  # fmt: skip
def test_columns_of_a_task(task: str, columns: dict[str, pa.DataType], labels: list[str], numbers: list[str]) -> None:
    """Labels, and numbers; the columns of --top-k are left out."""
    kind = columns.get("prediction", S)
    given = [1, 2] if pa.types.is_integer(kind) else [0.5, 1.5] if pa.types.is_floating(kind) else ["1", "2"]
    side = predictions(task, columns, labels=given if task != "regression" else [])
    found = compared_columns(side, side)
    assert [one.name for one in found.labels] == labels
    assert [one.name for one in found.numbers] == numbers


@pytest.mark.parametrize("prefix", ["", "p_"])
@pytest.mark.parametrize("base", ["", "kind_"])
def test_labels_that_end_like_columns_of_top_k(prefix: str, base: str) -> None:
    """Their probabilities are compared."""
    labels = ["laptop_1", "top_2", "top_1_probability", "z"]
    names = ["prediction", *(f"probability_{label}" for label in labels), "top_1", "top_1_probability"]
    columns = {f"{prefix}{base}{name}": S if name in ("prediction", "top_1") else F for name in names}
    head = HeadRecord(name="kind", task="multiclass", columns=list(columns), labels=labels)
    side = Predictions(head=head, prefix=prefix, schema=pa.schema(columns))
    assert [one.name for one in compared_columns(side, side).numbers] == [f"{base}probability_{one}" for one in labels]


def test_other_labels() -> None:
    """A multiclass head may have more labels than another, in another order."""
    columns = {"prediction": S, "probabilities": pa.list_(F)}
    found = compared_columns(
        predictions("multiclass", columns, labels=["a", "b"]),
        predictions("multiclass", columns, labels=["c", "b", "a"]),
    )
    assert found.labels[0].labels is not None
    assert found.labels[0].labels.to_pylist() == ["a", "b", "c"]
    assert [(one.name, one.in_first, one.in_second) for one in found.numbers] == [
        ("probability_a", 0, 2), ("probability_b", 1, 1),
    ]  # fmt: skip


def test_heads_that_cannot_be_compared() -> None:
    """Labels of another type, other labels of a binary head, and no columns in common."""
    text = predictions("binary", {"prediction": S, "probability": F}, labels=["a", "b"])
    with pytest.raises(DataError, match="labels of type string cannot be compared with int64"):
        compared_columns(text, predictions("binary", {"prediction": pa.int64()}, labels=["a", "b"]))
    with pytest.raises(DataError, match=r"the labels \['a', 'b'\] cannot be compared with \['b', 'a'\]"):
        compared_columns(text, predictions("binary", {"prediction": S}, labels=["b", "a"]))
    with pytest.raises(DataError, match="no predictions in common"):
        compared_columns(
            predictions("regression", {"prediction_x": pa.float64()}), predictions("regression", {"prediction": F})
        )

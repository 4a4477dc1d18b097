"""Steps take columns that lie side by side together: the bits are those of each column alone."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scoreline.pipeline.features.program import run_steps
from scoreline.schemas import steps

WIDTH = 5
NAMES = [f"x{n}" for n in range(WIDTH)]
OTHERS = [f"y{n}" for n in range(WIDTH)]
DRAW = np.random.default_rng(0)
MATRIX = DRAW.normal(1, 3, (WIDTH, 60))
MATRIX[:, ::7] = np.nan
MATRIX[0, 3], MATRIX[1, 3], MATRIX[2, 3] = np.inf, -np.inf, -0.0


def numbers() -> list[float]:
    """One for each column."""
    return np.abs(DRAW.normal(1, 1, WIDTH)).tolist()


def named(kind: Any, **more: Any) -> Any:
    """A step of all columns."""
    return kind(features=NAMES, outputs=OTHERS, **more)


STEPS = [
    named(steps.StandardStep, mean=numbers(), scale=numbers()),
    named(steps.StandardStep, mean=None, scale=numbers()),
    named(steps.StandardStep, mean=numbers(), scale=None),
    named(steps.RobustStep, center=numbers(), scale=numbers()),
    named(steps.MinMaxStep, scale=numbers(), min=numbers(), clip=(0.0, 1.0)),
    named(steps.MaxAbsStep, scale=numbers(), clip=None),
    named(steps.WeightStep, weights=numbers()),
    named(steps.BinarizeStep, threshold=0.5),
    named(steps.FunctionStep, function="log1p"),
    named(steps.RoundStep, decimals=1),
    named(steps.ImputeStep, values=[1, 2.5, *numbers()[2:]]),
    named(steps.MissingStep),
    named(steps.ClipStep, low=[None, *numbers()[1:]], high=numbers()),
    named(steps.ReplaceStep, nan=numbers(), posinf=numbers(), neginf=numbers()),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.kind)
@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], [*NAMES[3:], *NAMES[:2], NAMES[2]]])
def test_together_and_alone(step: Any, order: list[str]) -> None:
    """In any order of the columns; the inputs stay as they are."""
    rows = dict(zip(order, MATRIX.copy(), strict=True))
    alone = {name: values.copy() for name, values in rows.items()}
    found, expected = run_steps([step], rows).columns, run_steps([step], alone).columns
    for name in OTHERS:
        assert found[name].tobytes() == expected[name].tobytes()
    assert all(rows[name].tobytes() == alone[name].tobytes() for name in NAMES)


def test_numbers_beside_text() -> None:
    """A step of both: the numbers are taken together, the others one by one."""
    words = pa.array(["a", None, "b"])
    columns = dict(zip(NAMES, [*MATRIX[:2, :3], words, *MATRIX[2:4, :3]], strict=True))
    imputed = named(steps.ImputeStep, values=[7, 8, "c", 9, 10])
    missing = steps.MissingStep(features=NAMES, outputs=[f"z{n}" for n in range(WIDTH)])
    found = run_steps([imputed, missing], columns).columns
    assert found["y2"].to_pylist() == ["a", "c", "b"]
    assert [found[f"y{n}"][0] for n in (0, 1, 3, 4)] == [7, 8, 9, 10]
    assert [found[f"z{n}"].tolist() for n in range(WIDTH)] == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]]

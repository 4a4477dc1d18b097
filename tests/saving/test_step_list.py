"""Steps with unique names for their outputs."""

import numpy as np
import pytest
from scoreline.pipeline.saving.step_list import StepList, as_floats
from scoreline.schemas.steps import WeightStep

from scoreline import BundleError


def weights(steps: StepList) -> list[tuple[list[str], list[str], list[float]]]:
    """The steps that were collected, all of them products."""
    found = []
    for step in steps.steps:
        assert isinstance(step, WeightStep)
        found.append((step.features, step.outputs, step.weights))
    return found


def test_outputs_have_new_names() -> None:
    """Numbered by the input that they come from; those that are taken are left out."""
    steps = StepList(["a", "a#2", "b"])
    assert steps.weighted(["a", "b"], 2.0) == ["a#1", "b#1"]
    assert steps.weighted(["a#1", "a#2"], [3.0, 0.5]) == ["a#3", "a#4"]
    assert weights(steps) == [(["a", "b"], ["a#1", "b#1"], [2, 2]), (["a#1", "a#2"], ["a#3", "a#4"], [3, 0.5])]


def test_more_outputs_than_inputs() -> None:
    """The rest is named after the last input."""
    given: dict[str, list[str]] = {}

    def make(features: list[str], outputs: list[str]) -> WeightStep:
        given.update(features=features, outputs=outputs)
        return WeightStep(features=outputs, outputs=list("wxyz"), weights=[1.0] * 4)

    assert StepList(["a", "b"]).step(make, ["a", "b"], 4) == ["a#1", "b#1", "b#2", "b#3"]
    assert given == {"features": ["a", "b"], "outputs": ["a#1", "b#1", "b#2", "b#3"]}


def test_no_columns_make_no_step() -> None:
    """As a FeatureUnion with an empty part does."""
    steps = StepList(["a"])
    assert steps.weighted([], 2.0) == []
    assert steps.steps == []


def test_repeated_columns_are_copied() -> None:
    """From the second time on; text is not, since no step copies it."""
    steps = StepList(["a", "b", "t"], text=["t"])
    assert steps.distinct(["a", "b", "a", "t", "a", "t"]) == ["a", "b", "a#1", "t", "a#2", "t"]
    assert weights(steps) == [(["a"], ["a#1"], [1]), (["a"], ["a#2"], [1])]


def test_text_has_no_weight() -> None:
    """Columns can be marked as text later."""
    steps = StepList(["a", "b"], text=["b"])
    assert (steps.is_text("a"), steps.is_text("b")) == (False, True)
    steps.mark_text(["a"])
    with pytest.raises(BundleError, match="transformer_weights has a weight for 'a', which is text; encode it before"):
        steps.weighted(["a"], 2.0)


def test_floats_of_any_numbers() -> None:
    """Python floats, also of float32 and integers."""
    assert as_floats(np.array([1, 2], dtype=np.int8)) == [1.0, 2.0]
    assert as_floats((np.float32(0.5), 3)) == [0.5, 3.0]
    assert {type(number) for number in as_floats(np.ones(2, dtype=np.float32))} == {float}

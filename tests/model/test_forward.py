"""One forward pass: what each head gets of a model's results, single rows, and outputs that are refused."""

from typing import Any

import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.model.forward import call_model, forward, head_output, select_output
from scoreline.schemas.heads import MulticlassHead, RegressionHead, TaggingHead
from torch import Tensor, nn

X = torch.arange(12.0).reshape(4, 3)
SCORES, SUMS = X * 2, X.sum(dim=1)


class Returns(nn.Module):
    """Returns what a function of its first input returns, and records how it was called."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.calls = function, []

    def forward(self, *inputs: Any) -> Any:
        self.calls.append(inputs)
        first = next(iter(inputs[0].values())) if isinstance(inputs[0], dict) else inputs[0]
        return self.function(first)


CLASSES = MulticlassHead(outputs="logits", labels=["x", "y", "z"])
TAGS = TaggingHead(outputs="logits", labels=["x", "y", "z"])


class TestForward:
    """`forward`."""

    def test_each_head_gets_its_output(self) -> None:
        """`[rows, width]`, also where the model squeezes."""
        model = Returns(lambda x: {"scores": x * 2, "sum": x.sum(dim=1)})
        heads = [CLASSES.model_copy(update={"name": "c", "output": "scores"}), RegressionHead(name="r", output="sum")]
        found = forward(model, {"x": X}, heads, call="arguments")
        assert list(found) == ["c", "r"]
        assert torch.equal(found["c"], SCORES)
        assert torch.equal(found["r"], SUMS[:, None])
        assert all(output.is_inference() for output in found.values())

    def test_inputs_in_order_or_by_name(self) -> None:
        model = Returns(lambda x: x)
        inputs = {"b": X, "a": SCORES}
        forward(model, inputs, [CLASSES], call="arguments")
        forward(model, inputs, [CLASSES], call="dict")
        assert len(model.calls[0]) == 2
        assert model.calls[0][0] is X
        assert [list(given) for given in model.calls[1]] == [["b", "a"]]
        assert call_model(model, inputs, "dict") is X

    def test_a_model_that_changes_its_dict(self) -> None:
        """Gets one of its own, since others need the inputs as well."""

        class Pops(nn.Module):
            def forward(self, inputs: dict[str, Tensor]) -> Tensor:
                return inputs.pop("a")

        inputs = {"a": SCORES, "b": X}
        assert call_model(Pops(), inputs, "dict") is SCORES
        assert list(inputs) == ["a", "b"]

    @pytest.mark.parametrize("function", [lambda x: x.sum(dim=1).squeeze(), lambda x: x.sum(dim=1)])
    def test_a_single_row(self, function: Any) -> None:
        """It is passed twice, so that a model that squeezes keeps its rows; one result is returned."""
        model = Returns(function)
        found = forward(model, {"x": X[:1]}, [RegressionHead()], call="arguments")["output"]
        assert torch.equal(found, SUMS[:1, None])
        assert model.calls[0][0].shape == (2, 3)

    def test_labels_of_steps(self) -> None:
        """`[rows, steps, labels]`, also for one row."""
        model = Returns(lambda x: x[:, None, :].repeat(1, 5, 1))
        for rows in (4, 1):
            found = forward(model, {"x": X[:rows]}, [TAGS], call="arguments")["output"]
            assert torch.equal(found, X[:rows, None, :].expand(rows, 5, 3))

    @pytest.mark.parametrize("shape", [(4, 3), (4, 5, 2), (3, 5, 3), (4, 5, 3, 1)])
    def test_wrong_shapes_of_labels_of_steps(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(BundleError) as error:
            forward(Returns(lambda _: torch.zeros(shape)), {"x": X}, [TAGS], call="arguments")
        assert str(error.value) == (
            f"the model returns {list(shape)} for 4 rows; tagging takes [rows, steps, labels], of 3 labels"
        )


class TestHeadOutput:
    """`head_output`."""

    def test_several_outputs_side_by_side(self) -> None:
        """In the order of the head."""
        found = head_output((X, SUMS, SCORES), RegressionHead(output=[2, 1]), 4)
        assert torch.equal(found, torch.cat([SCORES, SUMS[:, None]], dim=1))
        assert torch.equal(head_output({"a": SUMS}, RegressionHead(output=["a"]), 4), SUMS[:, None])

    @pytest.mark.parametrize("shape", [(), (3,), (3, 4), (4, 1, 1), (1, 4)])
    def test_one_row_for_each_input_row(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(BundleError) as error:
            head_output(torch.zeros(shape), RegressionHead(), 4)
        assert str(error.value) == (
            f"the model returns {list(shape)} for 4 rows; it must return one row for each input row"
        )

    def test_steps_of_a_forecast(self) -> None:
        """Side by side."""
        steps, head = torch.arange(24.0).reshape(4, 3, 2), RegressionHead(horizons=["a", "b", "c"])
        assert head_output(steps, head, 4).tolist() == steps.flatten(1).tolist()
        with pytest.raises(BundleError, match="one row for each input row"):
            head_output(steps[None], head, 4)

    def test_no_columns(self) -> None:
        assert head_output(torch.zeros(4, 0), RegressionHead(), 4).shape == (4, 0)


PAIR: tuple[Tensor, Tensor] = (SCORES, SUMS)


class TestSelectOutput:
    """`select_output`."""

    @pytest.mark.parametrize(
        ("raw", "which"), [(SCORES, 0), ((SUMS, SCORES), 1), ([SCORES], 0), ({"a": SCORES}, "a"), ({3: SCORES}, 3)]
    )
    def test_a_tensor_an_index_or_a_key(self, raw: Any, which: Any) -> None:
        assert select_output(raw, which) is SCORES

    @pytest.mark.parametrize(
        ("raw", "which", "message"),
        [
            (SCORES, 1, "output is 1, but the model returns one tensor; leave output out"),
            (SCORES, "a", "output is 'a', but the model returns one tensor; leave output out"),
            (
                PAIR,
                2,
                "output 2 of the model does not exist; it returns a tuple of 2; set output to an index from 0 to 1",
            ),
            (
                PAIR,
                "a",
                "output 'a' of the model does not exist; it returns a tuple of 2; set output to an index from 0 to 1",
            ),
            (
                (SCORES, [SUMS]),
                1,
                "output 1 of the model is a list, not a tensor; it returns a tuple of 2; set output to an index from 0"
                " to 1",
            ),
            (
                {"a": SCORES, "b": SUMS},
                0,
                "output 0 of the model does not exist; it returns a dict; set output to one of its keys, 'a', 'b'",
            ),
            (None, 0, "the model returns a NoneType; it must return tensors"),
            (3.5, 0, "the model returns a float; it must return tensors"),
        ],
    )
    def test_outputs_that_do_not_exist(self, raw: Any, which: Any, message: str) -> None:
        with pytest.raises(BundleError) as error:
            select_output(raw, which)
        assert str(error.value) == message

    @pytest.mark.parametrize(
        ("raw", "which", "others"),
        [
            (
                SCORES.long(),
                0,
                "output 0 of the model is int64 [4, 3]; {}; return scores from the model (for class labels, remove"
                " argmax; for numbers, call .float())",
            ),
            (
                (SCORES.argmax(1), SCORES, ["x"]),
                0,
                "output 0 of the model is int64 [4]; {}; of the other outputs, 1 is float32 [4, 3], 2 is a list, not a"
                " tensor; set output to 1",
            ),
            (
                {"label": SUMS > 1, "count": SUMS.int()},
                "label",
                "output 'label' of the model is bool [4]; {}; of the other outputs, 'count' is int32 [4]",
            ),
        ],
    )
    def test_labels_and_counts_are_refused(self, raw: Any, which: Any, others: str) -> None:
        """They would decode to plausible scores; the message says what to choose instead."""
        rule = "scores, probabilities and predicted values must be floating point, not labels or counts"
        with pytest.raises(BundleError) as error:
            select_output(raw, which)
        assert str(error.value) == others.format(rule)

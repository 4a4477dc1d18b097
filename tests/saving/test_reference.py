"""The outputs of the user's own models on a sample, compared with calling them directly."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.records import Sequences
from scoreline.pipeline.saving.draft import Draft, draft
from scoreline.pipeline.saving.heads import make_heads
from scoreline.pipeline.saving.inputs import bind_inputs
from scoreline.pipeline.saving.reference import (
    MIN_ROWS,
    choices_of,
    golden_columns,
    has_sequences,
    possible_inputs,
    reference_outputs,
    resized,
    rows_within_bounds,
)
from scoreline.schemas.bundle import BundleManifest, Golden
from scoreline.schemas.heads import AnyHead, BinaryHead, MulticlassHead, RegressionHead
from scoreline.schemas.inputs import Feature, SequenceInput, TableInput
from scoreline.schemas.members import GraphMember
from scoreline.schemas.steps import Encoding, OrdinalStep
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from captured import rows_of
from model_factories import lookup
from scoreline import FloatSequence, Multiclass, Regression, Table

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)), columns=list("abc"))
CLASSES = MulticlassHead(outputs="logits", labels=["x", "y"])


def drafted(model: Any, inputs: tuple[str, ...] = ("t",)) -> Draft:
    return draft(model, "", inputs=inputs, examples=[rows_of(inputs, torch.zeros(3, 2))])


def network(width: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, width)).eval()


def run(models: list[nn.Module], heads: list[AnyHead], frame: pd.DataFrame = FRAME) -> dict[str, Any]:
    """The raw outputs of each head, for a table of three columns."""
    bound = bind_inputs({"t": Table(list("abc"))}, frame, None)
    raw, entries = reference_outputs(
        [drafted(model) for model in models], bound.reference, [bound.inputs], "arguments", heads
    )
    assert entries == bound.inputs
    return raw


def called(model: nn.Module, frame: pd.DataFrame = FRAME) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(torch.from_numpy(frame.to_numpy(np.float32).copy()))
    return found


class TestReferenceOutputs:
    """`[rows, members × width]` of each head."""

    def test_an_ensemble(self) -> None:
        """The outputs of its members, side by side, in order."""
        models = [network(seed=1), network(seed=2)]
        raw = run(models, [CLASSES])
        torch.testing.assert_close(raw["output"], torch.cat([called(model) for model in models], dim=1))

    @pytest.mark.parametrize("rows", [1, 2])
    def test_few_rows(self, rows: int) -> None:
        """Are repeated for the model, and only those of the sample are returned."""
        model = network()
        raw = run([model], [CLASSES], FRAME.head(rows))
        torch.testing.assert_close(raw["output"], called(model, FRAME.head(rows)))

    def test_members_of_different_widths(self) -> None:
        """A binary head takes one number or two, but of all members the same."""
        head = BinaryHead(outputs="logits", labels=["n", "y"])
        with pytest.raises(BundleError, match=r"return different numbers of outputs: 1 and 2; they must be equal"):
            run([network(1), network(2)], [head])

    def test_a_wrong_shape(self) -> None:
        """Is refused with the shape for as many rows as were run."""
        with pytest.raises(BundleError, match=rf"has the shape \[{MIN_ROWS}, 3\] for {MIN_ROWS} rows, but multiclass"):
            run([network(3)], [CLASSES], FRAME.head(2))

    def test_probabilities_instead_of_logits(self) -> None:
        """Are detected by their values."""
        model = nn.Sequential(network(), nn.Softmax(dim=1), nn.Identity())
        with pytest.raises(BundleError, match="the model's outputs are probabilities"):
            run([model], [CLASSES])

    def test_a_model_that_fails(self) -> None:
        """With the types and shapes that were tried, and its own message on one line."""
        bound = bind_inputs({"t": Table(["a", "b"])}, FRAME, None)
        with pytest.raises(BundleError) as raised:
            reference_outputs([drafted(network())], bound.reference, [bound.inputs], "arguments", [CLASSES])
        message = str(raised.value)
        assert message.startswith("the model fails on the sample, float32 [9, 2]: ")
        assert "\n" not in message

    def test_the_first_inputs_that_work(self) -> None:
        """Are returned: a factory's model is tried with float32, then with int64."""
        codes = pd.DataFrame({"a": [0, 1, 2], "b": [2, 1, 0]})
        made = drafted(("model_factories:lookup", lookup().state_dict()))
        bound = bind_inputs({"t": Table(["a", "b"])}, codes, None)
        possible = possible_inputs(bound.inputs, bound.steps, bound.features)
        choices = choices_of([made], possible, ["t"], "arguments")
        assert [[entry.dtype for entry in entries if isinstance(entry, TableInput)] for entries in choices] == [
            ["float32"], ["int64"],
        ]  # fmt: skip
        raw, entries = reference_outputs([made], bound.reference, choices, "arguments", [RegressionHead()])
        assert entries == choices[1]
        with torch.no_grad():
            torch.testing.assert_close(raw["output"], lookup()(torch.tensor(codes.to_numpy())))

    def test_lists_are_run_one_by_one(self) -> None:
        """Without padding, also if the model would be affected by it."""
        lists = [[1.0, 2.0, 6.0], [4.0], [0.5, 1.5]]
        bound = bind_inputs({"x": FloatSequence(["x"], longest=4, mask="real")}, pa.table({"x": lists}), None)
        made = drafted(Mean(), ("x", "mask"))
        raw, _ = reference_outputs([made], bound.reference, [bound.inputs], "arguments", [RegressionHead()])
        found = raw["output"]
        assert isinstance(found, Tensor)
        assert found[:, 0].tolist() == [3.0, 4.0, 1.0]


class Mean(nn.Module):
    """The mean over all steps, including padding."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.mean(dim=1) + 0 * mask.sum()


class Shifted(nn.Module):
    """Looks up indices after a check of their shape, which only torch.export follows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 1)

    def forward(self, t: Tensor) -> Tensor:
        if t.ndim != 2:
            raise ValueError(t.ndim)
        rows: Tensor = self.table(t + 1).sum(dim=1)
        return rows


class TestChoices:
    """The dtypes of tables."""

    FLOATS = TableInput(name="t", columns=["a", "b"])

    def dtypes(self, model: nn.Module, features: list[Feature]) -> list[str]:
        choices = choices_of([drafted(model)], possible_inputs([self.FLOATS], [], features), ["t"], "arguments")
        return [entry.dtype for (entry,) in choices if isinstance(entry, TableInput)]

    def test_of_a_graph(self) -> None:
        """Follow from its operations, whatever the features are. Where all of them are codes, the other type is tried
        second, since a model may compute with indices before it looks them up."""
        numbers, codes = ([Feature(name=name, dtype=dtype) for name in "ab"] for dtype in ("float64", "int64"))
        assert self.dtypes(lookup(), numbers)[0] == "int64"
        assert self.dtypes(nn.Linear(2, 1), numbers) == ["float32"]
        assert self.dtypes(lookup(), codes) == ["int64", "float32"]
        assert self.dtypes(nn.Linear(2, 1), codes) == ["float32", "int64"]

    def test_of_an_exported_graph(self) -> None:
        """Are those that it was exported with."""
        table = TableInput(name="t", columns=["a", "b"])
        possible = [[table.model_copy(update={"dtype": dtype})] for dtype in ("float32", "int64")]
        examples = [rows_of("t", torch.zeros(3, 2, dtype=dtype)) for dtype in (torch.float32, torch.int64)]
        made = draft(Shifted(), "", inputs=["t"], examples=examples)
        assert choices_of([made], possible, ["t"], "arguments") == [possible[1]]

    def test_of_code(self) -> None:
        """May be integers only if every column is an integer or a code."""
        made = drafted(("model_factories:lookup", lookup().state_dict()))
        step = OrdinalStep(features=["a"], outputs=["a#1"], encodings=[Encoding(categories=["x"], codes=[0.0])])
        table = TableInput(name="t", columns=["a#1", "b"])
        for dtype, wanted in (("int64", ["float32", "int64"]), ("float64", ["float32"])):
            features = [Feature(name="a", dtype="text"), Feature(name="b", dtype=dtype)]
            choices = choices_of([made], possible_inputs([table], [step], features), ["t"], "arguments")
            assert [entry.dtype for (entry,) in choices if isinstance(entry, TableInput)] == wanted

    def test_of_other_inputs(self) -> None:
        """Are not chosen."""
        entry = SequenceInput(name="x", columns=["x"], dtype="float32", longest=3)
        assert choices_of([drafted(Mean(), ("x", "mask"))], [[entry]], ["x"], "arguments") == [[entry]]
        assert has_sequences([entry])
        assert not has_sequences([self.FLOATS])


def manifest(head: AnyHead) -> BundleManifest:
    """A bundle of three numbers with a head."""
    digest = "sha256:" + "0" * 64
    return BundleManifest(
        scoreline="0",
        features=[Feature(name=name) for name in "abc"],
        inputs=[TableInput(name="t", columns=list("abc"))],
        members=[GraphMember(graph="g.json", weights="w.safetensors")],
        heads=[head],
        golden=Golden(file="golden.parquet", rows=9, source="model"),
        files=dict.fromkeys(("g.json", "w.safetensors", "golden.parquet"), digest),
    )


class TestGoldenColumns:
    """Decoded columns of the golden rows."""

    def test_a_target_in_its_own_unit(self) -> None:
        """By the user's scaler, not by ours; the spread by the saved numbers."""
        targets = np.array([[10.0], [30.0], [20.0]])
        scaler = StandardScaler().fit(targets)
        (named,) = make_heads({"output": Regression(scaler=scaler, spread="std")})
        raw = torch.tensor([[0.0, 1.0], [1.5, 0.5]])
        columns = golden_columns(manifest(named.head), [named], {"output": raw})
        np.testing.assert_array_equal(columns["prediction"], scaler.inverse_transform(raw[:, :1].double())[:, 0])
        np.testing.assert_allclose(columns["prediction_std"], [scaler.scale_[0], scaler.scale_[0] / 2], rtol=1e-12)

    @pytest.mark.parametrize(
        ("task", "raw", "says"),
        [
            (Multiclass(["x", "y"]), [[0.0, 1.0], [np.nan, 1.0]], "sample row 1 is not finite: [nan, 1.0]"),
            (
                Regression(spread="std"),
                [[0.0, -1.0], [0.0, 1.0]],
                "sample row 0 is not finite, or its variance or deviation negative: [0.0, -1.0]",
            ),
        ],
    )
    def test_outputs_that_are_not_finite(self, task: Any, raw: list[list[float]], says: str) -> None:
        """The first row is named with its numbers."""
        (named,) = make_heads({"output": task})
        with pytest.raises(BundleError) as raised:
            golden_columns(manifest(named.head), [named], {"output": torch.tensor(raw)})
        assert str(raised.value) == f"the model's output for {says}"


def test_rows_within_bounds() -> None:
    """Others would be rejected, and cannot be golden rows; if they are only counted, they can."""
    sample = bind_inputs({"t": Table(list("abc"))}, FRAME, None).rows
    raw: dict[str, Tensor | Sequences] = {"output": torch.arange(9.0)[:, None]}
    for action, kept in (("reject", [3, 4, 5]), ("count", list(range(9)))):
        (named,) = make_heads({"output": Regression(bounds=(3.0, 5.0), out_of_bounds=action)})  # type: ignore[arg-type]
        rows, left = rows_within_bounds(manifest(named.head), sample, raw)
        assert rows.indices.tolist() == kept
        output = left["output"]
        assert isinstance(output, Tensor)
        assert output[:, 0].tolist() == kept
    (named,) = make_heads({"output": Regression(bounds=(100.0, None), out_of_bounds="reject")})
    with pytest.raises(BundleError, match="every prediction of the sample is out of bounds"):
        rows_within_bounds(manifest(named.head), sample, raw)


def test_resized() -> None:
    """Rows are repeated from the first, or left out."""
    given = {"t": torch.tensor([[1.0], [2.0]])}
    for rows, wanted in ((5, [1.0, 2.0, 1.0, 2.0, 1.0]), (1, [1.0])):
        found = resized(given, rows)["t"]
        assert isinstance(found, Tensor)
        assert found[:, 0].tolist() == wanted

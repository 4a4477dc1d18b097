"""The names, order and types of key and output columns, and options that no head supports."""

from typing import Any

import pyarrow as pa
import pytest
from scoreline.pipeline.bundle.columns import check_options, key_names, output_fields
from scoreline.pipeline.bundle.heads import with_thresholds
from scoreline.pipeline.errors import ColumnError, UsageError
from scoreline.pipeline.options import ColumnOptions, Explain
from scoreline.schemas.bundle import BundleManifest, Ensemble
from scoreline.schemas.heads import (
    BinaryHead,
    GenerationHead,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TaggingHead,
)
from scoreline.schemas.inputs import Feature, SequenceInput
from scoreline.schemas.members import LayerRecord

from bundle_manifests import manifest_of, member_of

BINARY = BinaryHead(outputs="logits", labels=["no", "yes"])
CLASSES = MulticlassHead(outputs="logits", labels=["x", "y", "z"])
TAGS = MultilabelHead(outputs="logits", labels=["red", "big"], thresholds=[0.5, 0.5])
F32, F64 = pa.float32(), pa.float64()


def of_sequences(head: Head) -> BundleManifest:
    """A bundle that takes a list of tokens."""
    features = [Feature(name="t", dtype="numbers")]
    return manifest_of(head, features=features, inputs=[SequenceInput(name="t", columns=["t"], longest=9)])


@pytest.fixture
def schema() -> pa.Schema:
    return pa.schema([("id", pa.int64()), ("a", F64), ("day", pa.date32()), ("b", F64), ("note", pa.string())])


class TestKeys:
    """`key_names`."""

    def test_the_default_is_all_that_are_not_features(self, schema: pa.Schema) -> None:
        """In the order of the file."""
        assert key_names(schema, ["b", "a"], ColumnOptions()) == ["id", "day", "note"]
        assert key_names(pa.schema([("a", F64)]), ["a"], ColumnOptions()) == []

    def test_named_keys_have_their_own_order(self, schema: pa.Schema) -> None:
        """A feature can be a key; no keys are possible."""
        assert key_names(schema, ["a", "b"], ColumnOptions(keys=("note", "a"))) == ["note", "a"]
        assert key_names(schema, ["a", "b"], ColumnOptions(keys=())) == []

    def test_missing_and_repeated_columns(self, schema: pa.Schema) -> None:
        with pytest.raises(ColumnError) as error:
            key_names(schema, ["a"], ColumnOptions(keys=("id", "nope")))
        assert str(error.value) == "key column 'nope' is missing; the columns are 'id', 'a', 'day', 'b', 'note'"
        wide = pa.schema([(f"c{number}", F64) for number in range(1010)])
        with pytest.raises(ColumnError, match=r"'c6', 'c7' and 1,002 more$"):
            key_names(wide, ["c0"], ColumnOptions(keys=("nope",)))
        twice = schema.append(schema.field("id"))
        with pytest.raises(ColumnError, match=r"^column 'id' appears twice and cannot be carried through$"):
            key_names(twice, ["a", "b"], ColumnOptions())
        assert key_names(twice, ["a", "b"], ColumnOptions(keys=("day",))) == ["day"]


@pytest.mark.parametrize(
    ("head", "options", "columns"),
    [
        (BINARY, {}, {"prediction": pa.string(), "probability": F32}),
        (BINARY, {"probabilities": "none"}, {"prediction": pa.string()}),
        (
            CLASSES,
            {},
            {"prediction": pa.string(), "probability_x": F32, "probability_y": F32, "probability_z": F32},
        ),
        (MulticlassHead(outputs="logits", labels=[3, 7]), {"probabilities": "none"}, {"prediction": pa.int64()}),
        (
            CLASSES,
            {"probabilities": "none", "top_k": 2},
            {
                "prediction": pa.string(),
                "top_1": pa.string(), "top_1_probability": F32, "top_2": pa.string(), "top_2_probability": F32,
            },
        ),
        (
            TAGS,
            {},
            {
                "prediction_red": pa.bool_(), "prediction_big": pa.bool_(),
                "probability_red": F32, "probability_big": F32,
            },
        ),
        (RegressionHead(), {}, {"prediction": F64}),
        (RegressionHead(targets=["u", "v"]), {}, {"prediction_u": F64, "prediction_v": F64}),
        (RegressionHead(quantiles=[0.025, 0.9]), {}, {"prediction_p2_5": F64, "prediction_p90": F64}),
        (RegressionHead(spread="std"), {}, {"prediction": F64, "prediction_std": F64}),
    ],
)  # fmt: skip
def test_columns_of_a_head(head: Head, options: dict[str, Any], columns: dict[str, pa.DataType]) -> None:
    """Names, order and types are those of the documentation."""
    found = output_fields(manifest_of(head), ColumnOptions(**options))
    assert [(field.name, field.type) for field in found] == list(columns.items())


def test_probabilities_as_one_list() -> None:
    """One column with a number for each label."""
    _, listed = output_fields(manifest_of(CLASSES), ColumnOptions(probabilities="list"))
    assert pa.types.is_fixed_size_list(listed.type) or pa.types.is_list(listed.type)
    assert listed.type.value_type == F32


def test_columns_of_sequences() -> None:
    """A label per step, or a text with its log-probability."""
    tagging = TaggingHead(outputs="logits", labels=["x", "y"])
    prediction, probability = output_fields(of_sequences(tagging), ColumnOptions())
    assert (prediction.name, prediction.type.value_type) == ("prediction", pa.string())
    assert (probability.name, probability.type.value_type) == ("probability", F32)
    (alone,) = output_fields(of_sequences(tagging), ColumnOptions(probabilities="none"))
    assert alone == prediction
    generation = GenerationHead(outputs="logits", labels=["x", "y", "."], end=2, steps=4)
    found = {field.name: field.type for field in output_fields(of_sequences(generation), ColumnOptions())}
    assert list(found) == ["prediction", "log_probability", "score", "ended"]
    assert [found[name] for name in ("log_probability", "score", "ended")] == [F64, F64, pa.bool_()]


def test_several_heads_and_optional_stages() -> None:
    """Columns begin with the name of the head; hidden layers and attributions follow."""
    heads = [BINARY.model_copy(update={"name": "fraud"}), RegressionHead(name="amount")]
    layer = LayerRecord(name="relu", calls="body.1", shape=[4, 2])
    manifest = manifest_of(*heads, members=[member_of(layer)])
    options = ColumnOptions(hidden=("relu",), explain=Explain(method="shapley", target="amount"))
    assert [(field.name, field.type) for field in output_fields(manifest, options)] == [
        ("fraud_prediction", pa.string()), ("fraud_probability", F32), ("amount_prediction", F64),
        ("hidden_relu", pa.list_(F32, 8)), ("attribution_a", F32), ("attribution_b", F32), ("attribution_gap", F32),
    ]  # fmt: skip


def test_the_spread_of_an_ensemble() -> None:
    """float64, after the predictions; only with `std`."""
    given = {"members": [member_of(), member_of()]}
    names = [
        [f.name for f in output_fields(manifest_of(RegressionHead(), ensemble=ensemble, **given), ColumnOptions())]
        for ensemble in (Ensemble(combine="mean"), Ensemble(combine="mean", std=True))
    ]
    assert names == [["prediction"], ["prediction", "prediction_std"]]


@pytest.mark.parametrize(
    ("heads", "options", "message"),
    [
        ([BINARY], {"top_k": 1}, "--top-k is for multiclass, but the bundle's task is binary; leave it out"),
        (
            [RegressionHead()],
            {"probabilities": "list"},
            "--probabilities list is for classification and tagging, but the bundle's task is regression; leave it out",
        ),
        ([CLASSES], {"top_k": 4}, "--top-k 4 is too large for 3 labels; use 1 to 3"),
        (
            [RegressionHead()],
            {"thresholds": (("", 0.5),)},
            "--threshold is for binary, multilabel, and a regression that was saved with a threshold, but the bundle's"
            " task is regression; leave it out",
        ),
        (
            [TAGS],
            {"thresholds": (("blue", 0.5),)},
            "--threshold names 'blue', which is not a label or head; use one of red, big",
        ),
        (
            [BINARY],
            {"thresholds": (("maybe", 0.5),)},
            "--threshold names 'maybe', which is not a label or head; use one of yes",
        ),
        (
            [CLASSES.model_copy(update={"name": "long"}), MulticlassHead(outputs="logits", labels=["x", "y"])],
            {"top_k": 3},
            "--top-k 3 is too large for 2 labels; use 1 to 2",
        ),
    ],
)
def test_options_that_are_refused(heads: list[Head], options: dict[str, Any], message: str) -> None:
    """The whole message, which names what is possible."""
    with pytest.raises(UsageError) as error:
        check_options(manifest_of(*heads), ColumnOptions(**options))
    assert str(error.value) == message


def test_options_that_are_accepted() -> None:
    """At their limits, and where one of several heads supports them."""
    check_options(manifest_of(CLASSES), ColumnOptions(top_k=3))
    several = manifest_of(CLASSES.model_copy(update={"name": "c"}), BINARY.model_copy(update={"name": "f"}))
    check_options(several, ColumnOptions(top_k=1, thresholds=(("f", 0.2),)))
    check_options(manifest_of(RegressionHead()), ColumnOptions())
    for head in (BINARY, CLASSES, TAGS):
        check_options(manifest_of(head), ColumnOptions(probabilities="none"))
        check_options(manifest_of(head), ColumnOptions(probabilities="list"))


def test_two_columns_of_one_name_are_refused() -> None:
    """A feature named `gap` has the attribution column that explainers with a guarantee add."""
    manifest = manifest_of(
        RegressionHead(), features=[Feature(name="gap")],
    )  # fmt: skip
    with pytest.raises(UsageError, match="two output columns would be named 'attribution_gap'"):
        check_options(manifest, ColumnOptions(explain=Explain(method="shapley")))
    check_options(manifest, ColumnOptions(explain=Explain(method="lime")))


def test_a_threshold_for_heads_of_two_kinds() -> None:
    """A number alone would be a probability for one, and a number with a unit for the other."""
    yes = BinaryHead(name="fraud", outputs="logits", labels=["no", "yes"])
    manifest = manifest_of(yes, RegressionHead(name="size", threshold=3.2))
    with pytest.raises(UsageError, match=r"name each head, as in fraud=0\.5"):
        check_options(manifest, ColumnOptions(thresholds=(("", 0.5),)))
    named = ColumnOptions(thresholds=(("fraud", 0.4), ("size", 70.0)))
    check_options(manifest, named)
    assert [head.threshold for head in with_thresholds(manifest.heads, named)] == [0.4, 70.0]
    with pytest.raises(UsageError, match="70 is not a probability, as binary takes"):
        check_options(manifest, ColumnOptions(thresholds=(("fraud", 70.0),)))

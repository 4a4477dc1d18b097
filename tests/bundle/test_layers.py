"""`--hidden`: the columns of hidden layers, found by step or by what a step calls."""

from typing import Any

import pyarrow as pa
import pytest
from scoreline.pipeline.bundle.layers import HiddenColumn, hidden_columns, hidden_fields, hidden_option, layer_names
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.options import ColumnOptions, ScoreJob
from scoreline.schemas.bundle import BundleManifest, Ensemble
from scoreline.schemas.heads import GenerationHead, RegressionHead
from scoreline.schemas.inputs import Feature, SequenceInput
from scoreline.schemas.members import LayerRecord, OnnxMember

from bundle_manifests import manifest_of, member_of

LAYERS = [
    LayerRecord(name="fc1", calls="body.0", shape=[16]),
    LayerRecord(name="relu", calls="act", shape=[16]),
    LayerRecord(name="conv", calls="body.1", shape=[4, 3, 2]),
    LayerRecord(name="relu_1", calls="act", shape=[24]),
    LayerRecord(name="act_2", calls="relu", shape=[]),
]


def bundle(*members: Any, **changes: Any) -> BundleManifest:
    """A regression with these members, by default one graph of the layers above."""
    members = members or (member_of(*LAYERS),)
    ensemble = Ensemble(combine="mean") if len(members) > 1 else None
    return manifest_of(RegressionHead(), members=list(members), ensemble=ensemble, **changes)


def refused(manifest: BundleManifest, *names: str) -> str:
    with pytest.raises(UsageError) as error:
        hidden_columns(manifest, names)
    return str(error.value)


def test_names_that_are_shown() -> None:
    """Each is accepted, and finds its own layer: by path if it is called once and no other step has that name."""
    names = layer_names([(layer.name, layer.calls) for layer in LAYERS])
    assert names == ["body.0", "relu", "body.1", "relu_1", "act_2"]
    assert [column.node for column in hidden_columns(bundle(), names)] == [layer.name for layer in LAYERS]


def test_a_layer_by_its_step_or_by_what_it_calls() -> None:
    """In the order of the option; the width is the product of the shape, 1 for a number."""
    assert hidden_columns(bundle(), ["body.1", "fc1", "act_2"]) == [
        HiddenColumn(name="hidden_conv", member=0, node="conv", width=24),
        HiddenColumn(name="hidden_fc1", member=0, node="fc1", width=16),
        HiddenColumn(name="hidden_act_2", member=0, node="act_2", width=1),
    ]
    assert hidden_columns(bundle(), []) == []


def test_a_step_takes_precedence_over_what_another_calls() -> None:
    (found,) = hidden_columns(bundle(), ["relu"])
    assert found.node == "relu"


def test_every_member_of_an_ensemble_has_a_column() -> None:
    second = member_of(LayerRecord(name="fc1", calls="body.0", shape=[8]))
    found = hidden_columns(bundle(member_of(*LAYERS), second), ["fc1"])
    assert [(one.name, one.member, one.width) for one in found] == [("hidden_fc1_0", 0, 16), ("hidden_fc1_1", 1, 8)]


def test_fields_are_lists_of_the_width_of_the_layer() -> None:
    assert hidden_fields(bundle(), ColumnOptions(hidden=("conv",))) == [
        pa.field("hidden_conv", pa.list_(pa.float32(), 24))
    ]
    assert hidden_fields(bundle(), ColumnOptions()) == []


@pytest.mark.parametrize(("names", "entry"), [((), None), (("fc1", "a, b"), '["fc1", "a, b"]')])
def test_entry_in_the_fingerprint(names: tuple[str, ...], entry: str | None) -> None:
    """JSON, so that a comma in a name is not a separator."""
    job = ScoreJob(bundle="b", input="i", output="o", run_id="r", columns=ColumnOptions(hidden=names))
    assert hidden_option(job) == entry


def test_unknown_layers_suggest_similar_ones() -> None:
    message = "--hidden 'fc2' is not a layer; did you mean fc1? scoreline layers lists all"
    assert refused(bundle(), "fc2") == message
    assert "the first are body.0, relu, body.1; scoreline layers lists all" in refused(bundle(), "quite different")


@pytest.mark.parametrize(
    ("manifest", "names", "message"),
    [
        (bundle(), ["act"], "--hidden 'act' is called 2 times; use one of relu, relu_1"),
        (bundle(), ["fc1", "conv", "body.0"], "--hidden names a layer twice, among fc1, conv, body.0"),
        (
            bundle(OnnxMember(file="model.onnx")),
            ["fc1"],
            "--hidden is for models kept as data, and this bundle does not list its layers; save the module itself with"
            " save_bundle",
        ),
        (
            bundle(
                features=[Feature(name="t", dtype="numbers")],
                inputs=[SequenceInput(name="t", columns=["t"], longest=4)],
            ),
            ["fc1"],
            "--hidden needs layers of a fixed width, and those of sequences vary in length; leave it out",
        ),
        (
            manifest_of(GenerationHead(outputs="logits", labels=["x", "y"], end=0, start=1, steps=2)),
            ["fc1"],
            "--hidden is for models that run once per row, not once per token as in generation; leave it out",
        ),
    ],
)
def test_refusals(manifest: BundleManifest, names: list[str], message: str) -> None:
    assert refused(manifest, *names) == message
    assert hidden_columns(manifest, []) == []

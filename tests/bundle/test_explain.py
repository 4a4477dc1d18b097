"""`--explain`: the head and class that are explained, the columns, the entry in the fingerprint, and refusals."""

from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from scoreline.pipeline.bundle.explain import explain_fields, explain_option, find_explain_target, no_gradient
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.options import ColumnOptions, Explain, ScoreJob
from scoreline.schemas.bundle import BundleManifest
from scoreline.schemas.heads import BinaryHead, GenerationHead, MulticlassHead, RegressionHead
from scoreline.schemas.inputs import Feature, ImageInput, SequenceInput, TableInput
from scoreline.schemas.members import OnnxMember
from scoreline.schemas.steps import LinearStep, NormalizeStep, PolynomialStep

from bundle_manifests import manifest_of

BINARY = BinaryHead(name="fraud", outputs="logits", labels=["no", "yes"])
CLASSES = MulticlassHead(name="kind", outputs="logits", labels=["x", "y", "z"])
TWO = RegressionHead(name="size", targets=["u", "v"])


def target(manifest: BundleManifest, name: str = "", method: Any = "shapley") -> tuple[str, int | None]:
    """The name of the head and the index that are explained."""
    found = find_explain_target(manifest, Explain(method=method, target=name))
    return found.head.name, found.index


def refused(manifest: BundleManifest, name: str = "", method: Any = "shapley") -> str:
    """The message of the refusal."""
    with pytest.raises(UsageError) as error:
        target(manifest, name, method)
    return str(error.value)


class TestTarget:
    """`find_explain_target`."""

    def test_a_name_is_not_needed_for_a_single_head(self) -> None:
        """Its only output, or the predicted class of each row."""
        assert target(manifest_of(RegressionHead())) == ("output", 0)
        assert target(manifest_of(CLASSES)) == ("kind", None)

    def test_a_class_or_target_by_its_name(self) -> None:
        assert [target(manifest_of(CLASSES), name)[1] for name in "xyz"] == [0, 1, 2]
        assert [target(manifest_of(TWO), name)[1] for name in "uv"] == [0, 1]

    def test_several_heads_are_told_apart_by_their_names(self) -> None:
        manifest = manifest_of(CLASSES, TWO)
        assert target(manifest, "kind") == ("kind", None)
        assert target(manifest, "kind.z") == ("kind", 2)
        assert target(manifest, "size.v") == ("size", 1)
        assert target(manifest, 'size."v"') == ("size", 1)

    def test_unknown_and_missing_names_list_what_is_possible(self) -> None:
        assert refused(manifest_of(CLASSES), "w") == "--explain-target 'w' is not a target; use one of 'x', 'y', 'z'"
        assert refused(manifest_of(TWO)) == "--explain-target is missing; use one of 'u', 'v'"
        every = "'kind.x', 'kind.y', 'kind.z', 'kind', 'size.u', 'size.v'"
        assert refused(manifest_of(CLASSES, TWO)) == f"--explain-target is missing; use one of {every}"


def of_input(entry: Any, head: Any, dtype: Any) -> BundleManifest:
    """A bundle with one input of any kind."""
    return manifest_of(head, features=[Feature(name="f", dtype=dtype)], inputs=[entry])


IMAGE = ImageInput(name="f", columns=["f"], size=(2, 2))
TOKENS = SequenceInput(name="f", columns=["f"], longest=4)
PAIRS = PolynomialStep(features=["a", "b"], outputs=["ab"], powers=[[1, 1]])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            of_input(IMAGE, RegressionHead(), "image"),
            "--explain is for tables, and input 'f' consists of images; leave it out",
        ),
        (
            of_input(TOKENS, RegressionHead(), "numbers"),
            "--explain is for tables, and input 'f' consists of sequences; leave it out",
        ),
        (
            manifest_of(GenerationHead(outputs="logits", labels=["x", "y"], end=0, start=1, steps=2)),
            "--explain needs one score per row, and generation has one per token; leave it out",
        ),
        (
            manifest_of(RegressionHead(), steps=[PAIRS]),
            "--explain cannot separate features after step 'polynomial', which combines several into one number; leave"
            " it out",
        ),
        (
            manifest_of(RegressionHead(), steps=[NormalizeStep(features=["a", "b"], outputs=["c", "d"], norm="l2")]),
            "--explain cannot separate features after step 'normalize', which combines several into one number; leave"
            " it out",
        ),
        (
            manifest_of(RegressionHead(), steps=[LinearStep(features=["a", "b"], outputs=["c"], matrix=[[1.0, 2.0]])]),
            "--explain cannot separate features after step 'linear', which combines several into one number; leave"
            " it out",
        ),
    ],
)
def test_bundles_that_no_method_explains(manifest: BundleManifest, message: str) -> None:
    for method in ("integrated-gradients", "shapley", "lime", "occlusion"):
        assert refused(manifest, method=method) == message


def test_a_step_of_one_feature_can_be_explained() -> None:
    """A power of one feature is still its own."""
    square = PolynomialStep(features=["a"], outputs=["aa"], powers=[[2]])
    assert target(manifest_of(RegressionHead(), steps=[square])) == ("output", 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"members": [OnnxMember(file="model.onnx")]},
            "--explain integrated-gradients needs gradients, and a model of kind onnx has none; use shapley, lime or"
            " occlusion",
        ),
        (
            {"inputs": [TableInput(name="x", columns=["a"], dtype="int64"), TableInput(name="y", columns=["b"])]},
            "--explain integrated-gradients needs numbers, and 'a' is an index into an embedding; use shapley, lime or"
            " occlusion",
        ),
    ],
)
def test_bundles_without_gradients(changes: dict[str, Any], message: str) -> None:
    """Methods that only call the model work."""
    manifest = manifest_of(RegressionHead(), **changes)
    assert refused(manifest, method="integrated-gradients") == message
    assert target(manifest, method="occlusion") == ("output", 0)


def test_the_error_for_an_index_names_the_feature() -> None:
    assert "'city' is an index" in str(no_gradient("city"))


@pytest.mark.parametrize(
    ("explain", "entry"),
    [
        (None, None),
        (Explain(method="lime"), "lime"),
        (Explain(method="shapley", target="yes"), "shapley for yes"),
        (Explain(method="shapley", share=Fraction(1, 10)), "shapley 1/10 of rows"),
        (Explain(method="shapley", share=Fraction(1, 10), target="yes"), "shapley 1/10 of rows for yes"),
    ],
)
def test_entry_in_the_fingerprint(explain: Explain | None, entry: str | None) -> None:
    job = ScoreJob(bundle="b", input="i", output="o", run_id="r", columns=ColumnOptions(explain=explain))
    assert explain_option(job) == entry


@pytest.mark.parametrize(
    ("method", "last"),
    [("integrated-gradients", ["attribution_gap"]), ("shapley", ["attribution_gap"]), ("lime", []), ("occlusion", [])],
)
def test_columns(method: Any, last: list[str]) -> None:
    """One for each raw feature, before any step; the gap only where the method guarantees a sum."""
    one_hot = PolynomialStep(features=["a"], outputs=["a2"], powers=[[2]])
    manifest = manifest_of(RegressionHead(), steps=[one_hot], inputs=[TableInput(name="x", columns=["a2", "b"])])
    found = explain_fields(manifest, ColumnOptions(explain=Explain(method=method)))
    assert [field.name for field in found] == ["attribution_a", "attribution_b", *last]
    assert {field.type for field in found} == {pa.float32()}


def test_no_columns_without_the_option_and_errors_with_it() -> None:
    assert explain_fields(manifest_of(TWO), ColumnOptions()) == []
    with pytest.raises(UsageError, match="--explain-target is missing"):
        explain_fields(manifest_of(TWO), ColumnOptions(explain=Explain(method="lime")))

"""ONNX classifiers return their label first: the output that a task means is found, or refused with the others' names.

Hand-made graphs have the outputs that converters write; `test_onnx_trees.py` uses the converters themselves.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from conftest import Result
from scoreline import Binary, BundleError, Ensemble, Multiclass, Multilabel, Regression, Scorer, save_bundle

RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(RNG.normal(size=(40, 4)), columns=list("abcd")).astype(np.float32)
WEIGHTS, BIAS = RNG.normal(size=(3, 4)), RNG.normal(size=3)
LABELS = ["u", "v", "w"]


def classifier(
    path: Path,
    *,
    labels: list[Any],
    maps: bool = False,
    scores: str = "probabilities",
    transform: str = "SOFTMAX",
    shift: float = 0.0,
) -> Path:
    """A classifier as the converters write it: `label` first, then a tensor of probabilities or a list of dicts."""
    text, number = isinstance(labels[0], str), len(labels)
    named = {"classlabels_strings" if text else "classlabels_ints": labels}
    nodes = [
        helper.make_node(
            "LinearClassifier", ["X"], ["label", scores], domain="ai.onnx.ml", multi_class=1,
            coefficients=WEIGHTS[:number].ravel().tolist(), intercepts=(BIAS[:number] + shift).tolist(),
            post_transform=transform, **named,
        )
    ]  # fmt: skip
    probabilities = helper.make_tensor_value_info(scores, TensorProto.FLOAT, [None, number])
    if maps:
        zipped = {"classlabels_strings" if text else "classlabels_int64s": labels}
        nodes.append(helper.make_node("ZipMap", [scores], ["output_probability"], domain="ai.onnx.ml", **zipped))
        kind = helper.make_map_type_proto(
            TensorProto.STRING if text else TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
        probabilities = helper.make_value_info("output_probability", helper.make_sequence_type_proto(kind))
    label = helper.make_tensor_value_info("label", TensorProto.STRING if text else TensorProto.INT64, [None])
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])], [label, probabilities]
    )
    write(graph, path)
    return path


def write(graph: Any, path: Path) -> None:
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=9), path)


def formula(number: int = 3) -> np.ndarray:
    """The probabilities of the classifier, in float64."""
    powers = np.exp(FRAME.to_numpy(dtype=np.float64) @ WEIGHTS[:number].T + BIAS[:number])
    softmax: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return softmax


def scored(folder: Path, model: Any, task: Any) -> pd.DataFrame:
    save_bundle(folder / "b", model, features=list("abcd"), task=task, sample=FRAME)
    return Scorer.load(folder / "b", device="cpu").score_frame(FRAME)


def refusal(folder: Path, model: Any, task: Any) -> str:
    with pytest.raises(BundleError) as caught:
        scored(folder, model, task)
    assert "\n" not in str(caught.value)
    assert not (folder / "b").exists()
    return str(caught.value)


def probabilities_of(got: pd.DataFrame, labels: list[Any]) -> np.ndarray:
    return got[[f"probability_{label}" for label in labels]].to_numpy()


@pytest.mark.parametrize("maps", [False, True], ids=["tensor", "zipmap"])
@pytest.mark.parametrize("keys", [[0, 1, 2], LABELS], ids=["ints", "text"])
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_the_probabilities_are_found(
    outputs: str, keys: list[Any], maps: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Equal to the formula, and named in one line; the task may also say that they are probabilities."""
    path = classifier(tmp_path / "m.onnx", labels=keys, maps=maps)
    got = scored(tmp_path, path, Multiclass(LABELS, outputs=outputs))
    np.testing.assert_allclose(probabilities_of(got, LABELS), formula(), atol=1e-5)
    assert got["prediction"].tolist() == [LABELS[at] for at in formula().argmax(axis=1)]
    name = "output_probability" if maps else "probabilities"
    meaning = ", as probabilities" if outputs == "logits" else ""
    assert caplog.messages == [f"the model's output {name!r} is used{meaning}; its first output, 'label', holds labels"]


@pytest.mark.parametrize("maps", [False, True], ids=["tensor", "zipmap"])
def test_two_labels(maps: bool, tmp_path: Path) -> None:
    """`[rows, 2]`; the probability is that of the second label."""
    path = classifier(tmp_path / "m.onnx", labels=[0, 1], maps=maps)
    got = scored(tmp_path, path, Binary(["no", "yes"]))
    np.testing.assert_allclose(got["probability"], formula(2)[:, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        (LABELS, ["w", "u", "v"]),
        ([0, 1, 2], [2, 0, 1]),
        ([-1, 7, 40], [40, -1, 7]),
        ([0, 1, 2], [2.0, 0.0, 1.0]),
        ([3, 1, 2], [1, 2, 3]),
        (["é", "ß", "w"], ["w", "é", "ß"]),
    ],
    ids=str,
)
def test_the_columns_of_a_zipmap_follow_the_labels(keys: list[Any], labels: list[Any], tmp_path: Path) -> None:
    """By the keys of its dicts, whatever their order in the file."""
    path = classifier(tmp_path / "m.onnx", labels=keys, maps=True)
    got = scored(tmp_path, path, Multiclass(labels))
    columns = [[float(key) if isinstance(label, float) else key for key in keys].index(label) for label in labels]
    np.testing.assert_allclose(probabilities_of(got, labels), formula()[:, columns], atol=1e-5)


def test_booleans_are_the_integers_of_a_zipmap(tmp_path: Path) -> None:
    """In both orders."""
    path = classifier(tmp_path / "m.onnx", labels=[0, 1], maps=True)
    for labels in ([False, True], [True, False]):
        got = scored(tmp_path, path, Binary(labels))
        np.testing.assert_allclose(got["probability"], formula(2)[:, int(labels[1])], atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "labels"), [(LABELS, ["u", "v", "x"]), ([1, 2, 3], LABELS), ([0, 1, 2], [1, 2, 3])], ids=str
)
def test_labels_that_are_not_the_keys_of_a_zipmap(keys: list[Any], labels: list[Any], tmp_path: Path) -> None:
    """Named with those of the model; keys that are not positions do not match names."""
    message = refusal(tmp_path, classifier(tmp_path / "m.onnx", labels=keys, maps=True), Multiclass(labels))
    listed = ", ".join(map(repr, keys))
    assert f"'output_probability' has the probabilities of {listed}, but the labels are" in message
    assert "set labels to those of the model" in message


@pytest.mark.parametrize("named", [{}, {"outputs": "probabilities", "output": "probabilities"}], ids=["found", "named"])
@pytest.mark.parametrize(("keys", "labels"), [(LABELS, ["w", "v", "u"]), ([0, 1], [1, 0])], ids=["text", "ints"])
def test_labels_in_another_order_than_the_classes_of_a_tensor(
    keys: list[Any], labels: list[Any], named: dict[str, Any], tmp_path: Path
) -> None:
    """The labels that the model returns contradict its largest probabilities."""
    message = refusal(tmp_path, classifier(tmp_path / "m.onnx", labels=keys), Multiclass(labels, **named))
    row = next(at for at, column in enumerate(formula(len(keys)).argmax(axis=1)) if keys[column] != labels[column])
    assert f"the model has them in another order: for sample row {row}, 'label' is" in message
    assert "list labels in the order of the model's classes" in message


def test_scores_that_are_not_probabilities_stay_logits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A linear classifier without a transform: the only output of floats, by any name."""
    path = classifier(tmp_path / "m.onnx", labels=LABELS, scores="scores", transform="NONE")
    got = scored(tmp_path, path, Multiclass(LABELS))
    np.testing.assert_allclose(probabilities_of(got, LABELS), formula(), atol=1e-5)
    assert caplog.messages == ["the model's output 'scores' is used; its first output, 'label', holds labels"]


def with_outputs(path: Path, names: list[str]) -> Path:
    """A classifier with the same probabilities under these names, instead of one output."""
    model = onnx.load(classifier(path, labels=[0, 1, 2]))
    del model.graph.output[1]
    for name in names:
        model.graph.node.append(helper.make_node("Identity", ["probabilities"], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]))
    onnx.save(model, path)
    return path


def test_several_outputs_of_floats(tmp_path: Path) -> None:
    """One that is called probability is taken; otherwise none is, and the message lists them."""
    got = scored(tmp_path, with_outputs(tmp_path / "m.onnx", ["raw", "Probability"]), Multiclass(LABELS))
    np.testing.assert_allclose(probabilities_of(got, LABELS), formula(), atol=1e-5)
    message = refusal(tmp_path / "other", with_outputs(tmp_path / "n.onnx", ["raw", "other"]), Multiclass(LABELS))
    assert "output 0 of the model is int64 [40]" in message
    assert "set output to 'raw'" in message


@pytest.mark.parametrize("task", [Multiclass(["u", "v"]), Regression()], ids=["labels", "regression"])
def test_no_output_with_the_right_width(task: Any, tmp_path: Path) -> None:
    """None is chosen; the message lists the others."""
    message = refusal(tmp_path, classifier(tmp_path / "m.onnx", labels=[0, 1, 2]), task)
    assert "output 0 of the model is int64 [40]" in message
    assert "'probabilities' is float32 [40, 3]" in message


def test_independent_labels(tmp_path: Path) -> None:
    """Probabilities that do not sum to 1."""
    path = classifier(tmp_path / "m.onnx", labels=[0, 1, 2], transform="LOGISTIC", scores="probabilities")
    got = scored(tmp_path, path, Multilabel(LABELS))
    logits = FRAME.to_numpy(dtype=np.float64) @ WEIGHTS.T + BIAS
    np.testing.assert_allclose(probabilities_of(got, LABELS), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_a_number_beside_a_label(tmp_path: Path) -> None:
    """A regression takes the only output of one float."""
    nodes = [
        helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMean", ["X"], ["value"], axes=[1], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("value", TensorProto.FLOAT, [None]),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])]
    write(helper.make_graph(nodes, "g", inputs, outputs), tmp_path / "m.onnx")
    got = scored(tmp_path, tmp_path / "m.onnx", Regression())
    np.testing.assert_allclose(got["prediction"], FRAME.mean(axis=1), atol=1e-6)


def test_an_ensemble_of_zipmaps(tmp_path: Path) -> None:
    """Each member's columns follow the labels."""
    one = classifier(tmp_path / "a.onnx", labels=LABELS, maps=True)
    other = classifier(tmp_path / "b.onnx", labels=LABELS, maps=True, shift=0.0)
    got = scored(tmp_path, Ensemble([one, other]), Multiclass(["w", "u", "v"]))
    np.testing.assert_allclose(probabilities_of(got, LABELS), formula(), atol=1e-5)
    third = classifier(tmp_path / "c.onnx", labels=["u", "v", "x"], maps=True)
    assert "has the probabilities of 'u', 'v', 'x'" in refusal(
        tmp_path / "other", Ensemble([one, third]), Multiclass(LABELS)
    )


class Probabilities(nn.Module):
    """The same classifier as a module, with a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(WEIGHTS))
            self.fc.bias.copy_(torch.tensor(BIAS))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"output_probability": torch.softmax(self.fc(x), dim=1)[:, [2, 0, 1]]}


def test_a_zipmap_beside_a_module(tmp_path: Path) -> None:
    """Its columns follow the labels, which are in the order of the module's columns."""
    path = classifier(tmp_path / "m.onnx", labels=LABELS, maps=True)
    task = Multiclass(["w", "u", "v"], outputs="probabilities", output="output_probability")
    got = scored(tmp_path, Ensemble([Probabilities(), path], std=True), task)
    np.testing.assert_allclose(probabilities_of(got, LABELS), formula(), atol=1e-5)
    np.testing.assert_allclose(got["prediction_std"], 0.0, atol=1e-5)


def test_a_member_with_another_order(tmp_path: Path) -> None:
    """Every member's own labels are compared."""
    one = classifier(tmp_path / "a.onnx", labels=LABELS)
    other = classifier(tmp_path / "b.onnx", labels=["w", "v", "u"])
    assert "another order" in refusal(tmp_path, Ensemble([one, other]), Multiclass(LABELS))


def test_tables_of_float64(tmp_path: Path) -> None:
    """A model that was converted from a float64 array takes them; its scores are those of the rows in float32."""
    nodes = [
        helper.make_node("Cast", ["X"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    write(helper.make_graph(nodes, "g", inputs, outputs), tmp_path / "m.onnx")
    got = scored(tmp_path, tmp_path / "m.onnx", Regression())
    np.testing.assert_allclose(got["prediction"], FRAME.mean(axis=1), atol=1e-6)


def test_a_pack_says_what_was_chosen(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """And a run equals the formula."""
    classifier(tmp_path / "m.onnx", labels=LABELS, maps=True)
    FRAME.to_parquet(tmp_path / "sample.parquet")
    (tmp_path / "pack.toml").write_text(
        'features = ["a", "b", "c", "d"]\ntask = {kind = "multiclass", labels = ["w", "u", "v"]}\n'
        'sample = "sample.parquet"\n[model]\nfile = "m.onnx"\n'
    )
    packed = scoreline("pack", tmp_path / "pack.toml", tmp_path / "b")
    assert packed.code == 0, packed.err
    assert packed.out.startswith(
        "note: the model's output 'output_probability' is used, as probabilities; its first output, 'label',"
        " holds labels\npacked "
    )
    done = scoreline(
        "score", "--bundle", tmp_path / "b", "--input", tmp_path / "sample.parquet", "--output", tmp_path / "out"
    )
    assert done.code == 0, done.err
    np.testing.assert_allclose(probabilities_of(pd.read_parquet(tmp_path / "out"), LABELS), formula(), atol=1e-5)


def test_a_sequence_is_refused(tmp_path: Path) -> None:
    """Only the dicts of a ZipMap have a tensor."""
    nodes = [
        helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0),
        helper.make_node("SequenceConstruct", ["X"], ["probabilities"]),
    ]
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [None, 4]))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_value_info("probabilities", kind),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])]
    write(helper.make_graph(nodes, "g", inputs, outputs), tmp_path / "m.onnx")
    task = Multiclass([*LABELS, "x"], output="probabilities")
    assert "is a list, not a tensor" in refusal(tmp_path, tmp_path / "m.onnx", task)

"""pack.toml: the specs of save_bundle as tables, and their error messages."""

import json
from pathlib import Path

import pytest
from scoreline.pipeline.saving.spec_file import read_spec, spec_of
from scoreline.schemas.pack import EnsembleOfFiles, ModelFile, PackSpec, RegressionOfFiles, ScalerFile, SingleModelFile

from scoreline import Binary, BundleError, Image, Table, TokenSequence

FOREIGN = ("Input should", "Field required", "validation error", "constrained", "Extra inputs", "Spec", "OfFiles")


def read(folder: Path, text: str) -> PackSpec:
    """The spec from a text."""
    (folder / "pack.toml").write_text(text)
    return read_spec(folder / "pack.toml")


def test_one_task_or_several(tmp_path: Path) -> None:
    """A table with a kind is a single task; otherwise its tables are tasks by name."""
    spec = read(tmp_path, '[task]\nkind = "binary"\nlabels = ["no", "yes"]\nthreshold = 0.3\n')
    assert spec.task == Binary(["no", "yes"], threshold=0.3)
    spec = read(
        tmp_path,
        '[task.fraud]\nkind = "binary"\nlabels = [0, 1]\n[task.amount]\nkind = "regression"\nbounds = [0.0, inf]\n'
        'scaler = {file = "y.skops"}\n',
    )
    scaler = ScalerFile(file="y.skops")
    assert spec.task == {
        "fraud": Binary([0, 1]),
        "amount": RegressionOfFiles([], horizons=[], scaler=scaler, quantiles=[], bounds=(0.0, float("inf"))),
    }


def test_one_input_or_several(tmp_path: Path) -> None:
    """As for tasks."""
    spec = read(tmp_path, '[inputs]\nkind = "image"\ncolumn = "photo"\nsize = [8, 8]\n')
    assert spec.inputs == Image("photo", size=(8, 8), mean=[], std=[])
    spec = read(
        tmp_path,
        '[inputs.x]\nkind = "table"\ncolumns = ["a"]\n[inputs.y]\nkind = "tokens"\ncolumn = "t"\nlongest = 4\n',
    )
    assert spec.inputs == {"x": Table(["a"]), "y": TokenSequence("t", longest=4, vocabulary=[])}


def test_one_model_or_several(tmp_path: Path) -> None:
    """A model with members is an ensemble."""
    assert read(tmp_path, '[model]\nfile = "m.onnx"\n').model == SingleModelFile(file="m.onnx")
    spec = read(tmp_path, '[model]\ncombine = "vote"\n[[model.members]]\nfile = "a.onnx"\n')
    assert spec.model == EnsembleOfFiles([ModelFile(file="a.onnx")], combine="vote")


@pytest.mark.parametrize(
    "text",
    [
        'features = ["a"]\n[task]\nkind = "multilabel"\nlabels = ["u", "v"]\nthreshold = {u = 0.3}\n'
        '[model]\nstd = true\n[[model.members]]\nfile = "a.onnx"\n[scaler]\nfile = "s.npz"\nkind = "standard"\n',
        '[task]\nkind = "regression"\nscaler = {file = "y.skops"}\nbounds = [-inf, 3]\n[model]\nfile = "m.onnx"\n',
        '[task]\nkind = "regression"\nscaler = {file = "y.npz", kind = "minmax", features = ["u"]}\n',
        '[task]\nkind = "regression"\nscaler = 3\nquantiles = [0.1, 0.9]\ntargets = ["u", "v"]\n',
        '[task]\nkind = "regression"\nhorizons = ["1h", "2h"]\nthreshold = 0.5\n',
        '[task.a]\nkind = "binary"\nlabels = [false, true]\n[task.b]\nkind = "regression"\nscaler = {file = "y.pkl"}\n',
        '[task]\nkind = "multiclass"\nlabels = [1, 2, 3]\noutputs = "logits"\n',
        '[task]\nkind = "tagging"\nlabels = ["b", "i"]\n[inputs]\nkind = "tokens"\ncolumn = "t"\nlongest = 4\n',
        '[inputs]\nkind = "image"\ncolumn = "photo"\nsize = [8, 8]\nmean = [0.1, 0.2, 0.3]\nstd = [1, 1, 1]\n',
        '[inputs.x]\nkind = "table"\ncolumns = ["a"]\n[inputs.y]\nkind = "floats"\ncolumns = ["p"]\nlongest = 4\n',
        '[[scaler]]\nfile = "a.skops"\nfeatures = ["a"]\n[[scaler]]\nfile = "b.joblib"\nfeatures = ["b"]\n',
        '[model]\nweights = "w.pt"\nlayers = [{type = "Linear", in_features = 3, out_features = 1, bias = false}]\n',
        '[model]\nweights = "w.pt"\nfactory = "m:make"\nfactory_args = {width = 3, names = ["a"], share = 0.5}\n',
        'reference = "r.csv"\nsample = "s.csv"\nexpected = "e.csv"\n[expressions]\nx = "a + 1"\n',
    ],
)
def test_a_spec_survives_json(tmp_path: Path, text: str) -> None:
    """The child process that unpickles receives it as JSON."""
    spec = read(tmp_path, text)
    assert PackSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels = [0, 1]", "'labels' is not a top-level field; move it under [task]"),
        ("sampel = 'a'", "'sampel' is not a top-level field; did you mean 'sample'?"),
        ("weights = 'a'", "'weights' is not a top-level field; move it under [model]"),
        ("task = 'binary'", "task: 'binary' is not a table; write [task] with kind = \"binary\" or another kind"),
        ("[task]\nlabels = [0, 1]", "task lacks 'kind'; add: kind = \"binary\"   # or multiclass, multilabel"),
        ("[task]\nkind = 'multi'", "task: kind: 'multi' is not one of 'binary', 'multiclass'"),
        ("[task]\nkind = 'binary'", "task lacks 'labels'; add: labels = [\"no\", \"yes\"]"),
        ("[task]\nkind = 'binary'\nlabels = [0, 1]\ntreshold = 1", "task: 'treshold' is not a field; did you mean"),
        ("[task.fraud]\nkind = 'binary'\nlabels = [0, 1]\nthreshold = 1.3",
         "task 'fraud': threshold: 1.3 is not between 0 and 1"),
        ("[task.fraud]\nkind = 'regression'\nscaler = {fil = 'y'}", "task 'fraud': scaler: 'fil' is not a field; did"),
        ("[task.fraud]\nkind = 'regression'\nscaler = {}", "task 'fraud': scaler lacks 'file'; add: file ="),
        ("[task.fraud]\nkind = 'regression'\nscaler = 'y'", "task 'fraud': scaler: 'y' is neither a number nor a"),
        ("[inputs.x]\nkind = 'image'\ncolumn = 'a'", "input 'x' lacks 'size'; add: size = [224, 224]"),
        (
            "[inputs.x]\nkind = 'words'",
            "input 'x': kind: 'words' is not one of 'table', 'image', 'tokens', 'floats', 'text'",
        ),
        ("[scaler]\nfile = 3", "scaler: file: 3 is not text"),
        ("[scaler]\nfeatures = ['a']", "scaler lacks 'file'; add: file = \"scaler.skops\""),
        ("[scaler]\nfile = 'a'\nkind = 'std'", "scaler: kind: 'std' is not one of 'standard', 'minmax'"),
        ("[[scaler]]\nfile = 'a'\nfeature = ['a']", "scaler[0]: 'feature' is not a field; did you mean 'features'?"),
        ("[model]\nweight = 'a'", "model: 'weight' is not a field; did you mean 'weights'?"),
        ("[model]\nfile = 'a'\nweights = 'b'", "model: both 'file' and 'weights' are given; keep one of them"),
        ("[model]\nweights = 'b'\nfactory_args = {a = 1}", "model: 'factory_args' is given without 'factory'"),
        ("call = 'dict'", "'call' is not a top-level field; move it under [model]"),
        ("[[model.members]]\nprune = 0.5", "model: members[0]: 'prune' is not a field; the fields are file, weights"),
        ("[model]\nlayers = 3", "model: layers: 3 is not a list"),
        ("[model]\ncombine = 'vote'\n[[model.members]]\nfil = 'a'", "model: members[0]: 'fil' is not a field; did you"),
        ("model = 'm.onnx'", "model: 'm.onnx' is not a table; write [model]"),
        ("features = 'ab'", "features: 'ab' is not a list of column names"),
        ("[model]\ncall = 'tuple'", "model: call: 'tuple' is not one of 'arguments', 'dict'"),
        ("[model]\nprune = 'half'", "model: prune: 'half' is not a number"),
        ("sample = 3", "sample: 3 is not text"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    """With the file, the table, the field and the value."""
    with pytest.raises(BundleError) as caught:
        read(tmp_path, text)
    error = str(caught.value)
    assert error.startswith(f"spec {str(tmp_path / 'pack.toml')!r}: ")
    assert message in error
    assert "\n" not in error
    assert not [word for word in FOREIGN if word in error]


def test_members_that_are_not_tables() -> None:
    """Name the table to write."""
    with pytest.raises(
        BundleError, match=r"model: members\[0\]: 5 is not a table; write \[\[model.members\]\] with file"
    ):
        spec_of({"model": {"members": [5]}})

"""Records of run.json: versions and heads."""

from importlib.metadata import version

from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.running.manifest import head_records, versions

from conftest import Example


def test_versions() -> None:
    """Of the libraries that compute, and of the packages that stages use."""
    assert list(versions()) == ["scoreline", "torch", "numpy", "pyarrow"]
    assert versions(["pandas"])["pandas"] == version("pandas")


def test_heads(iris: Example, diabetes: Example) -> None:
    """With the names of their columns in the output, including the prefix."""
    options = ColumnOptions(prefix="p_", top_k=1)
    (classes,) = head_records(open_bundle(str(iris.bundle)).manifest, options)
    assert (classes.task, classes.labels, classes.targets) == ("multiclass", iris.labels, [])
    assert classes.columns == [
        "p_prediction", *(f"p_probability_{label}" for label in iris.labels), "p_top_1", "p_top_1_probability",
    ]  # fmt: skip
    (numbers,) = head_records(open_bundle(str(diabetes.bundle)).manifest, ColumnOptions())
    assert (numbers.task, numbers.labels, numbers.columns) == ("regression", [], ["prediction"])

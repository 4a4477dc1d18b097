"""Records of run.json: versions, heads and inputs."""

from importlib.metadata import version

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.running.manifest import head_records, partition_record, versions

from conftest import Example
from planned_runs import part, partition


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


@pytest.mark.parametrize("error", [None, "a.parquet: broken"])
def test_an_input(error: str | None) -> None:
    """The sums of its parts, which are sorted by split; without parts they are 0."""
    source = partition("a.parquet")
    parts = [part("a-00001.parquet", split=1, scored=2), part("a-00000.parquet", scored=5, rejected=3)]
    record = partition_record(source, parts, error)
    assert (record.rows_in, record.rows_scored, record.rows_rejected) == (10, 7, 3)
    assert [one.target for one in record.parts] == ["a-00000.parquet", "a-00001.parquet"]
    assert (record.source, record.path, record.format, record.error) == (source.name, source.path, "parquet", error)
    empty = partition_record(source, [], error)
    assert (empty.rows_in, empty.parts) == (0, [])

"""Spark DataFrames are scored in real Python workers of a local Spark: the same predictions as those of a plain run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Example, Result

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytest.importorskip("pyspark", reason="pyspark is not installed (make engines)")
if shutil.which("java") is None:
    pytest.skip("there is no Java, which Spark needs (make engines)", allow_module_level=True)

from pyspark.errors import PythonException
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import BundleError, ColumnError, UsageError

import scoreline.spark

pytestmark = pytest.mark.filterwarnings("default")  # pyspark warns about pandas 3


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local Spark with two Python workers."""
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    builder = SparkSession.builder.master("local[2]").appName("scoreline-tests")
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/Los_Angeles",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "40",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    with chdir(folder), pytest.MonkeyPatch.context() as patch:  # workers look for packages in the current folder first
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture
def flowers(iris: Example, tmp_path: Path) -> Path:
    """Two files of Iris with keys of several types; two rows cannot be scored."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        frame = iris.frame.assign(row_id=iris.frame["row_id"] + number, name=[f"é{n}" for n in range(150)])
        frame["seen"] = pd.date_range("2026-03-08", periods=150, freq="h", tz="UTC").as_unit("us")
        if number:
            frame.loc[[7, 99], iris.features[0]] = np.nan
        frame.to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def rows_by_id(df: DataFrame) -> pd.DataFrame:
    """The rows on the driver, by their id."""
    frame: pd.DataFrame = df.toArrow().to_pandas()
    return frame.sort_values("row_id", ignore_index=True)


def test_the_predictions_of_a_plain_run(
    spark: SparkSession, flowers: Path, iris: Example, score: Callable[..., Result], tmp_path: Path
) -> None:
    """The same columns, keys and values; a rejected row has null predictions and the reason of the rejects file."""
    assert score(flowers, "--max-rejects", "2").code == 0
    out = tmp_path / "out"
    plain = pq.read_table(out).to_pandas().sort_values("row_id", ignore_index=True)
    found = rows_by_id(scoreline.spark.score(spark.read.parquet(str(flowers)), iris.bundle))
    assert len(found) == 300
    scored = found[found["reject"].isna()].drop(columns="reject").reset_index(drop=True)
    pd.testing.assert_frame_equal(scored, plain, check_dtype=False, check_exact=False, rtol=1e-6)
    with pa.ipc.open_file(out / "_rejects" / "1.arrow") as reader:
        rejects = reader.read_all().to_pandas()
    refused = found[found["reject"].notna()]
    assert refused["row_id"].tolist() == rejects["row_id"].tolist()
    assert refused["prediction"].isna().all()
    assert refused["seen"].notna().all()
    for ours, theirs in zip(refused["reject"], rejects["reject"], strict=True):
        assert {**ours, "source": "1.parquet"} == theirs
        assert ours["source"].startswith("partition ")


def test_rows_keep_their_order(spark: SparkSession, iris: Example) -> None:
    """Within a partition, rejected rows included."""
    frame = iris.frame.copy()
    frame.loc[[0, 3, 149], iris.features[1]] = np.nan
    df = spark.createDataFrame(pa.Table.from_pandas(frame, preserve_index=False)).coalesce(1)
    found = scoreline.spark.score(df, iris.bundle).toArrow()
    assert found.column("row_id").to_pylist() == frame["row_id"].tolist()
    assert np.flatnonzero(found.column("reject").is_valid().to_numpy()).tolist() == [0, 3, 149]
    assert found.column("reject")[3].as_py()["row_number"] == 3


def test_rejects_as_errors(spark: SparkSession, flowers: Path, iris: Example) -> None:
    """The first one is named; without rejects there is no such column."""
    df = spark.read.parquet(str(flowers / "1.parquet"))
    with pytest.raises(
        PythonException, match=r"RowsRejectedError: partition 0, row 7: column 'sepal length .* is null"
    ):
        scoreline.spark.score(df, iris.bundle, rejects="error").toArrow()
    good = scoreline.spark.score(spark.read.parquet(str(flowers / "0.parquet")), iris.bundle, rejects="error")
    assert good.columns == ["row_id", "truth", "name", "seen", "prediction", *(f"probability_{n}" for n in range(3))]
    assert good.count() == 150


def test_the_bundle_is_loaded_once_in_each_worker(spark: SparkSession, iris: Example, tmp_path: Path) -> None:
    """And its golden rows are replayed: the partitions that follow find it in the cache."""
    copy = tmp_path / "copy"  # a path that no worker has seen
    shutil.copytree(iris.bundle, copy)
    path, digest = str(copy), open_bundle(copy).digest

    def load(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from scoreline.pipeline.engines import spark as engine

        for _ in batches:  # Spark reuses only workers that have read their input
            pass
        before = engine.load_scorer.cache_info().misses
        engine.load_scorer(path, digest, ())
        more = engine.load_scorer.cache_info().misses - before
        yield pa.RecordBatch.from_pydict({"process": [os.getpid()], "loads": [more]})

    used = spark.range(16, numPartitions=16).mapInArrow(load, "process long, loads long").toArrow().to_pandas()
    assert len(used) == 16
    assert used["loads"].sum() == used["process"].nunique() < 16


def test_a_shipped_bundle(spark: SparkSession, iris: Example, flowers: Path, tmp_path: Path) -> None:
    """Executors that cannot see the folder use the archive; it is sent once."""
    copy = tmp_path / "copy"
    shutil.copytree(iris.bundle, copy)
    df = scoreline.spark.score(spark.read.parquet(str(flowers)), copy, ship=True)
    again = scoreline.spark.score(spark.read.parquet(str(flowers)), copy, ship=True)
    shutil.rmtree(copy)
    assert rows_by_id(df)["prediction"].notna().sum() == 298
    assert again.count() == 300
    assert len([name for name in spark.sparkContext.listArchives if "scoreline-" in name]) == 1


def test_another_bundle_on_the_executors(
    spark: SparkSession, iris: Example, cancer: Example, flowers: Path, tmp_path: Path
) -> None:
    """Is refused by its digest; one that is missing, by name."""
    copy = tmp_path / "copy"
    shutil.copytree(iris.bundle, copy)
    df = scoreline.spark.score(spark.read.parquet(str(flowers)), copy)
    shutil.rmtree(copy)
    with pytest.raises(PythonException, match=r"BundleError: bundle '.*copy' does not exist"):
        df.toArrow()
    shutil.copytree(cancer.bundle, copy)
    with pytest.raises(PythonException, match=r"BundleError: bundle '.*copy' is another one here than on the driver"):
        df.toArrow()


def test_a_function_in_sql(spark: SparkSession, flowers: Path, iris: Example) -> None:
    """Takes a struct of the features, and returns a struct with the predictions and the reject, row by row."""
    df = spark.read.parquet(str(flowers))
    df.createOrReplaceTempView("flowers")
    spark.udf.register("score_iris", scoreline.spark.score_function(iris.bundle))
    found = rows_by_id(spark.sql("SELECT row_id, s.* FROM (SELECT row_id, score_iris(struct(*)) AS s FROM flowers)"))
    wanted = rows_by_id(scoreline.spark.score(df, iris.bundle)).drop(columns=["truth", "name", "seen"])
    pd.testing.assert_frame_equal(found.drop(columns="reject"), wanted.drop(columns="reject"), rtol=1e-6)
    assert found["reject"].isna().tolist() == wanted["reject"].isna().tolist()
    assert found["reject"].notna().sum() == 2


class TestRefusals:
    """On the driver, before anything is scored."""

    def test_columns(self, spark: SparkSession, iris: Example) -> None:
        """A missing feature, and a column with the name of an output."""
        table = pa.Table.from_pandas(iris.frame, preserve_index=False)
        with pytest.raises(ColumnError, match=r"the DataFrame: feature column 'petal width \(cm\)' is missing"):
            scoreline.spark.score(spark.createDataFrame(table.drop_columns("petal width (cm)")), iris.bundle)
        renamed = spark.createDataFrame(table).withColumnRenamed("truth", "prediction")
        with pytest.raises(ColumnError, match="column 'prediction' is also the name of an output; rename it first"):
            scoreline.spark.score(renamed, iris.bundle)

    def test_arguments(self, spark: SparkSession, iris: Example, tmp_path: Path) -> None:
        """No bundle, and an unknown way to treat rejects."""
        df = spark.createDataFrame(pa.Table.from_pandas(iris.frame, preserve_index=False))
        with pytest.raises(BundleError, match="does not exist"):
            scoreline.spark.score(df, tmp_path / "none")
        wrong: Any = "drop"
        with pytest.raises(UsageError, match="rejects='drop' is not one of 'column', 'error'"):
            scoreline.spark.score(df, iris.bundle, rejects=wrong)


def test_a_key_called_reject(spark: SparkSession, iris: Example) -> None:
    """The column of reasons gets another name, as in the rejects files."""
    frame = iris.frame.rename(columns={"truth": "reject"})
    frame.loc[5, iris.features[0]] = np.nan
    df = spark.createDataFrame(pa.Table.from_pandas(frame, preserve_index=False)).coalesce(1)
    found = scoreline.spark.score(df, iris.bundle).toArrow()
    assert found.schema.names[-1] == "reject_"
    assert found.column("reject").to_pylist() == frame["reject"].tolist()
    assert found.column("reject_")[5].as_py()["column"] == iris.features[0]

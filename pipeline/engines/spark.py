"""Scores Spark DataFrames: the Python workers of the executors load the bundle and pass Arrow batches through the same
line as `scoreline score`.

The driver only reads the bundle's manifest, and does not import torch. This module is pickled by reference, so the
executors need the same version of Scoreline.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pyarrow as pa

from ..bundle.bundle import MANIFEST, Bundle, open_bundle
from ..bundle.columns import key_names, output_fields
from ..errors import BundleError, RowsRejectedError, UsageError, listed
from ..inputs.columns import check_columns
from ..nested import converted, take_rows
from ..options import ColumnOptions
from ..outputs.assemble import described, output_schema, reasons_of, reject_schema
from ..records import ScoredBatch
from ..storage.uris import absolute

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from ..scoring.scorer import Scorer

Rejects = Literal["column", "error"]
#: The name of the input in messages.
SOURCE = "the DataFrame"
#: How many bundles a Python worker keeps in memory.
MOST_SCORERS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What the Python workers need. `bundle`: its path there, or, if it was shipped, the name of its folder among
    Spark's files. `schema`: the columns of the result; the last one is `reject`, unless rejects are errors."""

    bundle: str
    digest: str
    shipped: bool
    trust: tuple[str, ...]
    columns: ColumnOptions
    rejects: Rejects
    schema: pa.Schema


def score(
    df: DataFrame, bundle: str | os.PathLike[str], *, rejects: Rejects = "column", ship: bool = False,
    trust: Collection[str] = (),
) -> DataFrame:  # fmt: skip
    """Score a DataFrame. The result is lazy, like any other.

    The bundle is loaded, and its golden rows are replayed, once in each Python worker. Rows keep their order within a
    partition.

    Args:
        df: has the feature columns by name; the other columns are carried through.
        bundle: the folder that `save_bundle` wrote, at the same path on every machine.
        rejects: `column`: rows that cannot be scored have null predictions, and the last column, `reject`, has the
            reason: a struct {source, row_number, stage, column, reason}, null for rows that were scored. `row_number`
            counts from 0 within the Spark partition that `source` names. `error`: the first such row fails the query
            with a RowsRejectedError.
        ship: send the bundle to the executors, where they do not share a file system with the driver.
        trust: digests (`sha256:…`) of bundles whose code may be executed. Bundles without code need none.

    Returns:
        The other columns, the predictions, and `reject` (with underscores appended if a column has that name).

    Raises:
        BundleError: the bundle is broken.
        ColumnError: a feature column is missing or not numeric, or another column has the name of an output.
        UsageError: `rejects` is not one of the above, or `ship` with a session that cannot ship files.

    Errors of the executors, such as a GoldenMismatchError, reach the caller as a PythonException with their message.
    """
    from pyspark.sql.pandas.types import from_arrow_schema  # installed wherever there is a DataFrame

    found = open_bundle(bundle)
    schema = _result_schema(found, df.limit(0).toArrow().schema, ColumnOptions(), rejects)
    task = _task(found, df.sparkSession, schema, ColumnOptions(), rejects, ship=ship, trust=trust)
    return df.mapInArrow(_Batches(task), from_arrow_schema(schema))


def score_function(
    bundle: str | os.PathLike[str], *, rejects: Rejects = "column", ship: bool = False, trust: Collection[str] = ()
) -> Callable[..., Column]:
    """A function for SQL and column expressions, from a struct of features to a struct of predictions. Needs Spark
    4.1 or newer.

        spark.udf.register("score_wine", scoreline.spark.score_function("bundles/wine"))
        spark.sql("SELECT id, score_wine(struct(*)).prediction FROM wines")

    Args:
        bundle, rejects, ship, trust: as of `score`; `reject` is the last field of the result. `ship` needs an active
            session.

    Returns:
        The function. Fields of its argument that are not features are ignored; a feature that is missing fails the
        query.

    Raises:
        BundleError: the bundle is broken.
        UsageError: Spark is too old, or as of `score`.
    """
    from pyspark.sql import SparkSession, functions
    from pyspark.sql.pandas.types import from_arrow_schema

    if not hasattr(functions, "arrow_udf"):
        raise UsageError("score_function needs Spark 4.1 or newer; use scoreline.spark.score")
    found, columns = open_bundle(bundle), ColumnOptions(keys=())
    schema = _with_reject(pa.schema(output_fields(found.manifest, columns)), rejects)
    session = SparkSession.getActiveSession() if ship else None
    task = _task(found, session, schema, columns, rejects, ship=ship, trust=trust)

    def score_structs(structs: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return (rows.to_struct_array() for rows in _scored(task, map(_batch, structs)))

    function: Callable[..., Column] = functions.arrow_udf(score_structs, from_arrow_schema(schema))
    return function


@dataclass(frozen=True, slots=True)
class _Batches:
    """The function that Spark calls with the record batches of each partition."""

    task: Task

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _scored(self.task, batches)


def _batch(structs: pa.Array) -> pa.RecordBatch:
    """The fields as columns; all are null where the struct is."""
    return pa.RecordBatch.from_arrays(structs.flatten(), [field.name for field in structs.type])


def _result_schema(bundle: Bundle, given: pa.Schema, columns: ColumnOptions, rejects: Rejects) -> pa.Schema:
    """The columns of a scored DataFrame. Raises ColumnError as `score` does."""
    features = bundle.manifest.features
    check_columns(given, features, text=(), source=SOURCE)
    keys = key_names(given, [feature.name for feature in features], columns)
    outputs = output_fields(bundle.manifest, columns)
    fields = pa.schema([given.field(name) for name in keys])
    return _with_reject(output_schema(fields, outputs, "", source=SOURCE, advice="rename it first"), rejects)


def _with_reject(rows: pa.Schema, rejects: Rejects) -> pa.Schema:
    """The columns of scored rows, nullable and without dictionaries, which Spark does not read; then `reject`."""
    if rejects not in get_args(Rejects):
        raise UsageError(f"rejects={rejects!r} is not one of {listed(get_args(Rejects))}")
    fields = [field.with_nullable(True) for field in reject_schema(rows)]
    return pa.schema(fields if rejects == "column" else fields[:-1])


def _task(
    bundle: Bundle,
    session: SparkSession | None,
    schema: pa.Schema,
    columns: ColumnOptions,
    rejects: Rejects,
    *,
    ship: bool,
    trust: Collection[str],
) -> Task:
    return Task(
        bundle=_shipped(bundle, session) if ship else absolute(bundle.name),
        digest=bundle.digest,
        shipped=ship,
        trust=tuple(trust),
        columns=columns,
        rejects=rejects,
        schema=schema,
    )


def _shipped(bundle: Bundle, session: SparkSession | None) -> str:
    """Send a bundle to all executors as an archive, once for each application. Returns the name of the folder in which
    they unpack it."""
    context = getattr(session, "sparkContext", None)  # Spark Connect has none
    if context is None:
        raise UsageError(
            "ship=True needs a classic Spark session; put the bundle on a file system that all machines share"
        )
    name = f"scoreline-{bundle.digest.removeprefix('sha256:')}"
    if not any(name in archive for archive in context.listArchives):
        context.addArchive(f"{_archive(bundle, name)}#{name}")
    return name


@cache
def _folder() -> TemporaryDirectory[str]:
    """Where archives are kept until the driver ends: executors that start later fetch them from there."""
    return TemporaryDirectory(prefix="scoreline-")


def _archive(bundle: Bundle, name: str) -> Path:
    """A zip archive of the bundle's files."""
    path = Path(_folder().name) / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (MANIFEST, *bundle.manifest.files):
            archive.write(bundle.path / file, file)
    return path


def _scored(task: Task, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of one Spark partition, in order, with the columns of the task."""
    from pyspark import SparkFiles, TaskContext

    path = SparkFiles.get(task.bundle) if task.shipped else task.bundle
    context = TaskContext.get()
    source = f"partition {context.partitionId()}" if context else ""
    scorer, first_row = load_scorer(path, task.digest, task.trust), 0
    for scored in scorer.score_batches(batches, options=task.columns, source=source):
        if task.rejects == "error" and scored.rejects.num_rows:
            raise _rejected(scored.rejects)
        yield _in_order(scored, first_row, task.schema)
        first_row += scored.rows.num_rows + scored.rejects.num_rows


@lru_cache(maxsize=MOST_SCORERS)
def load_scorer(path: str, digest: str, trust: tuple[str, ...]) -> Scorer:
    """The bundle, loaded on the CPU once for each process. Raises BundleError if it is not that of the driver."""
    from ..scoring.scorer import Scorer  # imports torch, only in the workers

    bundle = open_bundle(path)
    if bundle.digest != digest:
        raise BundleError(
            f"bundle {path!r} is another one here than on the driver: its digest is {bundle.digest}, not {digest};"
            " copy it to every machine, or pass ship=True"
        )
    return Scorer.load(bundle, device="cpu", trust=trust)


def _rejected(rejects: pa.RecordBatch) -> RowsRejectedError:
    first = reasons_of(rejects)[0].as_py()
    return RowsRejectedError(
        f"{first['source']}, row {first['row_number']}: {described(first)}; fix the rows, or pass rejects='column' to"
        " get the reasons beside the predictions"
    )


def _in_order(scored: ScoredBatch, first_row: int, schema: pa.Schema) -> pa.RecordBatch:
    """The scored and rejected rows of a block, in the order in which they were read.

    Args:
        first_row: the number of its first row within the partition.
    """
    rows = _shaped(scored.rows, schema)
    if not scored.rejects.num_rows:
        return rows
    reasons = reasons_of(scored.rejects)
    named = pa.RecordBatch.from_arrays(scored.rejects.columns, [*scored.rejects.schema.names[:-1], schema.names[-1]])
    both = pa.concat_batches([rows, _shaped(named, schema)])
    positions = reasons.field("row_number").to_numpy() - first_row
    order = np.argsort(np.concatenate([np.delete(np.arange(both.num_rows), positions), positions]))
    return take_rows(both, order)


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, null where the batch does not have them."""
    names = set(batch.schema.names)
    columns = [
        converted(batch.column(field.name), field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)

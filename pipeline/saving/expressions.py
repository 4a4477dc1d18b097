"""Expressions and a sample → the raw columns that they read, and the features that they compute. Independent of
models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.inputs import Expression, Feature
from ...schemas.specs.expressions import Expressions
from ..arrow_types import is_number, is_text
from ..errors import BundleError, ColumnError, counted, one_line
from ..features.expressions.duckdb_connection import connect
from ..features.expressions.engine import Engine, Evaluated
from ..features.expressions.judge import judge
from ..features.expressions.sizes import FIXED
from ..features.expressions.tree import RefusedError, refuse
from ..frames import arrow_table, is_arrow, is_pandas
from ..inputs.cells.numbers import number_cells
from ..inputs.check import check_batch
from ..nested import equal, in_one_batch, with_types, without_runs
from ..raw_types import recorded_type
from .sample import Sample, read_sample, table_of, warn_if_few_left
from .specs import validated

#: How far a number may be from the sample's own column: other libraries round in another order.
RELATIVE, ABSOLUTE = 1e-6, 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundExpressions:
    """`sql`: of every expression, those that pass a raw column on included. `raw`: the columns of the file that they
    read."""

    sql: Mapping[str, str]
    raw: Sequence[Feature]

    def split(self, features: Sequence[Feature]) -> tuple[list[Feature], list[Expression]]:
        """The features of the model → the columns of the file, and the expressions."""
        plain = [feature for feature in features if feature.name not in self.sql]
        made = {feature.name: feature for feature in features}
        expressions = [
            Expression(name=name, dtype=made[name].dtype, nulls=made[name].nulls, sql=sql)
            for name, sql in self.sql.items()
        ]
        return [*plain, *self.raw], expressions


def split_preprocessing(preprocessing: Any, scaler: Any) -> tuple[Expressions | None, Any]:
    """`preprocessing=` and `scaler=` → the expressions, and the transformers.

    Raises:
        BundleError: both are given, or the list is not expressions followed by transformers.
    """
    if preprocessing is None:
        return None, scaler
    if scaler is not None:
        raise BundleError("both preprocessing and scaler are given; add the scaler to the list of preprocessing")
    listed = list(preprocessing) if isinstance(preprocessing, list | tuple) else [preprocessing]
    if any(isinstance(one, type) and issubclass(one, Expressions) for one in listed):
        raise BundleError("preprocessing contains the class Expressions, not an instance")
    first = validated(Expressions, listed[0], "Expressions") if listed and isinstance(listed[0], Expressions) else None
    rest = listed if first is None else listed[1:]
    if any(isinstance(one, Expressions) for one in rest):
        raise BundleError("preprocessing: Expressions come first, and once; put all of them into one mapping")
    pairs = all(isinstance(one, list | tuple) for one in rest)
    if len(rest) > 1 and not pairs:
        raise BundleError(
            f"preprocessing contains {len(rest)} transformers; combine them in a Pipeline or ColumnTransformer, or pass"
            " (transformer, [feature, ...]) for each"
        )
    return first, (rest if pairs else rest[0]) if rest else None


def bind_expressions(
    spec: Expressions, sample: Any, names: Sequence[str], others: Sequence[str]
) -> tuple[BoundExpressions, Sample]:
    """Bind expressions to the columns of a sample, and evaluate them on it.

    Args:
        names: the columns that the model's inputs take.
        others: those of them that must be columns of the file, such as images and lists.

    Returns:
        The expressions, and the sample with the columns that the inputs take, without the rows for which an expression
        raises.

    Raises:
        BundleError: an expression is not allowed, does not match its columns, is not used, or differs from the column
            of its name in the sample.
        ColumnError: the sample has no such column, or one of a type that cannot be read.
    """
    sample = _named(sample)
    given = [str(name) for name in sample.columns] if is_pandas(sample) else sample.schema.names
    unused = [name for name in spec.sql if name not in names]
    if unused:
        raise BundleError(f"expression {unused[0]!r} is not among the features; add it to them, or remove it")
    reads = _columns_read(spec.sql, given)
    _refuse_chains(reads)
    columns = list(dict.fromkeys(column for read in reads.values() for column in read))
    sql = {**spec.sql, **_passed(names, columns, spec.sql, others)}
    plain = [name for name in names if name not in sql]
    missing = [name for name in plain if name not in given]
    if missing:
        raise ColumnError(f"the sample has no column {missing[0]!r}, which is among the features")
    table = table_of(sample, [*plain, *columns])
    raw, rows = _raw_columns(table, columns)
    engine = Engine(sql, raw)
    found = _in_parts(engine, rows)
    raised = sorted({row for problems in found.problems.values() for row, _ in problems})
    if raised:
        name, problems = next((name, problems) for name, problems in found.problems.items() if problems)
        if len(raised) == rows.num_rows:
            raise BundleError(f"expressions cannot be computed for any row of the sample; {name!r}: {problems[0][1]}")
        warn_if_few_left(rows.num_rows - len(raised), rows.num_rows, f"row {problems[0][0]}: {name!r} {problems[0][1]}")
    for name in spec.sql:
        if name in given and name not in columns:
            _compare(name, found.columns[name], table_of(sample, [name]).column(name), set(raised))
    results = pa.table(dict(found.columns))
    whole = pa.table({name: table.column(name) for name in plain} | dict(found.columns))
    whole = read_sample(whole, names, _with_results(sample, plain, results))
    kept = np.delete(np.arange(rows.num_rows), raised)
    whole = whole.with_raw(rows, tuple(sql)).only(kept)
    return BoundExpressions(sql=sql, raw=raw), whole


def _named(sample: Any) -> Any:
    """The sample as a pandas frame, or an Arrow table: a stream can be read only once."""
    if is_pandas(sample):
        return sample
    if is_arrow(sample):
        return arrow_table(sample)
    if isinstance(sample, Mapping):
        return pa.table({str(name): pa.array(values) for name, values in sample.items()})
    raise BundleError("expressions need a sample with named columns; pass a table instead of an array")


def _passed(
    names: Sequence[str], columns: Sequence[str], sql: Mapping[str, str], others: Sequence[str]
) -> dict[str, str]:
    """The features that pass unchanged although an expression reads their column: each by its quoted name."""
    passed = [name for name in names if name not in sql and name in columns]
    clash = [name for name in passed if name in others]
    if clash:
        raise BundleError(
            f"column {clash[0]!r} is read by an expression and by an image or a sequence; write it to the file as two"
            " columns"
        )
    return {name: _quoted(name) for name in passed}


def _columns_read(texts: Mapping[str, str], given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The columns of the sample that each expression reads."""
    connection, found = connect(), {}
    for name, sql in texts.items():
        try:
            found[name] = judge(connection, sql, dict.fromkeys(given, FIXED)).columns
        except RefusedError as error:
            raise refuse(name, error) from error
    return found


def _refuse_chains(reads: Mapping[str, Sequence[str]]) -> None:
    for name, columns in reads.items():
        for column in columns:
            if column != name and column in reads and column not in reads[column]:
                raise BundleError(
                    f"expression {name!r} reads {column!r}, which is another expression; expressions read the columns"
                    " of the file, so repeat its SQL"
                )


def _raw_columns(table: pa.Table, columns: Sequence[str]) -> tuple[list[Feature], pa.RecordBatch]:
    """The raw columns with their types, and their rows as a file would have them."""
    raw = []
    for name in columns:
        if table.schema.names.count(name) > 1:
            raise ColumnError(f"the sample has more than one column {name!r}, which an expression reads")
        try:
            raw.append(
                Feature(name=name, dtype="raw", nulls="keep", arrow=recorded_type(table.schema.field(name).type))
            )
        except ValueError as error:
            raise ColumnError(f"the sample's column {name!r}, which an expression reads: {one_line(error)}") from error
    if not table.num_rows:
        raise BundleError("the sample has no rows")
    batch = with_types(in_one_batch(table.select(list(columns)).replace_schema_metadata(None)), without_runs)
    checked = check_batch(batch, raw)
    if checked.rejects:
        reject = checked.rejects[0]
        raise BundleError(f"the sample's column {reject.column!r}, row {reject.positions[0]}: {reject.reasons[0]}")
    return raw, pa.record_batch([checked.columns[name] for name in columns], names=list(columns))


def _in_parts(engine: Engine, rows: pa.RecordBatch) -> Evaluated:
    """Evaluate the whole sample, its first row alone and the rest in two parts, which must give the same values."""

    def evaluate(part: pa.RecordBatch) -> Evaluated:
        return engine.evaluate({name: part.column(name) for name in part.schema.names}, part.num_rows)

    whole, cut = evaluate(rows), 1 + rows.num_rows // 3
    for start, stop in ((0, 1), (1, cut), (cut, rows.num_rows)):
        part = evaluate(rows.slice(start, max(0, stop - start)))
        for name, values in part.columns.items():
            if not equal(values, whole.columns[name].slice(start, len(values))):
                raise BundleError(f"expression {name!r} mixes rows: a row's value depends on the rows beside it")
    return whole


def _with_results(sample: Any, plain: Sequence[str], results: pa.Table) -> Any:
    """The user's own frame with the results beside its columns; None if the sample is not a pandas frame."""
    if not is_pandas(sample):
        return None
    kept = sample.loc[:, [str(name) in plain for name in sample.columns]]
    return kept.set_axis([str(name) for name in kept.columns], axis=1).assign(
        **{name: results.column(name).to_pandas().to_numpy() for name in results.schema.names}
    )


def _compare(name: str, made: pa.Array, column: pa.ChunkedArray, raised: set[int]) -> None:
    """Raise BundleError where the results of an expression differ from the sample's own column."""
    own = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    own = own if isinstance(own, pa.Array) else pa.concat_arrays(own.chunks)
    if is_number(own.type) and is_number(made.type):
        feature = Feature(name=name, nulls="keep")
        one, other = number_cells(own, feature, decimal=None)[0], number_cells(made, feature, decimal=None)[0]
        differs = ~np.isclose(other, one, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    elif is_text(own.type) and is_text(made.type):
        texts = own.cast(pa.large_string()).to_pylist(), made.cast(pa.large_string()).to_pylist()
        differs = np.array([one != other for one, other in zip(*texts, strict=True)], dtype=np.bool_)
    else:
        raise BundleError(f"expression {name!r} returns {made.type}, but the sample's column {name!r} is {own.type}")
    rows = [row for row in np.flatnonzero(differs).tolist() if row not in raised]
    if rows:
        raise BundleError(
            f"expression {name!r} differs from the sample's column {name!r} in row {rows[0]}: expected"
            f" {own[rows[0]].as_py()!r}, got {made[rows[0]].as_py()!r} (in {len(rows):,} of"
            f" {counted(len(made), 'row')}); it is another formula than that of the training code"
        )


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

"""Evaluates judged expressions on the raw columns of a block of rows, with DuckDB.

A block is evaluated at once. Where that raises, each expression is evaluated alone, with errors caught row by row, so
that only the rows that raise are lost. A row's values are the same in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...arrays import to_numpy
from ...arrow_types import Problems, is_bytes, is_number, is_text
from ...errors import BundleError, DataError, counted, one_line
from ...raw_types import arrow_of, is_nested
from .duckdb_connection import connect, error_types
from .judge import Judged, judge, selected
from .sizes import (
    FIXED,
    MOST_BYTES,
    MOST_PLUS_TOGETHER,
    MOST_SQUARES,
    MOST_TIMES_TOGETHER,
    of_column,
    together,
)
from .tree import RefusedError, cause, refuse, select_list, without_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from ....schemas.inputs import Feature

#: Seconds that one evaluation of a block may take. Longer ones fail the partition: a row is never rejected by a clock.
TIMEOUT_S = 120.0
#: The most rows of a block that are evaluated alone for their cause, and the most statements that find them where TRY
#: raises itself. Each takes a few milliseconds.
MOST_CAUSES, MOST_STATEMENTS = 1_000, 10_000
_LONGEST = int(MOST_SQUARES**0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """`columns`: the results by expression, null where a row raised; `problems`: those rows, with the reasons."""

    columns: Mapping[str, pa.Array]
    problems: Mapping[str, Problems]


@dataclass(kw_only=True, slots=True)
class _Search:
    """The search for the rows of a block for which one expression raises. `causes`: by the values of a row."""

    name: str
    rows: pa.Table
    problems: Problems = field(default_factory=list)
    causes: dict[str, str] = field(default_factory=dict)
    statements: int = 0

    def count(self) -> None:
        """Count a statement. Raises DataError if there are too many: a search must not take longer than a run."""
        self.statements += 1
        if self.statements > MOST_STATEMENTS:
            of = counted(self.rows.num_rows, "row")
            raise DataError(f"expression {self.name!r} cannot be computed for too many of {of}")


class Engine:
    """Evaluates some expressions, for one thread at a time. Parses and binds them; evaluates nothing until then.

    Args:
        expressions: SQL texts by name.
        raw: the columns that they may read.

    Raises:
        BundleError: an expression is not allowed, DuckDB cannot bind it to the columns, or DuckDB is not installed.
    """

    def __init__(self, expressions: Mapping[str, str], raw: Sequence[Feature]) -> None:
        self._types = {feature.name: arrow_of(feature.arrow) for feature in raw if feature.arrow is not None}
        self._connection = connect()
        failed, self._interrupted, self._fatal = error_types()
        #: False once DuckDB has failed: its connection is of no use afterwards.
        self.is_usable = True
        self._failed = (failed, UnicodeDecodeError)  # of a message that cuts the text of a row within a character
        self._judged = _judge_all(self._connection, expressions, self._types)
        self.reads = {name: judged.columns for name, judged in self._judged.items()}
        self._columns = list(dict.fromkeys(column for columns in self.reads.values() for column in columns))
        _refuse_similar(self._columns)
        self._bound = together([judged.peak for judged in self._judged.values()])
        self._table = _unused("rows", self._columns)
        self._sql = dict(expressions)
        self._statement = self._checked_statement()
        self.types = self._bind()

    @property
    def columns(self) -> list[str]:
        """The raw columns that the expressions read."""
        return list(self._columns)

    def evaluate(self, columns: Mapping[str, pa.Array], num_rows: int) -> Evaluated:
        """The results for some rows.

        Raises:
            DataError: an evaluation takes too long.
        """
        if not num_rows:
            return Evaluated(columns=self._nulls(0), problems={})
        return self._bounded(pa.table({name: columns[name] for name in self._columns}))

    def _bounded(self, rows: pa.Table) -> Evaluated:
        """Evaluate a block, in parts if its values may be too large together, or take too long."""
        found = self._too_much(rows)
        if found is None:
            return self._evaluate_block(rows)
        if rows.num_rows == 1:
            name, reason = found
            return Evaluated(columns=self._nulls(1), problems={name: [(0, reason)]})
        half = rows.num_rows // 2
        parts = [self._bounded(rows.slice(0, half)), self._bounded(rows.slice(half))]
        later = {name: [(half + row, reason) for row, reason in found] for name, found in parts[1].problems.items()}
        problems = {name: [*parts[0].problems.get(name, ()), *later.get(name, ())] for name in self._sql}
        columns = {name: pa.concat_arrays([part.columns[name] for part in parts]) for name in self._sql}
        return Evaluated(columns=columns, problems={name: found for name, found in problems.items() if found})

    def _too_much(self, rows: pa.Table) -> tuple[str, str] | None:
        """An expression and the reason why it cannot be evaluated for all of these rows at once."""
        num_bytes = self._bound.times * rows.nbytes + self._bound.plus * rows.num_rows
        if num_bytes > MOST_BYTES:
            limit = f"the limit is {MOST_BYTES:,}"
            return next(iter(self._sql)), f"may take {num_bytes:,} bytes for the {rows.nbytes:,} of the row; {limit}"
        for name, judged in self._judged.items():
            if judged.rescanned is None:
                continue
            sizes = judged.rescanned.times * _sizes(rows.select(list(judged.columns))) + judged.rescanned.plus
            if float((sizes**2).sum()) > MOST_SQUARES:
                return name, f"searches {int(sizes.max()):,} bytes again from every match; the limit is {_LONGEST:,}"
        return None

    def _nulls(self, rows: int) -> dict[str, pa.Array]:
        return {name: pa.nulls(rows, arrow_type) for name, arrow_type in self.types.items()}

    def _evaluate_block(self, rows: pa.Table) -> Evaluated:
        try:
            found = self._run(self._statement, rows)
        except self._interrupted as error:
            raise _too_slow(rows.num_rows) from error
        except self._failed:
            return self._evaluate_each(rows)
        arrays = [_combined(column) for column in found.columns]
        return Evaluated(columns=dict(zip(self._sql, arrays, strict=True)), problems={})

    def _evaluate_each(self, rows: pa.Table) -> Evaluated:
        made: dict[str, pa.Array] = {}
        problems: dict[str, Problems] = {}
        for name in self._sql:
            search = _Search(name=name, rows=rows.select(list(self.reads[name])))
            try:
                made[name] = pa.concat_arrays(self._isolated(search, 0, rows.num_rows))
            except self._interrupted as error:
                raise _too_slow(rows.num_rows) from error
            problems[name] = search.problems
        return Evaluated(columns=made, problems=problems)

    def _isolated(self, search: _Search, start: int, stop: int) -> list[pa.Array]:
        """The results of one expression for some rows, in pieces; adds the rows that raise to the problems."""
        statement = f"SELECT TRY(struct_pack(v := (\n{self._sql[search.name]}\n))) FROM {_quoted(self._table)}"
        search.count()
        try:
            made = _combined(self._run(statement, search.rows.slice(start, stop - start)).column(0))
        except self._interrupted:
            raise
        except self._failed as error:  # not all errors are caught by TRY
            if stop - start == 1:
                search.problems.append((start, _reason(error)))
                return [pa.nulls(1, self.types[search.name])]
            half = (start + stop) // 2
            return [*self._isolated(search, start, half), *self._isolated(search, half, stop)]
        for index in _positions_of_nulls(made):
            search.problems.append((start + index, self._cause(search, start + index)))
        (values,) = made.flatten()
        return [values]

    def _cause(self, search: _Search, position: int) -> str:
        """Why a row raises, by evaluating it alone. Rows with the same values are evaluated once."""
        row = search.rows.slice(position, 1)
        try:
            key = repr(row.to_pylist())
        except (OverflowError, ValueError):  # Python has no dates after the year 9999
            key = str(position)
        if key not in search.causes:
            if len(search.causes) == MOST_CAUSES:
                return f"cannot be computed; the cause is given for {MOST_CAUSES:,} different rows of a block"
            try:
                self._run(f"{selected(self._sql[search.name])} FROM {_quoted(self._table)}", row)
                search.causes[key] = "cannot be computed"
            except self._interrupted:
                raise
            except self._failed as error:
                search.causes[key] = _reason(error)
        return search.causes[key]

    def _run(self, statement: str, rows: pa.Table) -> pa.Table:
        self._connection.register(self._table, rows)
        try:
            with _limited(self._connection):
                return self._connection.sql(statement).to_arrow_table()
        except self._fatal as error:
            self.is_usable = False
            raise DataError(
                f"DuckDB has failed on the expressions, which is a bug of DuckDB: {one_line(error)[:300]}; find the row"
                " with scoreline check, and leave it out"
            ) from error
        finally:
            self._connection.unregister(self._table)

    def _checked_statement(self) -> str:
        """The statement for a block. It is parsed again as a whole, and must consist of the judged trees."""
        parts = [f'(\n{sql}\n) AS "#{index}"' for index, sql in enumerate(self._sql.values())]
        statement = f"SELECT {', '.join(parts)} FROM {_quoted(self._table)}"
        try:
            nodes = select_list(self._connection, statement, self._table)
        except RefusedError as error:
            raise BundleError(f"the expressions together: the statement {error}") from error
        judged = [without_places(one.node) for one in self._judged.values()]
        if [without_places(node) for node in nodes] != judged:
            raise BundleError("the expressions together do not have the meaning of each alone; save the bundle again")
        return statement

    def _bind(self) -> dict[str, pa.DataType]:
        """The Arrow types of the results. Raises BundleError if they are neither numbers, booleans nor text."""
        types: dict[str, pa.DataType] = {}
        empty = pa.table({name: pa.nulls(0, self._types[name]) for name in self._columns})
        for name, sql in self._sql.items():
            try:
                found = self._run(f"{selected(sql)} FROM {_quoted(self._table)}", empty)
            except self._failed as error:
                raise BundleError(f"expression {name!r} does not match its columns: {cause(error)}") from error
            types[name] = found.schema.types[0]
            if not (is_number(types[name]) or is_text(types[name])):
                raise BundleError(
                    f"expression {name!r} returns {types[name]}; features are numbers, booleans or text: use a function"
                    " such as epoch(…) or len(…), or a cast such as (…)::VARCHAR"
                )
        return types


def _judge_all(
    connection: DuckDBPyConnection, expressions: Mapping[str, str], types: Mapping[str, pa.DataType]
) -> dict[str, Judged]:
    bounds_of = {
        name: of_column(one) if is_nested(one) or is_text(one) or pa.types.is_binary(one) else FIXED
        for name, one in types.items()
    }
    judged: dict[str, Judged] = {}
    for name, sql in expressions.items():
        try:
            judged[name] = judge(connection, sql, bounds_of)
        except RefusedError as error:
            raise refuse(name, error) from error
    bounds = [one.bound for one in judged.values()]
    times, plus = sum(one.times for one in bounds), sum(one.plus for one in bounds)
    if times > MOST_TIMES_TOGETHER or plus > MOST_PLUS_TOGETHER:
        raise BundleError(
            f"the expressions together can make {times:,} × the bytes of a row + {plus:,} bytes; the limit is"
            f" {MOST_TIMES_TOGETHER:,} × + {MOST_PLUS_TOGETHER:,}"
        )
    return judged


def _refuse_similar(columns: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise BundleError(
                f"expressions read {other!r} and {column!r}, which SQL does not distinguish; rename one of the columns"
            )


def _unused(name: str, columns: Sequence[str]) -> str:
    taken = {column.lower() for column in columns}
    while name in taken:
        name += "_"
    return name


def _quoted(name: str) -> str:
    return f'"{name}"'


@contextmanager
def _limited(connection: DuckDBPyConnection) -> Iterator[None]:
    """Interrupt the statement after the time limit. The thread of the timer has ended on return: if it held the last
    reference to the connection while the interpreter exits, closing it there would abort the process."""
    timer = Timer(TIMEOUT_S, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _sizes(rows: pa.Table) -> NDArray[np.float64]:
    """The bytes of the texts of every row; of lists and structs, those of all rows."""
    sizes = np.zeros(rows.num_rows)
    for column in rows.columns:
        if is_text(column.type) or is_bytes(column.type):
            sizes += to_numpy(_combined(pc.binary_length(column).fill_null(0)))
        elif is_nested(column.type):
            sizes += column.nbytes
    return sizes


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _positions_of_nulls(array: pa.Array) -> list[int]:
    nulls = to_numpy(array.is_null())
    positions: list[int] = nulls.nonzero()[0].tolist()
    return positions


def _reason(error: Exception) -> str:
    return f"cannot be computed: {cause(error)}"


def _too_slow(rows: int) -> DataError:
    return DataError(
        f"the expressions took more than {TIMEOUT_S:.0f} s for {counted(rows, 'row')}; simplify them, or shorten the"
        " values that they read"
    )

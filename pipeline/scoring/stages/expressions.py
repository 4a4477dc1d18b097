"""expressions: raw columns → the features that SQL expressions compute from them, evaluated by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np
import pyarrow as pa

from ....schemas.inputs import Expression, Feature
from ...features.expressions.engine import Engine
from ...inputs.check import check_batch, some_rows
from ...records import CheckedBatch, Reject
from ..batches import positions_or_all
from .stage import Stage

if TYPE_CHECKING:
    from ....schemas.bundle import BundleManifest
    from ..block import Block


class Expressions(Stage):
    """Replaces the raw columns in `checked` by the results of the expressions. A row becomes a reject if an expression
    raises for it, or returns what its feature cannot be (NaN, an infinity, null).

    Args:
        engines: those that no line uses; the stage takes one, or makes one, and returns it at the end of its life. An
            engine takes a tenth of a second to make, and belongs to one thread at a time.

    Raises:
        BundleError: an expression is not allowed, or DuckDB is not installed.
    """

    name = "expressions"

    def __init__(self, manifest: BundleManifest, engines: list[Engine]) -> None:
        self._expressions = manifest.expressions
        try:
            self._engine = engines.pop()
        except IndexError:
            self._engine = engine_of(manifest.features, manifest.expressions)
        finalize(self, _return, self._engine, engines)

    def __call__(self, block: Block) -> Block:
        checked = evaluated(block.need_checked(), self._engine, self._expressions)
        num_bytes = sum(_bytes_of(checked.columns[expression.name]) for expression in self._expressions)
        return replace(block, checked=checked, num_rows=block.need_checked().num_kept, num_bytes=num_bytes)


def _return(engine: Engine, engines: list[Engine]) -> None:
    if engine.is_usable:
        engines.append(engine)


def _bytes_of(values: Any) -> int:
    return int(values.nbytes)


def engine_of(features: Sequence[Feature], expressions: Sequence[Expression]) -> Engine:
    """The engine for the expressions of a bundle. Raises BundleError as `Engine` does."""
    raw = [feature for feature in features if feature.dtype == "raw"]
    return Engine({expression.name: expression.sql for expression in expressions}, raw)


def evaluated(checked: CheckedBatch, engine: Engine, expressions: Sequence[Expression]) -> CheckedBatch:
    """The batch with the results of the expressions in place of its raw columns."""
    found = engine.evaluate(checked.columns, checked.num_kept)
    others = {name: values for name, values in checked.columns.items() if name not in engine.columns}
    before = positions_or_all(checked.kept, checked.num_kept)
    good = np.ones(checked.num_kept, dtype=np.bool_)
    rejects = list(checked.rejects)
    for name, problems in found.problems.items():
        fresh = [(row, reason) for row, reason in problems if good[row]]
        good[[row for row, _ in fresh]] = False
        rejects += _rejects(before, fresh, name)
    rows, made = np.flatnonzero(good), found.columns
    if len(rows) < len(good):
        made = some_rows(made, rows)
    results = pa.record_batch([made[one.name] for one in expressions], [one.name for one in expressions])
    judged = check_batch(results, expressions)
    for reject in judged.rejects:
        rejects.append(replace(reject, positions=before[rows[reject.positions]], stage=Expressions.name))
    kept = rows if judged.kept is None else rows[judged.kept]
    if len(kept) < checked.num_kept:
        others = some_rows(others, kept)
    columns = {**others, **judged.columns}
    whole = checked.kept is None and len(kept) == checked.num_kept
    return replace(checked, columns=columns, kept=None if whole else before[kept], rejects=tuple(rejects))


def _rejects(before: np.ndarray, problems: Sequence[tuple[int, str]], name: str) -> list[Reject]:
    if not problems:
        return []
    positions = before[[row for row, _ in problems]]
    return [Reject(positions=positions, stage=Expressions.name, column=name, reasons=tuple(r for _, r in problems))]

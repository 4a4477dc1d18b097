"""Scores the first rows of an input with the whole line, for `scoreline check`."""

from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from ..options import ScoreJob
    from ..planning.plan import Plan
    from ..scoring.scorer import Scorer


SHOWN_ROWS = 5
TRIED_ROWS = 1000


def score_first_rows(plan: "Plan", scorer: "Scorer", job: "ScoreJob") -> dict[str, Any]:
    """Score the first rows of the first file."""
    from ..model.first_rows import FirstRows
    from ..outputs.assemble import reasons_of
    from ..scoring.line import LineOptions, compose
    from .blocks import LoadedBlock, ReadFailed, load_blocks

    if not plan.partitions:
        return {"source": "no file", "scored": [], "rejected": 0, "tried": 0, "rejects": [], "within_budget": True}
    planned = plan.partitions[0]
    line = compose(scorer.loaded, LineOptions.of(job))
    with closing(load_blocks(planned, line, TRIED_ROWS, first_rows=FirstRows())) as blocks:
        first = next(blocks)
    found: dict[str, Any] = {"source": planned.partition.name, "tried": 0, "scored": [], "rejected": 0, "rejects": []}
    found["within_budget"] = True
    if isinstance(first, ReadFailed):
        raise first.error
    if isinstance(first, LoadedBlock):
        block = line.score(first.block).need_scored()
        found["tried"] = block.rows.num_rows + block.rejects.num_rows
        found["scored"] = _shown(block.rows.slice(0, SHOWN_ROWS))
        found["retried"] = list(block.retried)
        found["rejected"] = block.rejects.num_rows
        found["within_budget"] = block.rejects.num_rows <= job.max_rejects.allowed(found["tried"])
        found["rejects"] = reasons_of(block.rejects).slice(0, SHOWN_ROWS).to_pylist()
    return found


def _shown(rows: "pa.RecordBatch") -> list[dict[str, Any]]:
    """Rows as Python values; as text where Python has no type for them, such as a date after the year 9999."""
    from ..python_values import python_values

    values = dict(zip(rows.schema.names, map(python_values, rows.columns), strict=True))
    return [{name: values[name][row] for name in values} for row in range(rows.num_rows)]

"""`scoreline rejects`: shows the rejected rows of an output."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import counted

if TYPE_CHECKING:
    from ..pipeline.monitoring.rejects import Rejects

#: Groups and files to show; the rest is counted.
MOST_SHOWN = 20


@click.command(context_settings={"show_default": True})
@click.argument("output", metavar="OUT")
@click.option("--limit", type=click.IntRange(min=0), default=20, metavar="N", help="Number of rows to show.")
@click.option("--csv", "csv_file", metavar="FILE.csv", help="Also write all rejected rows to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def rejects(output: str, limit: int, csv_file: str | None, as_json: bool) -> int:
    """Show the rows that a run has rejected, and why.

    Counts them by reason and by input, and shows the first ones with their row number (from 0), column and value. Also
    works for a run that failed because it rejected too many rows: it shows those of the splits that were published.

    \b
    Examples:
      scoreline rejects scored/
      scoreline rejects scored/ --limit 100 --csv rejects.csv
    """
    from ..pipeline.monitoring.rejects import read_rejects, write_rejects  # here, so that --help stays light
    from .terminal.tables import answer

    found = read_rejects(output, limit=limit)
    if csv_file is not None:
        write_rejects(output, Path(csv_file))
    answer(json.dumps(_plain(found), indent=1) if as_json else _shown(found))
    return 0


def _plain(found: "Rejects") -> dict[str, object]:
    return {
        "unfinished": found.unfinished,
        "rows_in": found.rows_in,
        "rows_rejected": found.rows_rejected,
        "by_reason": [asdict(group) for group in found.groups],
        "by_input": [{"source": source, "rows": rows} for source, rows in found.by_source],
        "rows": [asdict(row) for row in found.first],
    }


def _shown(found: "Rejects") -> str:
    from .terminal.tables import shortened, table

    share = f" ({found.rows_rejected / found.rows_in:.2%})" if found.rows_rejected else ""
    lines = [f"{found.rows_rejected:,} of {counted(found.rows_in, 'row')} rejected{share}"]
    if found.unfinished is not None:
        if not found.rows_in:
            return f"no split is published, so no rejects are: the run is not complete ({found.unfinished})"
        lines.append(f"the run is not complete ({shortened(found.unfinished, 200)}); these are the published splits")
    if not found.rows_rejected:
        return "\n".join(lines)
    groups = [
        [one.stage, one.column, shortened(one.reason), f"{one.rows:,}", f"{one.inputs:,}"]
        for one in found.groups[:MOST_SHOWN]
    ]
    lines += ["", table(["stage", "column", "reason", "rows", "inputs"], groups), *_rest(len(found.groups), "reason")]
    sources = [[source, f"{rows:,}"] for source, rows in found.by_source[:MOST_SHOWN]]
    lines += ["", table(["input", "rows"], sources), *_rest(len(found.by_source), "input")]
    if found.first:
        rows = [
            [one.source, f"{one.row}", one.column, shortened(one.value), shortened(one.reason)] for one in found.first
        ]
        lines += ["", table(["input", "row", "column", "value", "reason"], rows)]
    if 0 < len(found.first) < found.rows_rejected:
        lines.append(
            f"and {counted(found.rows_rejected - len(found.first), 'more row')}; pass --limit or --csv FILE.csv"
        )
    return "\n".join(lines)


def _rest(number: int, noun: str) -> list[str]:
    return [f"and {counted(number - MOST_SHOWN, f'more {noun}')}; pass --json for all"] if number > MOST_SHOWN else []

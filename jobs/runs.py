"""`scoreline runs`: lists the runs of outputs."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import counted

if TYPE_CHECKING:
    from ..schemas.history import HistoryEntry

#: Characters of an error, of a digest, and of a column, in the table.
MOST_CHARACTERS, DIGEST_CHARACTERS, COLUMN_CHARACTERS = 120, 15, 40


@click.command(context_settings={"show_default": True})
@click.argument("outputs", metavar="OUT...", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, metavar="N", help="Number of last runs to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, with whole errors.")
def runs(outputs: tuple[str, ...], limit: int, as_json: bool) -> int:
    """List the runs of outputs, the last one at the end: when, exit code, rows, rejects, seconds, bundle, drift.

    Every run that had the lock of its output is listed, failed ones and those with nothing to do too; not those that
    were killed. OUT is an output or a glob.

    \b
    Examples:
      scoreline runs scored/
      scoreline runs 'scored/*' --limit 50
    """
    from ..pipeline.monitoring.history import find_outputs, read_history  # here, so that --help stays light
    from .terminal.tables import answer

    found = [read_history(output) for output in find_outputs(outputs)]
    lines = sorted(
        ((history.output, entry) for history in found for entry in history.entries), key=lambda line: line[1].started
    )[-limit:]
    unreadable = sum(history.unreadable for history in found)
    if as_json:
        shown = [{"output": output, **entry.model_dump()} for output, entry in lines]
        answer(json.dumps({"runs": shown, "unreadable_lines": unreadable}, indent=1))
        return 0
    answer(_shown(lines, several=len(found) > 1))
    if unreadable:
        answer(f"{counted(unreadable, 'line')} of the history cannot be read")
    return 0


def _shown(lines: "Sequence[tuple[str, HistoryEntry]]", *, several: bool) -> str:
    from .terminal.tables import shortened, table

    if not lines:
        return "no runs are recorded"
    header = [
        "started (UTC)",
        "exit",
        "rows",
        "newly read",
        "rejected",
        "seconds",
        "bundle",
        "worst PSI",
        "in column",
        "error",
    ]
    rows = [
        [
            entry.started[:19].replace("T", " "), str(entry.exit_code), _count(entry.rows_in), _count(entry.rows_read),
            _count(entry.rows_rejected), f"{entry.wall_s:.1f}", entry.digest[:DIGEST_CHARACTERS], *_drift(entry),
            shortened(entry.error or "", MOST_CHARACTERS),
        ]
        for _, entry in lines
    ]  # fmt: skip
    if several:
        header, rows = ["output", *header], [[output, *row] for (output, _), row in zip(lines, rows, strict=True)]
    return table(header, rows)


def _drift(entry: "HistoryEntry") -> tuple[str, str]:
    """The largest PSI, and its column; empty if nothing was compared."""
    if (found := entry.drift) is None:
        return "", ""
    column = (found.column or "")[:COLUMN_CHARACTERS]
    return f"{found.psi:.2f}", f"{column} from the run before" if found.against == "previous" else column


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"

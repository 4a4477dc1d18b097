"""`scoreline commit`: makes the finished parts of an output a version of a table."""

import json
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import UsageError, counted
from ..pipeline.storage.uris import is_remote

if TYPE_CHECKING:
    from ..pipeline.engines.tables.table import Table


@click.command(context_settings={"show_default": True})
@click.argument("output", metavar="OUT")
@click.option("--delta", is_flag=True, help="Commit to the Delta Lake table in OUT, or create it.")
@click.option("--iceberg", metavar="NAMESPACE.TABLE", help="Commit to an Iceberg table, or create it.")
@click.option("--catalog", metavar="NAME", default="default", help="The Iceberg catalog, as pyiceberg is configured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a sentence.")
def commit(output: str, delta: bool, iceberg: str | None, catalog: str, as_json: bool) -> int:
    """Make the finished parts of an output a version of a table.

    Adds the parts that the table does not have yet in one atomic version, without rewriting them. May be repeated: no
    part is added twice. From then on, scoreline score refuses to replace these parts. The output must be complete.

    \b
    Examples:
      scoreline commit scored/ --delta
      scoreline commit scored/ --iceberg scores.wine --catalog prod
    """
    from ..pipeline.engines.tables.commit import commit as commit_output  # here, so that --help stays light
    from .terminal.tables import answer

    run_id = uuid.uuid4().hex[:12]
    report = commit_output(output, _table(output, delta, iceberg, catalog, run_id), run_id=run_id)
    if as_json:
        answer(json.dumps(asdict(report), indent=1))
    elif report.version is None:
        answer(f"{report.table} has all {counted(report.parts_before, 'part')} already")
    else:
        added = f"{counted(report.parts, 'part')} with {counted(report.rows, 'row')}"
        answer(f"{report.table}: added {added} in version {report.version}")
    return 0


def _table(output: str, delta: bool, iceberg: str | None, catalog: str, run_id: str) -> "Table":
    """The table that the flags name. Raises UsageError, also if its library is not installed."""
    if delta == (iceberg is not None):
        raise UsageError("pass either --delta or --iceberg NAMESPACE.TABLE")
    if is_remote(output):
        raise UsageError(f"{output!r} is in an object store, and only parts on a disk can be committed")
    try:
        if iceberg is None:
            from ..pipeline.engines.tables.delta import Delta

            return Delta(output, run_id=run_id)
        from ..pipeline.engines.tables.iceberg import Iceberg

        return Iceberg(output, table=iceberg, catalog=catalog, run_id=run_id)
    except ImportError as error:
        extra, library = ("delta", "deltalake") if delta else ("iceberg", "pyiceberg")
        raise UsageError(f"{library} is not installed; install it with: pip install 'scoreline[{extra}]'") from error

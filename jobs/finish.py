"""`scoreline finish`: completes an output whose shards have been scored."""

import uuid
from typing import Any

import click

from .terminal.options import flag, flags, refuse_misspelt_variables


@click.command(context_settings={"show_default": True})
@click.argument("output", metavar="OUT")
@flag("max_rejects", default=None, shown_default="as for the shards", help="Allow this many rejected rows in all.")
@flag("max_drift", shown_default="as for the shards", help="Fail if a column has drifted further than this PSI.")
@flags("run_id", "log_format", "log_level")
def finish(output: str, **options: Any) -> int:
    """Complete an output whose shards have been scored.

    Checks that every shard of scoreline score --shard has succeeded and that all of their parts exist, compares the
    rejected rows of all with --max-rejects and their drift with --max-drift, removes parts that were replaced, and
    writes the manifest and _SUCCESS. If something is missing, it says what (exit code 65), and may be repeated after
    the shards that failed have been scored again.

    \b
    Example, on one machine:
      for i in 1 2 3 4; do scoreline score --job nightly.toml --shard $i/4 & done; wait
      scoreline finish scored/
    """
    from ..pipeline.engines.finish import finish as finish_output  # here, so that --help stays light
    from ..pipeline.reporting.report import ReportWriter
    from .terminal.logs import EventLog, configure, shows_json
    from .terminal.tables import answer, stage_table, where

    refuse_misspelt_variables()
    run_id = options["run_id"] or uuid.uuid4().hex[:12]
    log = EventLog(configure(options["log_format"], options["log_level"], run_id))
    manifest = finish_output(
        output,
        run_id=run_id,
        max_rejects=options["max_rejects"],
        max_drift=options["max_drift"],
        subscribers=[log, ReportWriter(log)],
    )
    if not shows_json():
        answer(stage_table(manifest))
        answer(where(manifest, output))
    return 0

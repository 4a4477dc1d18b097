"""`scoreline score`: options → one call into the pipeline → exit code."""

import uuid
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.planning.option_table import OPTIONS, score_job
from .terminal.job_file import dialect_of, job_option
from .terminal.options import dated, flags

if TYPE_CHECKING:
    from ..schemas.job import JobFile


@click.command(context_settings={"show_default": True})
@flags(*(option.name for option in OPTIONS))
@job_option("Read options from a file; the command line and the environment win.")
def score(job: "JobFile | None", **options: Any) -> int:
    """Score files with a bundle, every row accounted for.

    Writes one Parquet file per input file, under the same path, or several where it has more than --split-rows
    rows (big-00000.parquet, big-00001.parquet …): the key columns unchanged, then the predictions. Rows that cannot be
    scored go to _rejects/ with their reason. _SUCCESS comes last. The same command again scores only what is missing or
    differs: another input, model or option.

    \b
    Examples:
      scoreline score --bundle bundles/wine --input data/ --output scored/
      scoreline score --bundle b --input 'in/{run_date}/*.csv' --output out/{run_date} --run-date 2026-11-24
      scoreline score --job nightly.toml --max-rejects 1%

    Every flag may stand in the job file (max_rejects = "1%") or in the environment (SCORELINE_MAX_REJECTS). The job
    file also says how CSV files are written, where it is not comma, header and UTF-8:

    \b
      [csv]
      delimiter = ";"
      escape = '\\'
      decimal = ","
      encoding = "latin-1"
      nulls = ["NA", "-"]
    """
    from ..pipeline.running.run import run  # here, so that --help stays light
    from .terminal.logs import EventLog, configure, shows_json
    from .terminal.progress import Progress, tune_process
    from .terminal.tables import answer, nothing_to_do, stage_table

    options["run_id"] = options["run_id"] or uuid.uuid4().hex[:12]
    log = EventLog(configure(options["log_format"], options["log_level"]).bind(run_id=options["run_id"]))
    progress = Progress(log, bar=options["progress"])
    try:
        for name in ("input", "output"):
            options[name] = dated(options[name], options["run_date"], f"--{name}")
        manifest = run(score_job(options, dialect_of(job)), [log, tune_process, progress])
    finally:
        progress.close()
    if not shows_json():
        answer(stage_table(manifest) if manifest.run_id == options["run_id"] else nothing_to_do(manifest))
    return 0

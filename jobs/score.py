"""`scoreline score`: scores files with a bundle."""

import uuid
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.planning.option_table import OPTIONS, score_job
from .terminal.job_file import dialect_of, job_option
from .terminal.options import dated, flags

if TYPE_CHECKING:
    from ..pipeline.events import Subscriber
    from ..pipeline.options import ScoreJob
    from ..pipeline.running.execute import Engine
    from ..schemas.job import JobFile


@click.command(context_settings={"show_default": True})
@flags(*(option.name for option in OPTIONS))
@job_option("Read options from a file; the command line and the environment take precedence.")
def score(job: "JobFile | None", **options: Any) -> int:
    """Score Parquet or CSV files with a bundle, every row accounted for.

    Writes one Parquet file per input file, under the same path, or several if it has more than --split-rows rows
    (big-00000.parquet, big-00001.parquet …). Each contains the key columns unchanged, then the predictions. Rows that
    cannot be scored are written to _rejects/ with their reason. _SUCCESS is written last. Run again, the same command
    scores only what is missing or out of date: another input, model or option.

    \b
    Examples:
      scoreline score --bundle bundles/wine --input data/ --output scored/
      scoreline score --bundle b --input 'in/{run_date}/*.csv' --output out/{run_date} --run-date 2026-11-24
      scoreline score --job nightly.toml --max-rejects 1%

    Every flag can also be set in the job file (max_rejects = "1%") or in the environment (SCORELINE_MAX_REJECTS). The
    job file also describes CSV files that are not comma-separated UTF-8 with a header:

    \b
      [csv]
      delimiter = ";"
      escape = '\\'
      decimal = ","
      encoding = "latin-1"
      nulls = ["NA", "-"]
    """
    from ..pipeline.engines.shards import score_shard  # here, so that --help stays light
    from ..pipeline.running.run import run
    from .terminal.logs import EventLog, configure, shows_json
    from .terminal.progress import Progress, tune_process
    from .terminal.tables import answer, nothing_to_do, stage_table

    options["run_id"] = options["run_id"] or uuid.uuid4().hex[:12]
    log = EventLog(configure(options["log_format"], options["log_level"], options["run_id"]))
    progress = Progress(log, bar=options["progress"])
    try:
        for name in ("input", "output"):
            options[name] = dated(options[name], options["run_date"], f"--{name}")
        given = score_job(options, dialect_of(job))
        subscribers: list[Subscriber] = [log, tune_process, progress]
        is_shard = given.shard is not None
        manifest = score_shard(given, subscribers) if is_shard else run(given, subscribers, _engine(given))
    finally:
        progress.close()
    if not shows_json():
        answer(stage_table(manifest) if manifest.run_id == options["run_id"] else nothing_to_do(manifest))
    return 0


def _engine(job: "ScoreJob") -> "Engine | None":
    """What scores the splits of a job; None: this process."""
    if job.engine == "local":
        return None
    from ..pipeline.engines.ray_engine import RayEngine

    return RayEngine()

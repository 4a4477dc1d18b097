"""`scoreline score`: scores files with a bundle."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.errors import UsageError
from ..pipeline.planning.option_table import OPTIONS, score_job
from .terminal.job_file import dialect_of, job_option
from .terminal.options import dated, flags, refuse_misspelt_variables, resolve_run_date

if TYPE_CHECKING:
    from ..pipeline.events import Subscriber
    from ..pipeline.options import ScoreJob
    from ..pipeline.reporting.trace import Trace
    from ..pipeline.running.execute import Engine
    from ..schemas.job import JobFile
    from .terminal.logs import EventLog
    from .terminal.metrics import MetricsFile


@click.command(context_settings={"show_default": True})
@flags(*(option.name for option in OPTIONS))
@job_option("Read options from a file; the command line and the environment take precedence.")
@click.pass_obj
def score(collector: "MetricsFile | None", /, job: "JobFile | None", **options: Any) -> int:
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
    from ..pipeline.reporting.report import ReportWriter
    from ..pipeline.running.run import run
    from .terminal.logs import EventLog, configure, shows_json
    from .terminal.progress import Progress, tune_process
    from .terminal.tables import answer, nothing_to_do, stage_table, where

    options["run_id"] = options["run_id"] or uuid.uuid4().hex[:12]
    log = EventLog(configure(options["log_format"], options["log_level"], options["run_id"]))
    progress = Progress(log, bar=options["progress"])
    collectors = [] if collector is None else [collector]
    subscribers: list[Subscriber] = [log, tune_process, progress, ReportWriter(log), *collectors]
    try:
        refuse_misspelt_variables()
        _fill_in_dates(options)
        given = score_job(options, dialect_of(job))
        if collector is not None:
            collector.refuse_other_file(given.output)
        trace = _trace(options, given.engine, log)
        if trace is not None:
            trace.prepare(given.output)
            subscribers.append(trace)
        timed = None if trace is None else trace.record
        if given.shard is not None:
            manifest = score_shard(given, subscribers, recorder=timed)
        else:
            manifest = run(given, subscribers, None if timed else _engine(given), recorder=timed)
    finally:
        progress.close()
    if not shows_json():
        answer(stage_table(manifest) if manifest.run_id == options["run_id"] else nothing_to_do(manifest))
        answer(where(manifest, options["output"]))
    return 0


def _fill_in_dates(options: dict[str, Any]) -> None:
    """Replace `{run_date}` in paths and constants. Raises UsageError if there is no date."""
    resolve_run_date(options)
    date = options["run_date"]
    for option in OPTIONS:
        if option.path and options[option.name] is not None:
            options[option.name] = dated(options[option.name], date, option.flag)
    options["constant"] = tuple((name, dated(text, date, "--constant")) for name, text in options["constant"])


def _trace(options: dict[str, Any], engine: str, log: "EventLog") -> "Trace | None":
    """The trace that --trace asks for. Raises UsageError for an engine whose work it would lack."""
    if options["trace"] is None:
        return None
    if engine not in ("auto", "local"):
        raise UsageError(f"--trace records one process, not the workers of --engine {engine}; leave it out")
    from ..pipeline.reporting.trace import Trace

    return Trace(Path(options["trace"]), log)


def _engine(job: "ScoreJob") -> "Engine | None":
    """What scores the splits of a job; None: this process."""
    if job.engine == "local":
        return None
    if job.engine == "ray":
        from ..pipeline.engines.ray_engine import RayEngine

        return RayEngine()
    if job.engine == "auto":
        from ..pipeline.engines.auto import AutoEngine

        return AutoEngine()
    from ..pipeline.engines.processes import ProcessEngine

    return ProcessEngine()

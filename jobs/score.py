"""`scoreline score`: options → one call into the pipeline → exit code."""

import uuid
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.options import ColumnOptions, CsvDialect, RejectBudget, ScoreJob
from .terminal.job_file import dialect_of, explain_of, job_option
from .terminal.options import Day, Keys, Rejects, RowCount, Share, Size, Thresholds, dated, flag

if TYPE_CHECKING:
    from ..schemas.job import JobFile


@click.command(context_settings={"show_default": True})
@flag("--bundle", required=True, metavar="DIR", help="The trained model, as save_bundle wrote it.")
@flag("--input", required=True, metavar="PATH", help="A file, a directory or a glob; may hold {run_date}.")
@flag("--output", required=True, metavar="DIR", help="Where the predictions go; may hold {run_date}.")
@flag(
    "--keys",
    type=Keys(),
    metavar="a,b|all|none",
    default="all",
    help="Columns to carry through: all that are no feature, or some. Names are taken as they are, spaces included; one"
    " that holds a comma goes into a job file's list.",
)
@flag("--format", type=click.Choice(["auto", "parquet", "csv"]), default="auto", help="What the input files are.")
@flag(
    "--batch-size",
    type=RowCount(),
    metavar="auto|64k",
    default="auto",
    help="Rows of one forward pass, as in 5000 or 64k.",
)
@flag(
    "--split-rows",
    type=RowCount(),
    metavar="auto|1M",
    default="auto",
    help="Rows scored and published as one: what an interrupted run has to do again.",
)
@flag("--memory", type=Size(), metavar="2G", help="Bounds the rows in flight, keys included.")
@flag("--device", default="auto", metavar="auto|cpu|cuda|cuda:1", help="Where the model runs.")
@flag(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
    default="fp32",
    help="Of the model: half precision pays on GPUs; int8 takes a quarter of the weights' memory.",
)
@flag(
    "--compile/--no-compile",
    default=False,
    help="Let torch.compile have the model: needs a compiler and half a minute, and pays on long runs.",
)
@flag("--deterministic/--no-deterministic", default=False, help="Refuse kernels whose last bits vary.")
@flag("--dedupe/--no-dedupe", default=False, help="Score feature rows that repeat within a split once.")
@flag("--max-rejects", type=Rejects(), metavar="100|1%", default="0", help="Rows that may be rejected: 100, or 1%.")
@flag(
    "--probabilities",
    type=click.Choice(["columns", "list", "none"]),
    default="columns",
    help="One column per class, one list column, or the label alone.",
)
@flag("--top-k", type=click.IntRange(min=1), metavar="K", help="Also write the K likeliest labels of each row.")
@flag(
    "--threshold",
    type=Thresholds(),
    multiple=True,
    metavar="[NAME=]0.3",
    help="Predict a label above this probability, or one label or head by its name; may be repeated. Of several heads"
    " a label is named as HEAD.LABEL; quotes tell names apart: '\"a.b\"=0.3', 'a.\"b\"=0.3'.  [default: the bundle's]",
)
@flag(
    "--hidden",
    multiple=True,
    metavar="LAYER",
    help="Also write what this layer gives; may be repeated. scoreline layers lists them.",
)
@flag(
    "--explain",
    type=click.Choice(["integrated-gradients", "shapley", "lime", "occlusion"]),
    help="Also write what each feature adds to the score, beside a row that is the middle of the golden ones.",
)
@flag("--explain-rows", type=Share(), metavar="all|1%", default="all", help="The rows to explain.")
@flag(
    "--explain-target",
    metavar="[HEAD.]LABEL",
    help="The class, or the target of a regression, whose score is explained; named, and quoted, as for --threshold."
    "  [default: the predicted one]",
)
@flag("--prefix", default="", metavar="P_", help="Put in front of every output column.")
@flag(
    "--trust",
    multiple=True,
    metavar="DIGEST",
    help="The digest of a bundle that may execute the code it holds.",
)
@flag("--force/--no-force", default=False, help="Score everything anew, whatever stands already.")
@flag("--prune/--no-prune", default=False, help="Remove parts whose input is not among this run's.")
@flag(
    "--moved-input/--no-moved-input",
    default=False,
    help="The output's parts are of this input, which stood at another place: keep those that are up to date.",
)
@job_option("Flags from a file; the command line and the environment win.")
@flag("--run-date", type=Day(), help="Fills {run_date} in paths.")
@flag("--run-id", metavar="ID", help="Names the run in its log and manifest.  [default: made up]")
@flag("--log-format", type=click.Choice(["auto", "text", "json"]), default="auto", help="auto: JSON off a terminal.")
@flag("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="What to log.")
@flag("--progress/--no-progress", default=None, help="Draw a progress bar.  [default: on a terminal]")
def score(job: "JobFile | None", run_date: str | None, run_id: str | None, **options: Any) -> int:
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

    run_id = run_id or uuid.uuid4().hex[:12]
    log = EventLog(configure(options["log_format"], options["log_level"]).bind(run_id=run_id))
    progress = Progress(log, bar=options["progress"])
    try:
        manifest = run(_score_job(run_id, run_date, dialect_of(job), **options), [log, tune_process, progress])
    finally:
        progress.close()
    if not shows_json():
        answer(stage_table(manifest) if manifest.run_id == run_id else nothing_to_do(manifest))
    return 0


def _score_job(run_id: str, run_date: str | None, csv: CsvDialect, **options: Any) -> ScoreJob:
    keys, budget = options["keys"], options["max_rejects"]
    assert isinstance(budget, RejectBudget)
    return ScoreJob(
        bundle=options["bundle"],
        input=dated(options["input"], run_date, "--input"),
        output=dated(options["output"], run_date, "--output"),
        run_id=run_id,
        format=options["format"],
        columns=ColumnOptions(
            keys=None if keys == "all" else keys,
            prefix=options["prefix"],
            probabilities=options["probabilities"],
            top_k=options["top_k"],
            hidden=tuple(options["hidden"]),
            thresholds=tuple(options["threshold"]),
            explain=explain_of(options["explain"], options["explain_rows"], options["explain_target"]),
        ),
        csv=csv,
        batch_rows=None if options["batch_size"] == "auto" else options["batch_size"],
        memory_bytes=options["memory"],
        split_rows=None if options["split_rows"] == "auto" else options["split_rows"],
        device=options["device"],
        precision=options["precision"],
        compile=options["compile"],
        deterministic=options["deterministic"],
        dedupe=options["dedupe"],
        max_rejects=budget,
        trust=tuple(options["trust"]),
        force=options["force"],
        prune=options["prune"],
        moved_input=options["moved_input"],
    )

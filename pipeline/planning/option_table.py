"""The options of `scoreline score`, each defined once.

This table defines the flag, the environment variable, the value in the `ScoreJob`, the record in run.json, the entry
in the fingerprint, and docs/reference/options.md. The line in the job file is in `schemas/job.py`; a test compares
them.
To add an option, add a row here, in `run_options.py` if it is about what scores, or in `command_options.py` if it is
about the command; the field that it sets in `pipeline/options.py`; and its line in the job file.

Imports neither torch nor click, so that planning and `--help` can read it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from ..errors import UsageError
from ..inputs.formats import FORMATS
from ..options import (
    ColumnOptions,
    CsvDialect,
    Explain,
    ExplainMethod,
    Precision,
    Probabilities,
    ScoreJob,
)
from . import option_values as values
from .command_options import COMMAND_OPTIONS
from .option import Option
from .run_options import RUN_OPTIONS


def _on(field: str) -> Callable[[ScoreJob], str]:
    return lambda job: "on" if getattr(job, field) else "off"


OPTIONS = (
    Option(
        name="bundle",
        group="Paths",
        help="Directory of the trained model, as save_bundle wrote it, or its URI.",
        metavar="DIR",
        required=True,
        path=True,
        effect="rescored",
    ),
    Option(
        name="input",
        group="Paths",
        help="A file, directory or glob, its URI, or a table (delta+PATH, iceberg+NAME); may contain {run_date}.",
        metavar="PATH",
        required=True,
        path=True,
        effect="rescored",
    ),
    Option(
        name="output",
        group="Paths",
        help="Directory for the predictions, or its URI; may contain {run_date}.",
        metavar="DIR",
        required=True,
        path=True,
    ),
    Option(
        name="format",
        group="Paths",
        help="Format of the input files.",
        choices=("auto", *FORMATS),
        default="auto",
        recorded=lambda job: job.format,
    ),
    Option(
        name="keys",
        group="Columns",
        help="Columns to carry through unchanged: all that are not features, or a list of exact names, spaces included."
        " Names that contain a comma can only be listed in a job file.",
        metavar="a,b|all|none",
        parse=values.keys,
        default="all",
        part="columns",
        effect="rescored",
        mark=lambda job: None if job.columns.keys is None else json.dumps(job.columns.keys),
        recorded=lambda job: "all" if job.columns.keys is None else ",".join(job.columns.keys) or "none",
    ),
    Option(
        name="prefix",
        group="Columns",
        help="Put this in front of every output column.",
        metavar="P_",
        default="",
        part="columns",
        effect="rescored",
        mark=lambda job: job.columns.prefix or None,
        recorded=lambda job: job.columns.prefix,
    ),
    Option(
        name="probabilities",
        group="Columns",
        help="Write one column per class, one list column, or the label alone.",
        choices=get_args(Probabilities),
        default="columns",
        part="columns",
        effect="rescored",
        mark=lambda job: None if job.columns.probabilities == "columns" else job.columns.probabilities,
        recorded=lambda job: job.columns.probabilities,
    ),
    Option(
        name="top_k",
        group="Columns",
        help="Also write the K likeliest labels of each row.",
        metavar="K",
        parse=values.positive,
        number=True,
        part="columns",
        effect="rescored",
        mark=lambda job: None if job.columns.top_k is None else str(job.columns.top_k),
        recorded=lambda job: job.columns.top_k,
    ),
    Option(
        name="hidden",
        group="Columns",
        help="Also write the output of this layer; may be repeated. scoreline layers lists them.",
        metavar="LAYER",
        multiple=True,
        part="columns",
        effect="rescored",
        recorded=lambda job: ",".join(job.columns.hidden) or None,
    ),
    Option(
        name="explain",
        group="Columns",
        help="Also write what each feature adds to the score, compared with the median of the golden rows.",
        choices=get_args(ExplainMethod),
        part="explain",
        effect="rescored",
    ),
    Option(
        name="explain_rows",
        group="Columns",
        help="Explain all rows, or a share of them.",
        metavar="all|1%",
        parse=values.share,
        default="all",
        part="explain",
        effect="rescored",
    ),
    Option(
        name="explain_target",
        group="Columns",
        help="Explain the score of this class, or of this target of a regression; named and quoted as for --threshold.",
        metavar="[HEAD.]LABEL",
        shown_default="the predicted one",
        part="explain",
        effect="rescored",
    ),
    Option(
        name="threshold",
        group="Columns",
        help="Predict labels whose probability is above this, or flag numbers above it; NAME= limits it to one label or"
        " head; may be repeated."
        " With several heads, a label is HEAD.LABEL; quote ambiguous names: '\"a.b\"=0.3', 'a.\"b\"=0.3'.",
        metavar="[NAME=]0.3",
        parse=values.threshold,
        multiple=True,
        shown_default="the bundle's",
        part="columns",
        field="thresholds",
        effect="rescored",
        mark=lambda job: json.dumps(job.columns.thresholds) if job.columns.thresholds else None,
        recorded=lambda job: ",".join(f"{name}={value!r}" for name, value in job.columns.thresholds) or None,
    ),
    Option(
        name="constant",
        group="Columns",
        help="Also write a column with this text in every row; may contain {run_date} and {bundle_digest}; may be"
        " repeated.",
        metavar="NAME=TEXT",
        parse=values.constant,
        multiple=True,
        part="columns",
        field="constants",
        effect="rescored",
        recorded=lambda job: json.dumps(dict(job.columns.constants)) if job.columns.constants else None,
    ),
    Option(
        name="device",
        group="Computing",
        help="Device for the model; cuda is every GPU of the machine, cuda:1 one of them.",
        metavar="auto|cpu|cuda|cuda:1",
        needs_text=True,
        default="auto",
        effect="last bits",
    ),
    Option(
        name="precision",
        group="Computing",
        help="Precision of the model: tf32 (GPUs only), bf16 and fp16 are faster on GPUs; int8 quarters the memory"
        " for weights.",
        choices=get_args(Precision),
        default="fp32",
        effect="rescored",
        mark=lambda job: None if job.precision == "fp32" else job.precision,
        recorded=lambda job: job.precision,
    ),
    Option(
        name="compile",
        group="Computing",
        help="Compile the model with torch.compile: needs a compiler and half a minute; worthwhile for long runs.",
        switch=True,
        default=False,
        effect="rescored",
        mark=lambda job: "on" if job.compile else None,
        recorded=_on("compile"),
    ),
    Option(
        name="deterministic",
        group="Computing",
        help="Refuse kernels whose results vary in the last bits.",
        switch=True,
        default=False,
        effect="last bits",
        recorded=_on("deterministic"),
    ),
    Option(
        name="dedupe",
        group="Computing",
        help="Score rows with equal features only once in each split.",
        switch=True,
        default=False,
        effect="last bits",
        recorded=_on("dedupe"),
    ),
    Option(
        name="batch_size",
        group="Computing",
        help="Rows of one forward pass, as in 5000 or 64k.",
        metavar="auto|64k",
        parse=values.row_count,
        number=True,
        default="auto",
        field="batch_rows",
        effect="last bits",
    ),
    Option(
        name="split_rows",
        group="Computing",
        help="Rows to score and publish as a unit (a split); an interrupted run repeats only unfinished ones.",
        metavar="auto|1M",
        parse=values.row_count,
        number=True,
        default="auto",
        effect="rescored",
    ),
    Option(
        name="memory",
        group="Computing",
        help="Limit the bytes of the rows in flight, keys included, and separately those of open readers.",
        metavar="2G",
        parse=values.size,
        number=True,
        field="memory_bytes",
    ),
    Option(
        name="max_rejects",
        group="Safety",
        help="Allow this many rejected rows: 100, or 1%.",
        metavar="100|1%",
        parse=values.reject_budget,
        default="0",
        recorded=lambda job: str(job.max_rejects),
    ),
    Option(
        name="max_drift",
        group="Safety",
        help="Fail, after publishing every part, if a feature or prediction has drifted further than this PSI from the"
        " bundle's reference in any file.",
        metavar="0.25",
        parse=values.drift_limit,
        shown_default="any drift is only reported",
        recorded=lambda job: None if job.max_drift is None else f"{job.max_drift:g}",
    ),
    Option(
        name="trust",
        group="Safety",
        help="Digest of a bundle that may execute the code it contains; may be repeated.",
        metavar="DIGEST",
        parse=values.digest,
        multiple=True,
    ),
    Option(
        name="force",
        group="Safety",
        help="Rescore everything, ignoring existing output.",
        switch=True,
        default=False,
    ),
    Option(
        name="prune",
        group="Safety",
        help="Remove parts whose input is not among this run's.",
        switch=True,
        default=False,
    ),
    Option(
        name="moved_input",
        group="Safety",
        help="Accept that the input has moved since its parts were made: keep those that are up to date.",
        switch=True,
        default=False,
    ),
    Option(
        name="profile",
        group="Run",
        help="Count sampled rows by value, to detect drift.",
        switch=True,
        default=True,
        recorded=_on("profile"),
    ),
    *RUN_OPTIONS,
    *COMMAND_OPTIONS,
)


def find_option(name: str) -> Option:
    """The option of this name."""
    (found,) = (option for option in OPTIONS if option.name == name)
    return found


def score_job(given: Mapping[str, Any], csv: CsvDialect) -> ScoreJob:
    """The job for typed values.

    Args:
        given: by name, the value of every option that is not only for the command.

    Raises:
        UsageError: the options conflict.
    """
    of = {part: {one.target: given[one.name] for one in OPTIONS if one.part == part} for part in ("job", "columns")}
    explain = _explain(given["explain"], given["explain_rows"], given["explain_target"])
    return ScoreJob(columns=ColumnOptions(explain=explain, **of["columns"]), csv=csv, **of["job"])


def _explain(method: ExplainMethod | None, share: Any, target: str | None) -> Explain | None:
    if method is not None:
        return Explain(method=method, share=share, target=target or "")
    if share != 1 or target is not None:
        raise UsageError("--explain-rows and --explain-target need --explain; pass --explain shapley")
    return None

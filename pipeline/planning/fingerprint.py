"""What a part was made of: the options and identities whose change means other values."""

import json
from collections.abc import Callable
from dataclasses import asdict

from ...schemas.run import Fingerprint
from ..options import CsvDialect, Explain, ScoreJob
from ..records import Partition
from .option_table import OPTIONS


def options_of(job: ScoreJob, partition: Partition) -> dict[str, str]:
    """The options that change values. One that is off is left out, so that a new option makes no part out of date."""
    marks = ((one.target, one.mark or STAGE_MARKS.get(one.target)) for one in OPTIONS)
    given = {name: mark(job) for name, mark in marks if mark is not None}
    given["csv"] = dialect_option(job.csv) if partition.format == "csv" else None
    return {name: value for name, value in given.items() if value is not None}


def hidden_mark(job: ScoreJob) -> str | None:
    """The hidden layers that are written."""
    return json.dumps(job.columns.hidden) if job.columns.hidden else None


def explain_mark(job: ScoreJob) -> str | None:
    """How rows are explained."""
    return explain_option(job.columns.explain)


#: Entries of the options of optional stages.
STAGE_MARKS: dict[str, Callable[[ScoreJob], str | None]] = {"hidden": hidden_mark, "explain": explain_mark}


def explain_option(explain: Explain | None) -> str | None:
    """How rows are explained, in words that a fingerprint and run.json contain."""
    if explain is None:
        return None
    share = [] if explain.share == 1 else [f"{explain.share} of rows"]
    return " ".join([explain.method, *share, *([f"for {explain.target}"] if explain.target else [])])


def dialect_option(dialect: CsvDialect) -> str | None:
    """What differs from the default dialect, as JSON; `dialect_of` reads it back."""
    usual = asdict(CsvDialect())
    said = {name: value for name, value in asdict(dialect).items() if value != usual[name]}
    return json.dumps(said, sort_keys=True) if said else None


def dialect_of(mark: Fingerprint) -> CsvDialect:
    """The dialect that a part's input was read with."""
    return CsvDialect.of(json.loads(mark.options.get("csv", "{}")))


def recorded_options(job: ScoreJob) -> dict[str, str | int | None]:
    """The options as run.json records them."""
    given = {option.target: option.recorded(job) for option in OPTIONS if option.recorded is not None}
    return {**given, "seed": job.seed, "explain": explain_option(job.columns.explain), "csv": dialect_option(job.csv)}


def fingerprint(partition: Partition, first_row: int, bundle: str, job: ScoreJob) -> Fingerprint:
    """What the part is made of that holds the rows of a partition from `first_row` on."""
    return Fingerprint(
        source=partition.name,
        size=partition.size,
        mtime_ns=partition.mtime_ns,
        first_row=first_row,
        bundle=bundle,
        options=options_of(job, partition),
    )

"""What a part was made of: the options and identities whose change means other values."""

import json
from dataclasses import asdict

from ...schemas.run import Fingerprint
from ..bundle import stages
from ..bundle.explain import explain_option
from ..inputs.formats import FORMATS
from ..options import CsvDialect, ScoreJob
from ..records import Partition
from .option_table import OPTIONS


def options_of(job: ScoreJob, partition: Partition) -> dict[str, str]:
    """The options that change values. One that is off is left out, so that a new option makes no part out of date."""
    given = {one.target: one.mark(job) for one in OPTIONS if one.mark is not None}
    given |= {stage.name: stage.option(job) for stage in stages.OPTIONAL}
    given["csv"] = dialect_option(job.csv) if FORMATS[partition.format].has_dialect else None
    return {name: value for name, value in given.items() if value is not None}


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
    return {**given, "seed": job.seed, "explain": explain_option(job), "csv": dialect_option(job.csv)}


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

"""What a part was made of: the options and identities whose change means other values."""

import json
from dataclasses import asdict, replace
from typing import Any

from ...schemas.run import Fingerprint
from ..bundle import stages
from ..options import CsvDialect, ScoreJob
from ..records import Partition


def options_of(job: ScoreJob, partition: Partition) -> dict[str, str]:
    """The options that change values, those that are off left out, so that a new one voids nothing."""
    columns = job.columns
    given = {
        "keys": None if columns.keys is None else json.dumps(columns.keys),
        "prefix": columns.prefix or None,
        "probabilities": None if columns.probabilities == "columns" else columns.probabilities,
        "top_k": None if columns.top_k is None else str(columns.top_k),
        "thresholds": json.dumps(columns.thresholds) if columns.thresholds else None,
        "precision": None if job.precision == "fp32" else job.precision,
        "compile": "on" if job.compile else None,
        "csv": dialect_option(job.csv) if partition.format == "csv" else None,
        **{stage.name: stage.option(job) for stage in stages.OPTIONAL},
    }
    return {name: value for name, value in given.items() if value is not None}


def dialect_option(dialect: CsvDialect) -> str | None:
    """What a dialect says beyond the default, as it stands in a fingerprint; `dialect_of` reads it back."""
    usual = asdict(CsvDialect())
    said = {name: value for name, value in asdict(dialect).items() if value != usual[name]}
    return json.dumps(said, sort_keys=True) if said else None


def dialect_of(mark: Fingerprint) -> CsvDialect:
    """The dialect that a part's input was read with."""
    said: dict[str, Any] = json.loads(mark.options.get("csv", "{}"))
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return replace(CsvDialect(), **{**said, **lists})


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

"""The fingerprint of a part: the options and identities that determine its values."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

from ...schemas.run import Fingerprint
from ..bundle import stages
from ..bundle.explain import explain_option
from ..inputs.formats import FORMATS
from ..options import CsvDialect, ScoreJob
from ..records import Partition
from .option_table import OPTIONS

#: Of a bundle without such stages.
NO_ENGINES: Mapping[str, str] = MappingProxyType({})


def options_of(job: ScoreJob, file_format: str) -> dict[str, str]:
    """The options that affect values. Options that are off are left out, so a new option makes no part out of date."""
    given = {one.target: one.mark(job) for one in OPTIONS if one.mark is not None}
    given |= {stage.name: stage.option(job) for stage in stages.OPTIONAL}
    given["csv"] = dialect_option(job.csv) if FORMATS[file_format].has_dialect else None
    return {name: value for name, value in given.items() if value is not None}


def dialect_option(dialect: CsvDialect) -> str | None:
    """The fields that differ from the default dialect, as JSON, which `dialect_of` reads; None where none differs."""
    defaults = asdict(CsvDialect())
    changed = {name: value for name, value in asdict(dialect).items() if value != defaults[name]}
    return json.dumps(changed, sort_keys=True) if changed else None


def dialect_of(mark: Fingerprint) -> CsvDialect:
    """The dialect with which a part's input was read."""
    return CsvDialect.of(json.loads(mark.options.get("csv", "{}")))


def recorded_options(job: ScoreJob) -> dict[str, str | int | None]:
    """The options as run.json records them."""
    given = {option.target: option.recorded(job) for option in OPTIONS if option.recorded is not None}
    return {**given, "seed": job.seed, "explain": explain_option(job), "csv": dialect_option(job.csv)}


class Fingerprints:
    """The fingerprints of a run's parts. The options of a format are determined once, not for each of its files.

    Args:
        bundle: its digest.
        engines: what computes the values of its optional stages, by stage.
    """

    def __init__(self, bundle: str, job: ScoreJob, engines: Mapping[str, str] = NO_ENGINES) -> None:
        self._bundle, self._job, self._engines = bundle, job, engines
        self._options: dict[str, dict[str, str]] = {}

    def of(self, partition: Partition, first_row: int) -> Fingerprint:
        """The fingerprint of the part with the rows of a partition from `first_row` on."""
        if (options := self._options.get(partition.format)) is None:
            options = self._options[partition.format] = {**options_of(self._job, partition.format), **self._engines}
        return Fingerprint(
            source=partition.name,
            size=partition.size,
            mtime_ns=partition.mtime_ns,
            etag=partition.etag,
            first_row=first_row,
            bundle=self._bundle,
            options=options,
        )

"""Option types and the flag decorator: every flag also has an environment variable, `SCORELINE_<FLAG>`, and a
line in the job file. The command line wins, then the environment, then the file.
"""

import re
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pipeline.bundle.targets import parse_target
from ...pipeline.errors import JobFileError, UsageError, one_line
from ...pipeline.records import ColumnOptions, CsvDialect, Explain, RejectBudget, ScoreJob
from ...pipeline.toml import read_toml

if TYPE_CHECKING:
    from ...schemas.job import JobFile

_SIZES = {"": 1, "k": 1_000, "m": 1_000_000}
_MOST_ROWS = 1_000_000_000
_MOST_BYTES = 1_000_000_000_000_000
#: Longer numbers are refused as they stand: Python does not convert more than 4,300 digits.
_MOST_DIGITS = 18
_PERCENT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?%")
_PATHS = ("bundle", "input", "output")


def flag(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """`click.option` with the environment variable that every flag has."""
    variable = "SCORELINE_" + name.lstrip("-").split("/")[0].replace("-", "_").upper()
    return click.option(name, envvar=variable, **attributes)


def job_option(help: str) -> Callable[[Any], Any]:
    """`--job FILE.toml`, whose lines become the defaults of the other flags."""
    return click.option(
        "--job", envvar="SCORELINE_JOB", metavar="FILE.toml", is_eager=True, callback=read_job_file, help=help
    )


def _counted(digits: str, unit: int) -> int:
    """The number; one of too many digits is as good as the largest that is read."""
    return int(digits.lstrip("0")[: _MOST_DIGITS + 1] or "0") * unit


def _shortened(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 24 else text[:24] + "…")


class RowCount(click.ParamType[Any]):
    """`auto`, a number, or a number with k (thousand) or M (million)."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "auto":
            return value
        match = re.fullmatch(r"([0-9]+)([kKmM]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a number of rows; use auto, 5000, 64k or 1M", param, ctx)
        rows = _counted(match[1], _SIZES[match[2].lower()])
        if not 1 <= rows <= _MOST_ROWS:
            self.fail(f"{_shortened(value)} is outside the range 1 to {_MOST_ROWS:,} rows", param, ctx)
        return rows


class Size(click.ParamType[Any]):
    """Bytes, with k, M or G (powers of 1,000)."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        match = re.fullmatch(r"([0-9]+)([kKmMgG]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a number of bytes; use 500M or 2G", param, ctx)
        size = _counted(match[1], {**_SIZES, "g": 1_000_000_000}[match[2].lower()])
        if not 1 <= size <= _MOST_BYTES:
            self.fail(f"{_shortened(value)} is outside the range 1 to {_MOST_BYTES:,} bytes", param, ctx)
        return size


class Rejects(click.ParamType[Any]):
    """How many rows may be rejected: a count, or a percentage of all rows."""

    name = "count|percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, RejectBudget):
            return value
        text = str(value).strip()
        if re.fullmatch(r"[0-9]+", text):
            if (count := _counted(text, 1)) >= 10**_MOST_DIGITS:
                self.fail(f"{_shortened(value)} has more than {_MOST_DIGITS} digits; use 100% to allow any", param, ctx)
            return RejectBudget(count=count)
        if not _PERCENT.fullmatch(text) or float(text[:-1]) > 100:
            self.fail(f"{_shortened(value)} is neither a count (100) nor a percentage (1%)", param, ctx)
        return RejectBudget(count=None, share=Fraction(text[:-1]) / 100)


class Share(click.ParamType[Any]):
    """`all`, or a percentage of the rows."""

    name = "all|percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Fraction):
            return value
        text = "100%" if str(value).strip() == "all" else str(value).strip()
        if not _PERCENT.fullmatch(text) or not 0 < Fraction(text[:-1]) <= 100:
            self.fail(f"{_shortened(value)} is neither all nor a percentage above 0 (1%)", param, ctx)
        return Fraction(text[:-1]) / 100


class Keys(click.ParamType[Any]):
    """`all`, `none`, or names separated by commas, each as it is, spaces included; a list in a job file, where a name
    may hold a comma."""

    name = "a,b|all|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple) or value == "all":
            return value
        names = tuple(value) if isinstance(value, list) else () if value == "none" else tuple(str(value).split(","))
        if "" in names or len(set(names)) < len(names):
            self.fail(f"{value!r} holds an empty name or one twice", param, ctx)
        return names


class Thresholds(click.ParamType[Any]):
    """`0.3`, or `NAME=0.3` for a label or a head, whose parts may be in quotes; several in a list."""

    name = "[NAME=]0.3"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, mark, number = str(value).rpartition("=")
        try:
            threshold = float(number)
        except ValueError:
            threshold = -1.0
        if not 0 <= threshold <= 1 or (mark and not name.strip()):
            self.fail(f"{value!r} is no probability (0.3), nor one for a label or head (NAME=0.3)", param, ctx)
        try:
            parse_target(name.strip())
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return name.strip(), threshold


class Day(click.ParamType[Any]):
    """A date as YYYY-MM-DD, kept as text."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value)):
                raise ValueError(value)
            return date.fromisoformat(str(value)).isoformat()
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no date; say YYYY-MM-DD", ctx, param) from error


#: Flags whose values are more than text.
_KINDS: dict[str, click.ParamType[Any]] = {
    "batch_size": RowCount(),
    "split_rows": RowCount(),
    "memory": Size(),
    "max_rejects": Rejects(),
    "keys": Keys(),
    "explain_rows": Share(),
}


def thresholds(said: Any) -> tuple[tuple[str, float], ...]:
    """What a job file says: a number, `NAME=0.3`, or a list of them."""
    listed = said if isinstance(said, list) else [] if said is None else [said]
    return tuple(Thresholds().convert(one, None, None) for one in listed)


def read_job_file(ctx: click.Context, param: click.Parameter, value: str | None) -> "JobFile | None":  # noqa: ARG001
    """The callback of `--job`: what stands in the file becomes the default of the flags, and what is no flag is handed
    to the command.

    Raises:
        JobFileError: no such file, no TOML, or a line that is no flag; names it.
    """
    if value is None:
        return None
    from pydantic import ValidationError  # only a run with a job file pays for it

    from ...pipeline.bundle.bundle import first_problem
    from ...schemas.job import JobFile

    path = Path(value)
    try:
        job = JobFile.model_validate(read_toml(path))
    except OSError as error:
        raise JobFileError(f"job file {value!r} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise JobFileError(f"job file {value!r}: {_job_problem(error.errors()[0]) or first_problem(error)}") from error
    except ValueError as error:
        raise JobFileError(f"job file {value!r} is not TOML: {one_line(error)}") from error
    given = {name: setting for name, setting in job.model_dump(exclude={"csv"}).items() if setting is not None}
    for name, setting in given.items():
        if any("\0" in str(one) for one in (setting if isinstance(setting, list) else [setting])):
            raise JobFileError(f"job file {value!r}: {name}: {setting!r} holds a NUL byte, which no path or name can")
    for name, kind in _KINDS.items():
        try:
            if name in given:
                kind.convert(given[name], None, None)
        except click.BadParameter as error:
            raise JobFileError(f"job file {value!r}: {name}: {error.message}") from error
    try:
        given |= {"threshold": list(thresholds(job.threshold))} if job.threshold is not None else {}
    except click.BadParameter as error:
        raise JobFileError(f"job file {value!r}: threshold: {error.message}") from error
    for name in _PATHS:
        if name in given and "://" not in given[name]:
            given[name] = str(path.parent / given[name])
    ctx.default_map = {**(ctx.default_map or {}), **given}
    return job


def job_of(job: "JobFile | None") -> ScoreJob:
    """What a job file says of the work itself; its paths are the command's own."""

    def said(name: str, usual: str) -> Any:
        value = None if job is None else getattr(job, name)
        converted = _KINDS[name].convert(usual if value is None else value, None, None)
        return None if converted in ("all", "auto") else converted

    return ScoreJob(
        bundle="",
        input="",
        output="",
        run_id="",
        columns=ColumnOptions(
            keys=said("keys", "all"),
            prefix=(job and job.prefix) or "",
            probabilities=(job and job.probabilities) or "columns",
            top_k=job.top_k if job else None,
            hidden=tuple((job and job.hidden) or ()),
            thresholds=thresholds(job.threshold if job else None),
            explain=explain_of(
                job.explain if job else None, said("explain_rows", "all"), job.explain_target if job else None
            ),
        ),
        csv=dialect_of(job),
        batch_rows=said("batch_size", "auto"),
        split_rows=said("split_rows", "auto"),
        precision=(job and job.precision) or "fp32",
        compile=bool(job and job.compile),
        deterministic=bool(job and job.deterministic),
        dedupe=bool(job and job.dedupe),
        max_rejects=said("max_rejects", "0"),
    )


def explain_of(method: Any, share: Any, target: str | float | None) -> Explain | None:
    """What `--explain`, `--explain-rows` and `--explain-target` say together."""
    if method is None:
        if share not in (None, 1) or target is not None:
            raise UsageError("--explain-rows and --explain-target go with --explain; say how: --explain shapley")
        return None
    return Explain(
        method=method, share=Fraction(1) if share is None else share, target="" if target is None else str(target)
    )


def dialect_of(job: "JobFile | None") -> CsvDialect:
    """The `[csv]` of a job file, or the usual one."""
    if job is None or job.csv is None:
        return CsvDialect()
    said = job.csv
    return CsvDialect(
        delimiter=said.delimiter,
        quote=said.quote,
        escape=said.escape,
        decimal=said.decimal,
        encoding=said.encoding,
        nulls=tuple(said.nulls),
        columns=None if said.columns is None else tuple(said.columns),
    )


def _job_problem(problem: Any) -> str | None:
    """What is wrong with a line, in words, with the flag it may have meant."""
    *section, name = (str(part) for part in problem["loc"])
    if problem["type"] == "string_pattern_mismatch" and section:
        return f"{'.'.join([*section, name])}: {problem['input']!r} is not one ASCII character"
    if problem["type"] != "extra_forbidden":
        return None
    from ...schemas.job import CsvSection, JobFile

    known = CsvSection.model_fields if section else JobFile.model_fields
    close = get_close_matches(name.replace("-", "_"), known, n=1)
    meant = f"; write {close[0]}" if close else ""
    return f"{name!r} is no {'setting of [csv]' if section else 'flag of scoreline score'}{meant}"


def dated(path: str, run_date: str | None, option: str) -> str:
    """A path with `{run_date}` filled in. Raises UsageError where it is asked for and no date is given."""
    if "{run_date}" not in path:
        return path
    if run_date is None:
        raise UsageError(f"{option} {path!r} holds {{run_date}}; add --run-date YYYY-MM-DD")
    return path.replace("{run_date}", run_date)

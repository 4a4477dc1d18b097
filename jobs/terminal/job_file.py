"""A job file and the flags beside it → one `ScoreJob`, with typed errors that name the field."""

from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pipeline.errors import JobFileError, UsageError, one_line
from ...pipeline.inputs.formats import FORMATS
from ...pipeline.options import ColumnOptions, CsvDialect, Explain, ScoreJob
from ...pipeline.storage.toml import read_toml
from .options import Keys, Rejects, RowCount, Share, Size, Thresholds

if TYPE_CHECKING:
    from ...schemas.job import JobFile


_PATHS = ("bundle", "input", "output")
#: Flags whose values are more than text.
_KINDS: dict[str, click.ParamType[Any]] = {
    "batch_size": RowCount(),
    "split_rows": RowCount(),
    "memory": Size(),
    "max_rejects": Rejects(),
    "keys": Keys(),
    "explain_rows": Share(),
    "format": click.Choice(["auto", *FORMATS]),
}


def job_option(help: str) -> Callable[[Any], Any]:
    """`--job FILE.toml`, whose lines become the defaults of the other flags."""
    return click.option(
        "--job", envvar="SCORELINE_JOB", metavar="FILE.toml", is_eager=True, callback=read_job_file, help=help
    )


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

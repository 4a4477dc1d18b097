"""A job file: its settings become the defaults of the flags, or a `ScoreJob` for commands without those flags. Errors
name the file and the setting.
"""

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pipeline.errors import JobFileError, one_line
from ...pipeline.options import CsvDialect, ScoreJob
from ...pipeline.planning.option_table import OPTIONS, find_option, score_job
from ...pipeline.storage.toml import read_toml
from .paths import PathText

if TYPE_CHECKING:
    from ...schemas.job import JobFile


def job_option(help: str) -> Callable[[Any], Any]:
    """The flag `--job FILE.toml`, whose settings become the defaults of the other flags."""
    return click.option(
        "--job",
        envvar="SCORELINE_JOB",
        type=PathText(),
        metavar="FILE.toml",
        is_eager=True,
        callback=read_job_file,
        help=help,
    )


def read_job_file(ctx: click.Context, param: click.Parameter, value: str | None) -> "JobFile | None":  # noqa: ARG001
    """The callback of `--job`: makes the settings of the file the defaults of the flags, and passes it to the command.

    Raises:
        JobFileError: the file does not exist or is not TOML, or contains an unknown option or an invalid value.
    """
    if value is None:
        return None
    from pydantic import ValidationError  # only for a run with a job file

    from ...schemas.job import JobFile

    path = Path(value)
    try:
        job = JobFile.model_validate(read_toml(path))
    except OSError as error:
        raise JobFileError(f"job file {value!r} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise JobFileError(f"job file {value!r}: {_job_problem(error.errors()[0])}") from error
    except ValueError as error:
        raise JobFileError(f"job file {value!r} is not TOML: {one_line(error)}") from error
    given = _settings(job)
    for name, setting in given.items():
        option, listed = find_option(name), setting if isinstance(setting, list) else [setting]
        if any("\0" in str(one) for one in listed):
            raise JobFileError(
                f"job file {value!r}: {name}: {setting!r} contains a NUL byte, which no path or name can contain"
            )
        if setting == "" and (option.path or option.needs_text):
            raise JobFileError(f"job file {value!r}: {name}: is empty; give it a value, or remove the line")
        try:
            option.value(setting)
        except ValueError as error:
            raise JobFileError(f"job file {value!r}: {name}: {error}") from error
        if option.multiple:
            given[name] = listed
        elif option.path and "://" not in setting:
            given[name] = str(path.parent / setting)
    for name, text in ({} if job.storage is None else job.storage.variables()).items():
        os.environ.setdefault(name, text)  # also for the processes of an engine
    ctx.default_map = {**(ctx.default_map or {}), **given}
    return job


def job_of(job: "JobFile | None") -> ScoreJob:
    """The job that a job file describes, without its paths and run id."""
    given = {} if job is None else _settings(job)
    own = dict.fromkeys(("bundle", "input", "output", "run_id"), "")
    return score_job({one.name: one.value(given.get(one.name)) for one in OPTIONS} | own, dialect_of(job))


def dialect_of(job: "JobFile | None") -> CsvDialect:
    """The `[csv]` section of a job file, or the default dialect."""
    return CsvDialect() if job is None or job.csv is None else CsvDialect.of(job.csv.model_dump())


def _settings(job: "JobFile") -> dict[str, Any]:
    """The options that a job file sets, by name, with the values of the file."""
    return {
        name: setting for name, setting in job.model_dump(exclude={"csv", "storage"}).items() if setting is not None
    }


def _job_problem(problem: Any) -> str:
    """What is wrong with a setting: its name, the value and the rule; the closest name for one that is unknown."""
    from ...schemas.base import Schema
    from ...schemas.job import CsvSection, JobFile, StorageSection

    sections: dict[str, type[Schema]] = {"csv": CsvSection, "storage": StorageSection}
    known = {*JobFile.model_fields, *CsvSection.model_fields, *StorageSection.model_fields}
    path, value = [str(part) for part in problem["loc"]], problem["input"]
    if problem["type"] == "extra_forbidden":
        *section, name = path
        names = sections[section[0]].model_fields if section else JobFile.model_fields
        close = get_close_matches(name.replace("-", "_").lower(), names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if section == ["storage"] and any(word in name.lower() for word in ("key", "secret", "sas", "session_token")):
            hint = "; secrets are passed in the environment"
        return f"{name!r} is not {f'a setting of [{section[0]}]' if section else 'an option of scoreline score'}{hint}"
    setting = ".".join(part for part in path if part in known)  # pydantic also names the alternatives of a union
    match problem["type"]:
        case "string_pattern_mismatch" | "string_too_long" | "string_too_short" if setting.startswith("csv"):
            return f"{setting}: {value!r} is not a single ASCII character"
        case "string_pattern_mismatch" if setting.startswith("storage"):
            return f"{setting}: {value!r} contains a NUL byte"
        case "string_pattern_mismatch":
            return f"{setting}: {value!r} is not a digest; use sha256:… as scoreline check prints it"
        case "value_error":
            got = f"{value!r} " if isinstance(value, str) else ""
            return f"{setting}: {got}{problem['ctx']['error']}"
        case "literal_error":
            return f"{setting}: {value!r} is not one of {problem['ctx']['expected']}"
        case "tuple_type" | "list_type":
            return f"{setting}: {value!r} is not a list; write [{value!r}]"
        case "bool_type":
            return f"{setting}: {value!r} is neither true nor false"
        case "greater_than_equal":
            return f"{setting}: {value!r} is too small; the limit is {problem['ctx']['ge']}"
        case kind if kind.startswith("date"):
            return f"{setting}: {value!r} is not a date; use 2026-11-24"
    return f"{setting}: {value!r} is not a valid value"

"""Flags of the option table. Each also has an environment variable, `SCORELINE_<FLAG>`, and a setting in the job file.
The command line takes precedence, then the environment, then the file.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pipeline.errors import UsageError
from ...pipeline.planning.option import Option
from ...pipeline.planning.option_table import OPTIONS, find_option
from ...pipeline.planning.option_values import RUN_DATE
from ...pipeline.planning.run_dates import date_now, resolved_date
from .paths import PathText

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: How alike a name in the environment and that of an option are, from 0 to 1, where the one was meant for the other;
#: `SCORELINE_PORT`, which Kubernetes sets in the pods beside a service, is 0.6 times like `SCORELINE_FORMAT`.
MISSPELT = 0.85


class Parsed(click.ParamType[Any]):
    """A value parsed from text by a function; its ValueError becomes a usage error."""

    def __init__(self, parse: Callable[[Any], Any], name: str, *, path: bool = False) -> None:
        self._parse, self.name, self._path = parse, name, path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The typed value."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """Paths, if the value is one."""
        return PathText().shell_complete(ctx, param, incomplete) if self._path else []

    def split_envvar_value(self, rv: str) -> list[str]:
        """The values of a repeatable option in its environment variable, one per line: labels contain spaces."""
        return [line for line in rv.replace("\r\n", "\n").split("\n") if line.strip()]


def picture_option(help: str) -> Callable[[Any], Any]:
    """`--picture`, of commands that draw."""
    return click.option("--picture", type=Parsed(_svg_path, "picture", path=True), metavar="FILE.svg", help=help)


def _svg_path(text: str) -> str:
    if Path(text).suffix.lower() not in ("", ".svg"):
        raise ValueError(f"{text!r} does not end in .svg; pictures are written as SVG")
    return text


def flag(name: str, **changes: Any) -> Callable[[Any], Any]:
    """The flag of an option.

    Args:
        name: its name in the option table.
        changes: fields that differ for this command: `help`, `required`, `shown_default`.
    """
    option = replace(find_option(name), **changes)
    attributes: dict[str, Any] = {} if option.default is None and not option.switch else {"default": option.default}
    if not option.switch:
        parsed = Parsed(option.parse, option.name, path=option.path)
        attributes["type"] = click.Choice(option.choices) if option.choices else parsed
    return click.option(
        option.flag,
        envvar=option.variable,
        metavar=option.metavar or None,
        multiple=option.multiple,
        required=option.required,
        help=_help(option),
        **attributes,
    )


def _help(option: Option) -> str:
    return f"{option.help}  [default: {option.shown_default}]" if option.shown_default else option.help


def flags(*names: str) -> Callable[[Any], Any]:
    """The flags of several options, in this order."""

    def decorate(command: Any) -> Any:
        for name in reversed(names):
            command = flag(name)(command)
        return command

    return decorate


def refuse_misspelt_variables() -> None:
    """Raise UsageError for a variable whose name is almost that of an option: like a misspelt setting of a job file, it
    would have no effect, and nobody would notice. Other variables that begin with SCORELINE_ are the user's own."""
    names = [option.name.upper() for option in OPTIONS] + ["JOB"]
    for variable in os.environ:
        name = variable.removeprefix("SCORELINE_")
        if name == variable or name in names:
            continue
        if close := get_close_matches(name.upper(), names, n=1, cutoff=MISSPELT):
            raise UsageError(
                f"the environment variable {variable} has no effect; use SCORELINE_{close[0]}, or remove it"
            )


def resolve_run_date(options: dict[str, Any]) -> None:
    """Replace a relative `run_date` among the options by the date that it means now, in their `time_zone`. Called once
    for each command, so that all paths have the same date."""
    if options["run_date"] is not None:
        today = date_now(options["time_zone"])
        options["run_date"] = resolved_date(options["run_date"], today).isoformat()


def dated(path: str, run_date: str | None, option: str) -> str:
    """A path, or the text of a constant, with `{run_date}` replaced. Raises UsageError if it contains `{run_date}` and
    `run_date` is None."""
    if RUN_DATE not in path:
        return path
    if run_date is None:
        raise UsageError(f"{option} {path!r} contains {RUN_DATE}; add --run-date YYYY-MM-DD or yesterday")
    return path.replace(RUN_DATE, run_date)

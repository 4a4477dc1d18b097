"""Option types and the flag decorator: every flag also has an environment variable, `SCORELINE_<FLAG>`, and a
line in the job file. The command line wins, then the environment, then the file.
"""

import re
from collections.abc import Callable
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from ...pipeline.bundle.targets import parse_target
from ...pipeline.errors import UsageError
from ...pipeline.options import RejectBudget

if TYPE_CHECKING:
    pass

_SIZES = {"": 1, "k": 1_000, "m": 1_000_000}
_MOST_ROWS = 1_000_000_000
_MOST_BYTES = 1_000_000_000_000_000
#: Longer numbers are refused as they stand: Python does not convert more than 4,300 digits.
_MOST_DIGITS = 18
_PERCENT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?%")


def flag(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """`click.option` with the environment variable that every flag has."""
    variable = "SCORELINE_" + name.lstrip("-").split("/")[0].replace("-", "_").upper()
    return click.option(name, envvar=variable, **attributes)


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


def dated(path: str, run_date: str | None, option: str) -> str:
    """A path with `{run_date}` filled in. Raises UsageError where it is asked for and no date is given."""
    if "{run_date}" not in path:
        return path
    if run_date is None:
        raise UsageError(f"{option} {path!r} holds {{run_date}}; add --run-date YYYY-MM-DD")
    return path.replace("{run_date}", run_date)

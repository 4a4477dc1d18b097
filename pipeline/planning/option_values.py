"""Converts values of options to typed values. Each function takes text, or a value from the TOML of a job file, and
raises ValueError, which names the value, the rule and valid values. Imports neither torch nor click.
"""

import math
import os
import re
from fractions import Fraction
from typing import Any

from ..bundle.targets import parse_target
from ..digests import is_digest
from ..errors import UsageError
from ..options import RejectBudget, Shard
from .shard import parse_shard

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
MAX_ROWS = 1_000_000_000
MAX_BYTES = 1_000_000_000_000_000
#: Longer numbers are refused without converting them: Python does not convert more than 4,300 digits.
MAX_DIGITS = 18
#: Replaced by the date of the run in paths, and in the text of a constant, which may also contain the other.
RUN_DATE = "{run_date}"
PLACEHOLDERS = (RUN_DATE, "{bundle_digest}")
_PERCENT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?%")


def text(value: Any) -> str:
    """The value as it is."""
    return str(value)


def metrics_file(value: Any) -> str:
    """A path that is the same for every run."""
    if RUN_DATE in (path := str(value)):
        raise ValueError(
            f"{path!r} contains {RUN_DATE}, but the file keeps the time of the last success over failures; give it the"
            " same name every day"
        )
    return path


def digest(value: Any) -> str:
    """The digest of a bundle."""
    if not is_digest(str(value)):
        raise ValueError(f"{_shortened(value)} is not a digest; use sha256:… as scoreline check prints it")
    return str(value)


def positive(value: Any) -> int:
    """An integer of at least 1."""
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", str(value).strip()) or int(value) < 1:
        raise ValueError(f"{_shortened(value)} is not a valid integer; use 1 or more")
    return int(value)


def shard(value: Any) -> Shard:
    """The shard that a process is."""
    return parse_shard(str(value), os.environ)


def row_count(value: Any) -> int | None:
    """A number of rows, optionally with k (thousand) or M (million); None for `auto`."""
    if str(value) == "auto":
        return None
    match = re.fullmatch(r"([0-9]+)([kKmM]?)", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a number of rows; use auto, 5000, 64k or 1M")
    rows = _counted(match[1], _UNITS[match[2].lower()])
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"{_shortened(value)} is outside the range 1 to {MAX_ROWS:,} rows")
    return rows


def size(value: Any) -> int:
    """A number of bytes, optionally with k, M or G (powers of 1,000)."""
    match = re.fullmatch(r"([0-9]+)([kKmMgG]?)", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a number of bytes; use 500M or 2G")
    count = _counted(match[1], _UNITS[match[2].lower()])
    if not 1 <= count <= MAX_BYTES:
        raise ValueError(f"{_shortened(value)} is outside the range 1 to {MAX_BYTES:,} bytes")
    return count


def reject_budget(value: Any) -> RejectBudget:
    """A count of rows, or a percentage of all rows."""
    written = str(value).strip()
    if re.fullmatch(r"[0-9]+", written):
        if (count := _counted(written, 1)) >= 10**MAX_DIGITS:
            raise ValueError(f"{_shortened(value)} has more than {MAX_DIGITS} digits; use 100% to allow any")
        return RejectBudget(count=count)
    if not _PERCENT.fullmatch(written) or float(written[:-1]) > 100:
        raise ValueError(f"{_shortened(value)} is neither a count (100) nor a percentage (1%)")
    return RejectBudget(count=None, share=Fraction(written[:-1]) / 100)


def drift_limit(value: Any) -> float:
    """A population stability index, above 0."""
    try:
        found = float(str(value).strip())
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ValueError(f"{_shortened(value)} is not a PSI; use a number above 0, such as 0.25")
    return found


def share(value: Any) -> Fraction:
    """A percentage of the rows, above 0, as a fraction; 1 for `all`."""
    written = "100%" if str(value).strip() == "all" else str(value).strip()
    if not _PERCENT.fullmatch(written) or not 0 < Fraction(written[:-1]) <= 100:
        raise ValueError(f"{_shortened(value)} is neither all nor a percentage above 0 (1%)")
    return Fraction(written[:-1]) / 100


def keys(value: Any) -> tuple[str, ...] | None:
    """Names separated by commas, including any spaces, or a list, in which a name may contain a comma; empty for
    `none`, None for `all`."""
    if value == "all":
        return None
    names = tuple(value) if isinstance(value, list) else () if value == "none" else tuple(str(value).split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"{value!r} contains an empty name, or a name twice")
    return names


def threshold(value: Any) -> tuple[str, float]:
    """A number, or `NAME=0.3` for a label or a head, whose parts may be quoted. Returns the name, which may be empty,
    and the number: a probability for labels."""
    name, mark, number = str(value).rpartition("=")
    try:
        found = float(number)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or (mark and not name.strip()):
        raise ValueError(f"{value!r} is not a number (0.3), nor one of a label or head (NAME=0.3)")
    try:
        parse_target(name.strip())
    except UsageError as error:
        raise ValueError(str(error)) from error
    return name.strip(), found


def constant(value: Any) -> tuple[str, str]:
    """`NAME=TEXT`, where the text may contain `{run_date}` and `{bundle_digest}`. Returns the name and the text."""
    name, mark, text_value = str(value).partition("=")
    if not name or not mark:
        raise ValueError(f"{_shortened(value)} is not a column and its text; use NAME=TEXT, as in model_version=7")
    for placeholder in re.findall(r"\{\w+\}", text_value):
        if placeholder not in PLACEHOLDERS:
            raise ValueError(f"{value!r} contains {placeholder}; use {' or '.join(PLACEHOLDERS)}, or other brackets")
    return name, text_value


def _counted(digits: str, unit: int) -> int:
    """The number times its unit; digits after the first `MAX_DIGITS + 1` are ignored, since it is too large anyway."""
    return int(digits.lstrip("0")[: MAX_DIGITS + 1] or "0") * unit


def _shortened(value: Any) -> str:
    written = str(value)
    return repr(written if len(written) <= 24 else written[:24] + "…")

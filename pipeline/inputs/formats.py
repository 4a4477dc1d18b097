"""The formats of input files by name. To add a format, write its class and list it here."""

from __future__ import annotations

from ..errors import DataError
from .csv import Csv
from .format import Format
from .parquet import Parquet

FORMATS: dict[str, Format] = {one.name: one for one in (Parquet(), Csv())}


def recorded_format(name: str) -> Format:
    """The format that run.json names for an input. Raises DataError for one that this version does not know."""
    if name not in FORMATS:
        raise DataError(f"run.json names the format {name!r}, which is not one of {', '.join(FORMATS)}")
    return FORMATS[name]


def format_by_suffix(name: str) -> Format | None:
    """The format with a suffix that matches a file name; None if there is none."""
    return next((one for one in FORMATS.values() if name.lower().endswith(one.suffixes)), None)

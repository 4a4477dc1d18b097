"""The formats of input files by name. To add one, write its class and enter it here."""

from __future__ import annotations

from .csv import Csv
from .format import Format
from .parquet import Parquet

FORMATS: dict[str, Format] = {one.name: one for one in (Parquet(), Csv())}


def format_by_suffix(name: str) -> Format | None:
    """The format of a file by the end of its name; None where that tells nothing."""
    return next((one for one in FORMATS.values() if name.lower().endswith(one.suffixes)), None)

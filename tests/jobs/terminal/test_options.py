"""Counts and sizes as flags: what is taken, and what is refused with the rule that it breaks."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from scoreline.pipeline.planning.option_values import row_count, share, size

from conftest import Result

Command = Callable[..., Result]
LONG = "9" * 5000


@pytest.mark.parametrize(
    ("parse", "value", "wanted"),
    [
        (row_count, "1000000000", 10**9),
        (row_count, "1000M", 10**9),
        (row_count, "000064k", 64_000),
        (row_count, 1_000_000_000, 10**9),
        (size, "1000000000000000", 10**15),
        (size, "1000000G", 10**15),
        (share, "0.5%", Fraction(1, 200)),
    ],
)
def test_taken(parse: Callable[[object], object], value: object, wanted: object) -> None:
    """Up to the largest, however it is written."""
    assert parse(value) == wanted


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        *((flag, value, "outside the range 1 to 1,000,000,000 rows")
          for flag in ("--batch-size", "--split-rows") for value in ("0", "1000000001", "1001M", LONG)),
        ("--batch-size", "1e9", "not a number of rows; use auto, 5000, 64k or 1M"),
        ("--memory", "0", "outside the range 1 to 1,000,000,000,000,000 bytes"),
        ("--memory", LONG + "G", "outside the range 1 to 1,000,000,000,000,000 bytes"),
        ("--memory", "2T", "not a number of bytes; use 500M or 2G"),
        ("--max-rejects", LONG, "more than 18 digits; use 100% to allow any"),
        ("--max-rejects", LONG + "%", "neither a count (100) nor a percentage (1%)"),
        ("--max-rejects", f"0.{LONG}%", "neither a count (100) nor a percentage (1%)"),
        ("--explain-rows", LONG + "%", "neither all nor a percentage above 0 (1%)"),
        ("--top-k", LONG, "not a valid integer"),
    ],
)  # fmt: skip
def test_refused(scoreline: Command, flag: str, value: str, says: str) -> None:
    """The message names the largest, and is one line however long the value."""
    result = scoreline("score", "--bundle", "b", "--input", "i", "--output", "o", flag, value)
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert says in result.err.replace("\n", " ")
    assert flag == "--top-k" or len(result.err) < 500

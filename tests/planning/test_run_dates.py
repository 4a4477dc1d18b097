"""Dates relative to today, as pandas computes them; time zones."""

from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.planning.run_dates import WEEKDAYS, date_now, resolved_date, run_date, time_zone

DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@given(today=DAYS, days=st.integers(0, 9999))
def test_relative_dates(today: date, days: int) -> None:
    """Days ago, the last business day, and the last Monday …, today included."""
    stamp = pd.Timestamp(today)
    assert resolved_date("today", today) == today
    assert resolved_date("yesterday", today) == today - timedelta(days=1)
    assert resolved_date(f"-{days}", today) == today - timedelta(days=days)
    assert resolved_date("weekday", today) == (stamp - pd.offsets.BDay(1)).date()
    for number, name in enumerate(WEEKDAYS):
        found = resolved_date(name, today)
        assert found.weekday() == number
        assert timedelta(0) <= today - found < timedelta(days=7)
    assert resolved_date("2026-11-24", today) == date(2026, 11, 24)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("2028-02-29", "2028-02-29"), (date(2026, 11, 24), "2026-11-24"), (-2, "-2"), (" Yesterday", "yesterday"),
     ("weekday", "weekday"), ("Friday", "friday")],
)  # fmt: skip
def test_values(given: object, wanted: str) -> None:
    """From the command line and from TOML."""
    assert run_date(given) == wanted


@pytest.mark.parametrize("given", ["2027-02-29", "24.11.2026", "tomorrow", "2", "-", "-12345", "2026-11-24T00:00", ""])
def test_refused_values(given: str) -> None:
    """The message lists the forms."""
    with pytest.raises(ValueError, match="is not a date; use YYYY-MM-DD, today, yesterday, -2"):
        run_date(given)


def test_time_zones() -> None:
    """Today differs between them; unknown ones are refused."""
    assert time_zone("Europe/Berlin") == "Europe/Berlin"
    for bad in ("Mars/Olympus", "", "/etc/passwd", "../x", "a\0b"):
        with pytest.raises(ValueError, match="is not a time zone"):
            time_zone(bad)
    east, west = date_now("Pacific/Kiritimati"), date_now("Pacific/Pago_Pago")  # 25 hours apart
    assert east - west in (timedelta(days=1), timedelta(days=2))
    assert date_now(None) in (west, west + timedelta(days=1), east)

"""Dates relative to today, as pandas computes them; time zones."""

import time
import zoneinfo
from datetime import UTC, date, datetime, timedelta

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


def test_a_machine_without_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a small container: UTC needs no data, and for others, what to install is named."""
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    monkeypatch.setattr(zoneinfo, "ZoneInfo", _unknown)
    assert time_zone("UTC") == "UTC"
    assert date_now("UTC") == datetime.now(UTC).date()
    with pytest.raises(ValueError, match="no time zone is known here but UTC; install the package tzdata"):
        time_zone("Europe/Berlin")


def _unknown(key: str) -> None:
    raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")


@pytest.mark.parametrize("zone", ["XYZ-99", "<+30>-30", ":/etc/passwd", ""])
def test_odd_zones_of_the_machine(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """The date is that of the C library, whatever it makes of them."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert abs(date_now(None) - datetime.now(UTC).date()) <= timedelta(days=5)
    finally:
        monkeypatch.undo()
        time.tzset()

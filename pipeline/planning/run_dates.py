"""The date of a run, given as a date or relative to today. Imports neither torch nor click."""

import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

UTC_NAME = "UTC"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FORMS = "use YYYY-MM-DD, today, yesterday, -2 (days ago), weekday (the last Monday to Friday before today) or monday"


def run_date(value: Any) -> str:
    """A date as YYYY-MM-DD, or a valid word for one, in lower case. Raises ValueError for anything else."""
    word = str(value).strip().lower()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", word):
            return date.fromisoformat(word).isoformat()
    except ValueError as error:  # such as June 31
        raise ValueError(f"{value!r} is not a date; {_FORMS}") from error
    if word not in ("today", "yesterday", "weekday", *WEEKDAYS) and not re.fullmatch(r"-\d{1,4}", word):
        raise ValueError(f"{value!r} is not a date; {_FORMS}")
    return word


def time_zone(value: Any) -> str:
    """The name of a time zone, such as Europe/Berlin. Raises ValueError if it is unknown."""
    from zoneinfo import ZoneInfo, available_timezones  # only where a zone is named

    if str(value).upper() == UTC_NAME:
        return str(value)
    try:
        ZoneInfo(str(value))
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError with a message of its own
        raise ValueError(f"{value!r} is not a time zone; use a name such as Europe/Berlin or UTC") from error
    except KeyError as error:
        if not available_timezones():
            raise ValueError(f"{value!r}: no time zone is known here but UTC; install the package tzdata") from error
        raise ValueError(f"{value!r} is not a time zone known here; use a name such as Europe/Berlin or UTC") from error
    return str(value)


def resolved_date(word: str, today: date) -> date:
    """The date that a value of `run_date` means.

    Args:
        today: the date on which the run starts.
    """
    if word in WEEKDAYS:  # today or before
        return today - timedelta(days=(today.weekday() - WEEKDAYS.index(word)) % 7)
    if word == "weekday":
        return today - timedelta(days={0: 3, 6: 2}.get(today.weekday(), 1))
    if word in ("today", "yesterday"):
        return today - timedelta(days=word == "yesterday")
    return today + timedelta(days=int(word)) if word.startswith("-") else date.fromisoformat(word)


def date_now(zone: str | None) -> date:
    """Today's date in a time zone; None: that of the machine."""
    if zone is None:
        return date(*time.localtime()[:3])
    if zone.upper() == UTC_NAME:
        return datetime.now(UTC).date()
    from zoneinfo import ZoneInfo

    return datetime.now(ZoneInfo(zone)).date()

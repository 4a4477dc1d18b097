"""Writes `_scoreline/report.html`: when a run ends, as a subscriber, or again at any time. Its content depends only on
the other files of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ..errors import one_line
from ..events import Event, Level
from ..outputs.store import REPORT
from ..outputs.stores import open_store
from ..running.events import RunRecorded


class ReportNotWritten(Event):
    """The report could not be written; the output is not affected."""

    name: ClassVar[str] = "report_not_written"
    level: ClassVar[Level] = "warning"
    reason: str


class ReportWriter:
    """Writes the report of a run at its end, also of one that failed; a run with nothing to do leaves it unchanged.

    Args:
        report: receives an event if the report cannot be written.
    """

    def __init__(self, report: Callable[[Event], object]) -> None:
        self._report = report

    def __call__(self, event: Event) -> None:
        """Write the report once what it describes is on disk."""
        if isinstance(event, RunRecorded):
            try:
                write_report(event.output)
            except Exception as error:  # whatever is wrong with a page, it must not fail a run that has done its work
                self._report(ReportNotWritten(reason=one_line(error)))


def write_report(output: str) -> str:
    """Write the report of an output.

    Returns:
        Its path, or its URI.

    Raises:
        NoInputError: the folder is not an output of Scoreline, or its history cannot be read.
        StorageError: the report cannot be written.
    """
    from .build import make_page  # here, so that no command pays for the page but those that write it
    from .html import render
    from .run_facts import read_facts

    html = render(make_page(read_facts(output)))
    store = open_store(output)
    store.write(REPORT, html.encode("utf-8", "replace"))
    return str(store.path(REPORT))

"""Logging to stderr: text on a terminal, one JSON object per line elsewhere. Records of other libraries go through the
same formatter.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import structlog

from ...pipeline.errors import printable
from ...pipeline.events import Event, Level
from .sentences import SENTENCES

LogFormat = Literal["auto", "text", "json"]
#: Fields too long for the text format; the table at the end shows the same.
_NOT_FOR_TEXT = ("stages",)
#: Those of several lines, which structlog formats itself.
_OF_SEVERAL_LINES = ("traceback", "exception", "stack")


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to stderr without breaking a progress bar."""

    def __init__(self, *, json: bool) -> None:
        super().__init__(sys.stderr)
        self.json = json

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)

    def write(self, line: str) -> None:
        """Write a finished line. Events come this way: a run of many small files writes one for each, and a record of
        `logging` takes five times as long."""
        from tqdm import tqdm

        with self.lock or nullcontext(), tqdm.external_write_mode(file=sys.stderr):
            try:
                self.stream.write(line + self.terminator)
                self.flush()
            except Exception:  # as `emit`: a broken stream does not end the run
                self.handleError(logging.makeLogRecord({"msg": line}))


class _Lines:
    """What structlog writes to: a method for each level."""

    def __init__(self, handler: _StderrHandler) -> None:
        self.debug = self.info = self.warning = self.error = self.msg = handler.write


def configure(log_format: LogFormat, level: str, run_id: str | None = None) -> structlog.typing.FilteringBoundLogger:
    """Set up logging for this process and return the logger for events. All lines have the run id, if there is one."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    ascii_only = (sys.stderr.encoding or "").lower().replace("-", "") != "utf8"  # else Python would write \xf6, no JSON
    renderer: list[Any] = [_in_order, structlog.processors.JSONRenderer(ensure_ascii=ascii_only)]
    if not as_json:
        renderer = [_readable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="ts")]
    handler = _StderrHandler(json=as_json)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # for other libraries
    logging.captureWarnings(True)
    logging.getLogger("scoreline").setLevel(level.upper())
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(handler),
    )
    structlog.contextvars.clear_contextvars()
    if run_id is not None:
        structlog.contextvars.bind_contextvars(run_id=run_id)
    return _logger()


def _logger() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()
    return logger


class EventLog:
    """Writes each event as a log line: its name, level and fields.

    Args:
        logger: the logger that `configure` returns.
    """

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, event: Event) -> None:
        """Write the line, if its level is shown."""
        getattr(self._logger, event.level)(event.name, **event.data())


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandFailed(Event):
    """The command ends with an error; the last line of its log."""

    name: ClassVar[str] = "command_failed"
    level: ClassVar[Level] = "error"
    message: str
    exit_code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InternalError(Event):
    """An error that Scoreline did not raise on purpose; please report it."""

    name: ClassVar[str] = "internal_error"
    level: ClassVar[Level] = "error"
    traceback: str


def log_failure(message: str, exit_code: int) -> None:
    """Write the last line of a command that has failed."""
    EventLog(_logger())(CommandFailed(message=message, exit_code=exit_code))


def log_internal_error(traceback: str) -> None:
    """Write a line with the traceback of an internal error."""
    EventLog(_logger())(InternalError(traceback=traceback))


def close() -> None:
    """Remove the handler and the run id; the next command in this process sets up its own."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _StderrHandler)]
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()


def is_configured() -> bool:
    """Whether `configure` has set up the log of the current command."""
    return any(isinstance(handler, _StderrHandler) for handler in logging.getLogger().handlers)


def shows_json() -> bool:
    """Whether the log on stderr is JSON."""
    return any(isinstance(handler, _StderrHandler) and handler.json for handler in logging.getLogger().handlers)


def _in_order(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put the fields that every line has first, which makes raw lines easier to read."""
    first = [name for name in ("ts", "level", "event", "run_id") if name in event]
    return {name: event[name] for name in [*first, *(name for name in event if name not in first)]}


def _readable(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """The line for people: a sentence where there is one, otherwise the fields that are not too long. Names of files
    may hold line ends and codes for terminals."""
    if (sentence := SENTENCES.get(event["event"])) is not None:
        return {"ts": event["ts"], "level": event["level"], "event": printable(sentence(event))}
    return {
        name: printable(value) if isinstance(value, str) and name not in _OF_SEVERAL_LINES else value
        for name, value in event.items()
        if name not in _NOT_FOR_TEXT
    }

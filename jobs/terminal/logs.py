"""Logging to stderr: text on a terminal, one JSON object per line elsewhere. Records of other libraries go through the
same formatter.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import structlog

from ...pipeline.events import Event, Level

LogFormat = Literal["auto", "text", "json"]
#: Fields too long for the text format; the table at the end shows the same.
_NOT_FOR_TEXT = ("stages",)


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to stderr without breaking a progress bar."""

    def __init__(self, *, json: bool, run_id: str | None) -> None:
        super().__init__(sys.stderr)
        self.json, self.run_id = json, run_id

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


def configure(log_format: LogFormat, level: str, run_id: str | None = None) -> structlog.stdlib.BoundLogger:
    """Set up logging for this process and return the logger for events, bound to the run id, if there is one."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    renderer: list[Any] = [_in_order, structlog.processors.JSONRenderer(ensure_ascii=False)]
    if not as_json:
        renderer = [_shorten, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="ts")]
    handler = _StderrHandler(json=as_json, run_id=run_id)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # for other libraries
    logging.getLogger("scoreline").setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("scoreline")
    return logger if run_id is None else logger.bind(run_id=run_id)


class EventLog:
    """Writes each event as a log line: its name, level and fields.

    Args:
        logger: the logger that `configure` returns, optionally bound to a run id.
    """

    def __init__(self, logger: structlog.stdlib.BoundLogger) -> None:
        self._logger = logger

    def __call__(self, event: Event) -> None:
        """Write the line, if its level is shown."""
        level = logging.getLevelNamesMapping()[event.level.upper()]
        if logging.getLogger("scoreline").isEnabledFor(level):
            self._logger.log(level, event.name, **event.data())


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandFailed(Event):
    """The command ends with an error; the last line of its log."""

    name: ClassVar[str] = "command_failed"
    level: ClassVar[Level] = "error"
    message: str
    exit_code: int


def log_failure(message: str, exit_code: int) -> None:
    """Write the last line of a command that has failed."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("scoreline")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _StderrHandler) and handler.run_id is not None:
            logger = logger.bind(run_id=handler.run_id)
    EventLog(logger)(CommandFailed(message=message, exit_code=exit_code))


def close() -> None:
    """Remove the handler; the next command in this process sets up its own."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _StderrHandler)]


def shows_json() -> bool:
    """Whether the log on stderr is JSON."""
    return any(isinstance(handler, _StderrHandler) and handler.json for handler in logging.getLogger().handlers)


def _in_order(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put the fields that every line has first, which makes raw lines easier to read."""
    first = [name for name in ("ts", "level", "event", "run_id") if name in event]
    return {name: event[name] for name in [*first, *(name for name in event if name not in first)]}


def _shorten(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in _NOT_FOR_TEXT}

"""Log lines on stderr: text on a terminal, one JSON object a line elsewhere. Lines of other libraries go through
the same formatter.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import structlog

from ...pipeline.events import Event, Level

LogFormat = Literal["auto", "text", "json"]
#: Too long for a line that people read; the table at the end shows the same.
_NOT_FOR_TEXT = ("stages",)


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes beside a progress bar without tearing it."""

    def __init__(self, *, json: bool) -> None:
        super().__init__(sys.stderr)
        self.json = json

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # drawn by the same process, so it knows whether a bar is there

        with tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


def configure(log_format: LogFormat, level: str) -> structlog.stdlib.BoundLogger:
    """Set up logging for this process and hand back the logger that events go to."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    renderer: list[Any] = [_in_order, structlog.processors.JSONRenderer(ensure_ascii=False)]
    if not as_json:
        renderer = [_shorten, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="ts")]
    handler = _StderrHandler(json=as_json)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # of other libraries only what matters
    logging.getLogger("scoreline").setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("scoreline")
    return logger


class EventLog:
    """Writes each event as a log line: its name, its level, its fields.

    Args:
        logger: as `configure` returns it, perhaps bound to the id of a run.
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
    EventLog(structlog.stdlib.get_logger("scoreline"))(CommandFailed(message=message, exit_code=exit_code))


def close() -> None:
    """Take our handler away again: another command in this process sets up its own."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _StderrHandler)]


def shows_json() -> bool:
    """Whether stderr carries JSON lines at the moment."""
    return any(isinstance(handler, _StderrHandler) and handler.json for handler in logging.getLogger().handlers)


def _in_order(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """The fields that every line has come first, so that raw lines can be read."""
    first = [name for name in ("ts", "level", "event", "run_id") if name in event]
    return {name: event[name] for name in [*first, *(name for name in event if name not in first)]}


def _shorten(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in _NOT_FOR_TEXT}

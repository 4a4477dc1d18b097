"""Reports the failure of a command on stderr: as text, or as JSON lines if the log is JSON. The log and structlog are
imported only for JSON, so that `--help` stays light.
"""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ...pipeline.errors import one_line, printable
from .arguments import requested

#: Where the log format can be chosen before a command has set up its log.
FLAG, VARIABLE = "--log-format", "SCORELINE_LOG_FORMAT"
_LOGS = f"{__package__}.logs"


def report(message: str, exit_code: int, args: Sequence[str]) -> None:
    """Report why a command fails, in one line.

    Args:
        args: the arguments of the command.
    """
    if (log := _json_log(args)) is not None:
        log.log_failure(message, exit_code)
    else:
        click.echo(f"scoreline: {printable(message)}", err=True)


def report_click(error: click.ClickException, args: Sequence[str]) -> None:
    """Report invalid arguments: as text, with the usage of the command."""
    if _json_log(args) is None:
        error.show()
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        report("the command is missing; run scoreline --help for a list", error.exit_code, args)
    else:
        report(one_line(ValueError(error.format_message())), error.exit_code, args)


def report_internal(error: Exception, args: Sequence[str]) -> None:
    """Report an error that Scoreline did not raise on purpose, with its traceback."""
    if (log := _json_log(args)) is not None:
        log.log_internal_error("".join(traceback.format_exception(error)))
    else:
        traceback.print_exception(error)
    report("internal error in scoreline; please report it with the traceback above", 1, args)


def close() -> None:
    """Close the log of the command, if there is one."""
    if (log := sys.modules.get(_LOGS)) is not None:
        log.close()


def _json_log(args: Sequence[str]) -> Any:
    """The module of the log if failures are reported as JSON, otherwise None. Before a command has set up its log, the
    format is that of the arguments or the environment."""
    log = sys.modules.get(_LOGS)
    if log is not None and log.is_configured():
        return log if log.shows_json() else None
    if requested(args, FLAG, VARIABLE) != "json":
        return None
    log = import_module(_LOGS)
    log.configure("json", "info")
    return log

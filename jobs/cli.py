"""The Click group, and the only place where errors become exit codes and messages.

Commands are imported when they are called, so that `scoreline --help` imports neither torch nor pandas nor Arrow.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import InterruptedRunError, ResourceError, ScorelineError, StorageError, UsageError, not_utf8
from .terminal import failures, signals
from .terminal.process import leave, tune
from .terminal.streams import lost

if TYPE_CHECKING:
    from .terminal.metrics import MetricsFile

COMMANDS = {
    "score": "Score Parquet or CSV files with a bundle.",
    "finish": "Complete an output whose shards have been scored.",
    "commit": "Make the finished parts of an output a version of a Delta or Iceberg table.",
    "pack": "Make a bundle from files saved at training time.",
    "check": "Verify a bundle and preview its predictions for an input.",
    "verify": "Verify an output: every row accounted for, every checksum correct.",
    "report": "Write the report of an output again, and print its path.",
    "runs": "List the runs of outputs.",
    "rejects": "Show the rejected rows of an output, and why.",
    "evaluate": "Evaluate predictions against the true labels: accuracy, AUC, errors.",
    "diff": "Compare the predictions of two outputs.",
    "importance": "List the most important features of an output with attributions.",
    "calibrate": "Calibrate a bundle's probabilities on labelled rows.",
    "layers": "List the layers of a bundle's model with their output shapes.",
    "bench": "Measure every stage and compare the run with this machine's limit.",
    "demo": "Train, save and score real data, in seconds.",
}


#: In the environment of the script that a shell calls to complete a line; click then answers and ends the process.
COMPLETION = "_SCORELINE_COMPLETE"


class _Commands(click.Group):
    """Lists the commands without importing them; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"..{cmd_name}", __name__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scoreline", prog_name="scoreline")
def cli() -> None:
    """Score large Parquet and CSV files with trained PyTorch models.

    \b
    Start with:
      scoreline demo
      scoreline check --bundle bundles/wine
      scoreline score --bundle bundles/wine --input data/ --output scored/

    \b
    Exit codes: 0 done · 2 usage · 65 bad data · 66 no input · 69 no such device · 71 too little memory · 73 output
    cannot be created · 74 disk failed or full · 75 output locked by another run · 78 bad bundle or job file · 129,
    130, 143 interrupted.
    """
    _require_folder()


def main(args: Sequence[str] | None = None) -> None:
    """The console script."""
    tune()
    try:
        code = run(args)
        signals.finish(code)
    except InterruptedRunError as late:  # between the end of the command and here
        code = late.exit_code
        signals.finish(code)
    leave(code)


def run(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Only an internal error shows a traceback."""
    given = sys.argv[1:] if args is None else args
    signals.listen()
    try:
        metrics = _metrics(given)
        if metrics is None:
            return _ended_command(given)
        signals.before_exit(metrics.write)
        return _with_metrics(given, metrics)
    finally:
        signals.forget()
        failures.close()


def _metrics(args: Sequence[str]) -> "MetricsFile | None":
    """The metrics file of the command, if it has one. Imported only then, so that other commands start as quickly."""
    names_one = any("metrics" in argument or "--job" in argument for argument in args)
    if not names_one and not {"SCORELINE_METRICS", "SCORELINE_JOB"} & os.environ.keys():
        return None
    from .terminal.metrics import MetricsFile

    return MetricsFile.requested(args)


def _with_metrics(args: Sequence[str], metrics: "MetricsFile") -> int:
    """Run a command and write its metrics, whatever happens. Its exit code, if it succeeds and its metrics cannot be
    written, is that of a disk that failed."""
    code = 1
    try:
        code = _ended_command(args, metrics)
    except InterruptedRunError as late:  # after the command has handled its own signals
        code = late.exit_code
        raise
    finally:
        why = metrics.write(code)
        if why is not None:
            failures.report(why, code or StorageError.exit_code, args)
    return code if why is None else code or StorageError.exit_code


def _ended_command(args: Sequence[str], metrics: "MetricsFile | None" = None) -> int:
    """Run a command. Its exit code, if it succeeds and its output is lost, is that of a disk that failed."""
    code = _run_command(args, metrics)
    why = None if code else lost(sys.stdout)
    if why is None:
        return code
    message = f"the command has finished, but stdout cannot be written: {why}"
    failures.report(message, StorageError.exit_code, args)
    return StorageError.exit_code


def _run_command(args: Sequence[str], metrics: "MetricsFile | None") -> int:
    try:
        _require_utf8(args)
        code = cli.main(args=args, prog_name="scoreline", standalone_mode=False, obj=metrics)
    except click.ClickException as error:
        failures.report_click(error, args)
        return error.exit_code
    except (ScorelineError, InterruptedRunError) as error:
        failures.report(str(error), error.exit_code, args)
        return error.exit_code
    except SystemExit as error:
        if os.environ.get(COMPLETION):
            return int(error.code or 0)
        # not raised by scoreline: trusted code must not end the process as if it had succeeded
        failures.report("a model or library called sys.exit before the command had finished", 1, args)
        return error.code if isinstance(error.code, int) and error.code else 1
    except Exception as error:
        if (interrupted := signals.interruption()) is not None:  # which a library has wrapped in an error of its own
            failures.report(str(interrupted), interrupted.exit_code, args)
            return interrupted.exit_code
        if (lacking := ResourceError.of(error)) is not None:
            failures.report(str(lacking), lacking.exit_code, args)
            return lacking.exit_code
        failures.report_internal(error, args)
        return 1
    return code if isinstance(code, int) else 0


def _require_folder() -> None:
    """Raise UsageError in a folder that has been removed: torch ends the process there, and paths have no meaning."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory has been removed; cd to one that exists") from error


def _require_utf8(args: Sequence[str]) -> None:
    """Raise UsageError for an argument or environment variable that is not UTF-8: manifests, columns and logs are."""
    flags = {name: value for name, value in os.environ.items() if name.startswith("SCORELINE_")}
    for what, text in [*(("the argument", argument) for argument in args), *flags.items()]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise not_utf8(what, text, "rename the file, folder or column that it names") from error

"""The Click group, and the one boundary where errors become exit codes and messages.

Commands are imported when they are called, so that `scoreline --help` imports neither torch nor pandas nor
Arrow and answers at once.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ..pipeline.errors import InterruptedRunError, ScorelineError, StorageError, UsageError, printable
from .terminal import signals
from .terminal.process import leave, tune
from .terminal.streams import lost

COMMANDS = {
    "score": "Score Parquet or CSV files with a bundle.",
    "pack": "Make a bundle from files saved at training time.",
    "check": "Verify a bundle, and what it would do to an input.",
    "verify": "Read an output back: every row accounted for, every checksum right.",
    "evaluate": "Evaluate predictions against the true labels: accuracy, AUC, errors.",
    "importance": "List the most important features of an output with attributions.",
    "calibrate": "Calibrate a bundle's probabilities on labelled rows.",
    "layers": "List the layers of a bundle's model, with their shapes.",
    "bench": "Measure every stage against its limit on this machine.",
    "demo": "Train, save and score real data, in seconds.",
}


class _Commands(click.Group):
    """Knows the names and one-line helps of the commands; imports one when it is called."""

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
    Exit codes: 0 done · 2 usage · 65 bad data · 66 no input · 69 no such device · 73 output cannot be
    created · 74 disk failed or full · 75 output held by another run · 78 bad bundle or job file · 129, 130,
    143 interrupted.
    """


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
    """Run a command and return its exit code. Nothing but a fault of ours shows a traceback."""
    signals.listen()
    try:
        code = _bounded(args)
        why = None if code else lost(sys.stdout)
        if why is None:
            return code
        _tell(f"the command is done, but stdout cannot be written: {why}", StorageError.exit_code)
        return StorageError.exit_code
    finally:
        signals.forget()
        if (logs := _logs()) is not None:
            logs.close()


def _bounded(args: Sequence[str] | None) -> int:
    try:
        _refuse_bytes(sys.argv[1:] if args is None else args)
        code = cli.main(args=args, prog_name="scoreline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ScorelineError, InterruptedRunError) as error:
        _tell(str(error), error.exit_code)
        return error.exit_code
    except SystemExit as error:  # never ours: trusted code would end the process as if the work were done
        _tell("something ended the process before the work was done", 1)
        return error.code if isinstance(error.code, int) and error.code else 1
    except Exception:
        traceback.print_exc()
        _tell("this is a fault of scoreline; please report the lines above", 1)
        return 1
    return code if isinstance(code, int) else 0


def _refuse_bytes(args: Sequence[str]) -> None:
    """Raise UsageError for a word, or a flag from the environment, that is not UTF-8: no manifest, column or log could
    hold it."""
    flags = {name: value for name, value in os.environ.items() if name.startswith("SCORELINE_")}
    for what, text in [*(("the argument", word) for word in args), *flags.items()]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(f"{what} {os.fsencode(text)!r} is not UTF-8; rename what it names") from error


def _logs() -> Any:
    """The log set-up, where a command has imported it."""
    return sys.modules.get(f"{__package__}.terminal.logs")


def _tell(message: str, exit_code: int) -> None:
    logs = _logs()
    if logs is not None and logs.shows_json():
        logs.log_failure(message, exit_code)
    else:
        click.echo(f"scoreline: {printable(message)}", err=True)

"""The exit codes, from the errors of `pipeline/errors.py`."""

from collections.abc import Iterator

from scoreline.pipeline.errors import ScorelineError

from .markdown import code, table

#: Codes without a class of their own.
OTHERS = (
    (0, "", "Success: every row is accounted for."),
    (129, "`InterruptedRunError`", "Interrupted by SIGHUP. Nothing is half-written; run the command again."),
    (130, "`InterruptedRunError`", "Interrupted by SIGINT (Ctrl-C)."),
    (143, "`InterruptedRunError`", "Interrupted by SIGTERM."),
)


def exit_codes_section() -> str:
    """A table of the exit codes in order, with the error classes of each."""
    rows = [(error.exit_code, code(error.__name__), _meaning(error)) for error in error_classes()]
    internal = (1, "any other", "An internal error; please report it, with the traceback.")
    ordered = sorted([internal, *(row for row in rows if row[0] != 1), *OTHERS], key=lambda row: row[0])
    return table(
        ("exit code", "error", "meaning"), [(code(number), name, meaning) for number, name, meaning in ordered]
    )


def error_classes() -> Iterator[type[ScorelineError]]:
    """Every subclass of `ScorelineError` in `pipeline/errors.py`, each after its base."""
    waiting = [ScorelineError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting += [one for one in error.__subclasses__() if one.__module__ == ScorelineError.__module__]


def _meaning(error: type[ScorelineError]) -> str:
    return (error.__doc__ or "").split("\n\n")[0]

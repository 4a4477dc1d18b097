"""The metrics file of `scoreline score`: written at every end of the command, also for usage errors and signals, which
no run sees."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ...pipeline.errors import ScorelineError, UsageError, one_line
from ...pipeline.events import Event
from ...pipeline.planning.option_values import RUN_DATE
from ...pipeline.reporting.metrics import CommandEnd, RunMetrics, last_success
from ...pipeline.storage.plain_files import read_plain
from ...pipeline.storage.replaced_file import refuse_other_file, replaced_file
from ...pipeline.storage.toml import read_toml
from .arguments import requested


class MetricsFile:
    """Collects the metrics of one command, and writes them when it ends, in a folder that is created if needed.

    Args:
        path: the file. Its name without the suffix is the label `job_name`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start_s = time.monotonic()
        self._run = RunMetrics()
        self._refused = False

    @classmethod
    def requested(cls, args: Sequence[str]) -> Self | None:
        """The file that the arguments of `scoreline score`, the environment or the job file name; None if they name
        none, one with a date in its name, which the command refuses, or only ask for help."""
        command = next((argument for argument in args if not argument.startswith("-")), None)
        if command != "score" or {"--help", "-h"} & set(args):
            return None
        path = _path(args)
        return None if path is None or RUN_DATE in str(path) else cls(path)

    def refuse_other_file(self, output: str | None) -> None:
        """Raise UsageError if it would replace something else, or is within the output. It is not written then."""
        self._refused = True
        refuse_other_file(self._path, "the metrics file", b"# HELP scoreline_", output)
        self._refused = False

    def __call__(self, event: Event) -> None:
        """Collect the figures of an event."""
        self._run(event)

    def write(self, exit_code: int) -> str | None:
        """Write the file. Keeps the time of the last success over failures.

        Returns:
            Why it could not be written, None if it was, or was refused.
        """
        if self._refused:
            return None
        try:
            self.refuse_other_file(None)
            earlier = read_plain(self._path).decode(errors="replace")
        except UsageError as error:
            return one_line(error)
        except OSError:
            earlier = ""
        end = CommandEnd(
            job_name=self._path.stem,
            exit_code=exit_code,
            time_s=round(time.time(), 3),
            duration_s=round(time.monotonic() - self._start_s, 3),
            last_success_s=last_success(earlier),
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replaced_file(self._path, "the metrics file") as file:
                file.write(self._run.text(end).encode())
        except OSError as error:
            return f"the metrics file {str(self._path)!r} cannot be written: {one_line(error)}"
        except (ScorelineError, ValueError) as error:
            return one_line(error)
        return None


def _path(args: Sequence[str]) -> Path | None:
    """The path that the arguments, the environment or the job file name."""
    if (given := requested(args, "--metrics", "SCORELINE_METRICS")) is not None:
        return Path(given)
    job = requested(args, "--job", "SCORELINE_JOB")
    named = None
    if job is not None:
        with suppress(OSError, ValueError):  # the command reports it
            named = read_toml(Path(job)).get("metrics")
    return Path(job).parent / named if job is not None and isinstance(named, str) and named else None

"""What saving chooses for the user, such as a prefix or an output, is said in one line. In Python, the line is logged;
`scoreline pack` prints it with its answer. Independent of models and files.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("scoreline.saving")


def say(text: str) -> None:
    """Log a line at the level WARNING, which programs without a logging configuration print to stderr."""
    _LOGGER.warning(text)


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line, once."""
        line = record.getMessage()
        if line not in self._lines:
            self._lines.append(line)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """The lines that are logged meanwhile, which go nowhere else."""
    lines: list[str] = []
    handler, propagate = _Collector(lines), _LOGGER.propagate
    _LOGGER.addHandler(handler)
    _LOGGER.propagate = False
    try:
        yield lines
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.propagate = propagate

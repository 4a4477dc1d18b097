"""The lines of the user's own code that messages about a model name. Independent of graphs."""

import inspect
import linecache
import re
import traceback
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_OWN = str(Path(__file__).parents[1])


def line_of_error(error: BaseException) -> str:
    """` at FILE:NUMBER CODE` of the innermost line, or an empty text."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH, _OWN, "<"))
    ]
    return f" at {frames[-1].filename}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""


def line_in_forward() -> tuple[str, int] | None:
    """The file and the number of the innermost line that is being run, within a `forward`."""
    line: tuple[str, int] | None = None
    frame = inspect.currentframe()
    while frame is not None:
        if line is None and not frame.f_code.co_filename.startswith((_TORCH, _OWN)):
            line = frame.f_code.co_filename, frame.f_lineno
        if line is not None and frame.f_code.co_name == "forward":
            return line
        frame = frame.f_back
    return None


def user_line(stack_trace: str | None) -> tuple[str, int] | None:
    """The file and the number of the innermost line of a stack trace that torch recorded, outside torch."""
    lines = [(file, int(number)) for file, number in _FRAME.findall(stack_trace or "")]
    own = [line for line in lines if not line[0].startswith((_TORCH, _OWN, "<"))]
    return own[-1] if own else None


def line_text(line: tuple[str, int] | None) -> str:
    """A line of `line_in_forward` as `line_of_error` writes it."""
    if line is None:
        return ""
    file, number = line
    return f" at {file}:{number} `{linecache.getline(file, number).strip()}`"

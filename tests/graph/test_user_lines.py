"""Messages name the user's own line, not one of torch or Scoreline."""

import torch
from scoreline.pipeline.graph.user_lines import line_in_forward, line_of_error, line_text


def test_the_line_of_an_error_in_torch() -> None:
    """The innermost line outside torch, with its code."""
    try:
        torch.ones(2).reshape(3)
    except RuntimeError as error:
        found = line_of_error(error)
    assert found.startswith(f" at {__file__}:")
    assert found.endswith(" `torch.ones(2).reshape(3)`")


def test_an_error_without_a_line() -> None:
    """It was never raised."""
    assert line_of_error(ValueError("x")) == ""


def test_the_line_within_forward() -> None:
    """None outside `forward`; within it the innermost line, of a function that it calls, too."""

    def helper() -> tuple[str, int] | None:
        return line_in_forward()

    def forward() -> tuple[str, int] | None:
        return helper()

    assert line_in_forward() is None
    assert line_text(None) == ""
    line = forward()
    assert line == (__file__, helper.__code__.co_firstlineno + 1)
    assert line_text(line) == f" at {__file__}:{line[1]} `return line_in_forward()`"

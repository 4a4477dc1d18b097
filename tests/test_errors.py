"""Texts for messages: one line, numbers with their noun, and lists of names that end with how many more there are."""

import inspect

import pytest
from scoreline.pipeline import errors
from scoreline.pipeline.errors import (
    GoldenMismatchError,
    InterruptedRunError,
    ScorelineError,
    counted,
    dtype_text,
    listed,
    one_line,
    printable,
    repeated,
    shape_text,
)


def test_one_line() -> None:
    """Spaces and line ends become one space, control characters are escaped; an error without text has its name."""
    assert one_line(ValueError("a  b\n\tc\x1b[31m")) == "a b c\\x1b[31m"
    assert one_line(ValueError(" \n")) == "ValueError"
    assert printable("é 東\x00\n") == "é 東\\x00\\n"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (999, "999 rows"), (12345, "12,345 rows")]
)
def test_counted(number: int, text: str) -> None:
    """The noun is in the singular for one alone."""
    assert counted(number, "row") == text


def test_listed() -> None:
    """Names are quoted; those beyond the limit become a number, also a single one."""
    assert listed([]) == ""
    assert listed(["a", "it's"]) == "'a', \"it's\""
    assert listed(list("abcdef")) == "'a', 'b', 'c', 'd', 'e', 'f'"
    assert listed(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e', 'f' and 1 more"
    assert listed(range(2000), 2) == "0, 1 and 1,998 more"


def test_shapes_types_and_repetitions() -> None:
    """As in the documentation of torch."""
    assert shape_text((7, "labels")) == "[7, labels]"
    assert dtype_text("torch.float32") == dtype_text("float32") == "float32"
    assert [repeated(times) for times in (2, 3)] == ["twice", "3 times"]


def test_exit_codes() -> None:
    """Of every class, as the docstring of the module draws them."""
    drawn = (inspect.getdoc(errors) or "").splitlines()
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, ScorelineError):
            (line,) = [line for line in drawn if name in line.split()]
            assert f" {kind.exit_code} " in line, name
            depth = len(kind.__mro__) - len(ScorelineError.__mro__)
            assert line.index(name) == 4 * (depth + 1), name
    assert [InterruptedRunError(number).exit_code for number in (2, 15)] == [130, 143]
    assert not issubclass(InterruptedRunError, Exception)


def test_a_golden_mismatch_keeps_what_differs() -> None:
    """The cause is in the message, but not in the finding."""
    assert str(GoldenMismatchError("row 3 differs")) == "row 3 differs"
    error = GoldenMismatchError("row 3 differs", "another model")
    assert error.finding == "row 3 differs"
    assert str(error) == "golden rows were not reproduced: row 3 differs; another model"

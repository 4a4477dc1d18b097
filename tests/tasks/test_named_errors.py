"""Errors name the head that they are about."""

import pytest
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.tasks.named_errors import named_errors
from scoreline.schemas.heads import RegressionHead

from scoreline import BundleError

ONLY, FRAUD = RegressionHead(targets=["x"]), RegressionHead(name="fraud", targets=["x"])


def test_one_of_several_heads_is_named() -> None:
    """In front of the message; the original error is the cause."""
    with pytest.raises(BundleError, match=r"^task 'fraud': too wide$") as found, named_errors(FRAUD):
        raise BundleError("too wide")
    assert str(found.value.__cause__) == "too wide"


def test_the_only_head_is_not_named() -> None:
    """The same error is raised."""
    error = BundleError("too wide")
    with pytest.raises(BundleError, match=r"^too wide$") as found, named_errors(ONLY):
        raise error
    assert found.value is error


@pytest.mark.parametrize("error", [UsageError("a wrong flag"), ValueError("a bug")])
def test_other_errors_pass(error: Exception) -> None:
    """Unchanged, since they are not about the head."""
    with pytest.raises(type(error)) as found, named_errors(FRAUD):
        raise error
    assert found.value is error


def test_without_an_error_nothing_happens() -> None:
    """The block runs once."""
    ran = []
    with named_errors(FRAUD):
        ran.append(1)
    assert ran == [1]

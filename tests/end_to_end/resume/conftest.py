"""Four files and a command that scores them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result


@pytest.fixture
def data(four_files: Path) -> Path:
    """Four files, two of them with a reject."""
    return four_files


@pytest.fixture
def score(score_four_files: Callable[..., Result]) -> Callable[..., Result]:
    """Score the four files."""
    return score_four_files

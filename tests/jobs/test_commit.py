"""`scoreline commit` as a command. Its logic is tested in engines/tables/."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result
from outcomes import closed


@pytest.mark.parametrize(
    ("words", "library", "extra"),
    [(["--delta"], "deltalake", "delta"), (["--iceberg", "a.b"], "pyiceberg", "iceberg")],
    ids=["delta", "iceberg"],
)
def test_a_library_that_is_not_installed(
    scoreline: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], library: str,
    extra: str,
) -> None:  # fmt: skip
    """Is named with the extra that installs it."""
    for name in [name for name in sys.modules if name.startswith("scoreline.pipeline.engines.tables.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    found = scoreline("commit", tmp_path, *words)
    closed(found, 2, f"{library} is not installed", f"pip install 'scoreline[{extra}]'")


def test_outputs_in_an_object_store(scoreline: Callable[..., Result]) -> None:
    """Tables refer to files on a disk."""
    closed(scoreline("commit", "s3://bucket/out", "--delta"), 2, "'s3://bucket/out' is in an object store")


def test_one_table(scoreline: Callable[..., Result], tmp_path: Path) -> None:
    """Not none, and not two."""
    closed(scoreline("commit", tmp_path), 2, "pass either --delta or --iceberg NAMESPACE.TABLE")
    closed(scoreline("commit", tmp_path, "--delta", "--iceberg", "a.b"), 2, "pass either --delta or --iceberg")

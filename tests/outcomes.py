"""Checks of exit codes, messages and files that a command leaves."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from conftest import Result


def visible(folder: Path) -> list[str]:
    """The files that a reader of the output sees, and any temporary files."""
    return sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and (file.suffix == ".parquet" or ".tmp" in file.name or file.name == "_SUCCESS")
    )


def closed(result: Result, code: int, *says: str) -> None:
    """Check the exit code, that the message is one line with these texts, and that there is no traceback."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert "\n" not in result.message.strip()
    for words in says:
        assert words in result.message, result.message


def parts(out: Path) -> dict[str, bytes]:
    """All files that a reader or a later run can see, without the records of a particular run."""
    files = [file for file in out.rglob("*") if file.is_file() and "_scoreline" not in file.parts]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def recorded(out: Path) -> list[dict[str, Any]]:
    """The rows of `parts.pq`: parts, inputs without one, and orphaned parts."""
    rows: list[dict[str, Any]] = pq.read_table(out / "_scoreline" / "parts.pq").to_pylist()
    return rows

"""Checks of exit codes, messages and files that a command leaves."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

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


def equal_records(out: Path, other: Path) -> dict[str, Any]:
    """Check that two outputs of the same job have the same records but for the ETags of files, and that the times of
    the first add up. Returns its run.json."""
    rows, others = ([row | {"etag": None, "rejects_etag": None} for row in recorded(one)] for one in (out, other))
    assert rows == others
    made: dict[str, Any]
    made, plain = (json.loads((folder / "_scoreline" / "run.json").read_text()) for folder in (out, other))
    for name in ("rows_in", "rows_rejected", "inputs", "parts", "device", "options", "versions", "heads", "bundle"):
        assert made[name] == plain[name], name
    spent = sum(stage["waiting_s"] for stage in made["stages"].values())
    assert made["startup_s"] + spent + made["other_s"] == pytest.approx(made["wall_s"])
    return made

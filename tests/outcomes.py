"""What a command may leave behind: exit codes, one line, files."""

from pathlib import Path

from conftest import Result


def visible(folder: Path) -> list[str]:
    """What a reader of the output would see, and any temporary left behind."""
    return sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and (file.suffix == ".parquet" or ".tmp" in file.name or file.name == "_SUCCESS")
    )


def closed(result: Result, code: int, *says: str) -> None:
    """A documented exit code, one clear line, no traceback."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert "\n" not in result.message.strip()
    for words in says:
        assert words in result.message, result.message


def parts(out: Path) -> dict[str, bytes]:
    """Every byte that a reader, or a later run, could see; not the accounts of a particular run."""
    files = [file for file in out.rglob("*") if file.is_file() and "_scoreline" not in file.parts]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}

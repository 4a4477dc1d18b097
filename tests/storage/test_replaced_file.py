"""A file is replaced at once, or stays as it is."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.storage.replaced_file import replaced_file


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    """Until then, readers see the older one."""
    (tmp_path / "a").write_text("old")
    with replaced_file(tmp_path / "a", "the file") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "a").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


def test_an_error_leaves_the_older_file(tmp_path: Path) -> None:
    """And no temporary file."""
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError, match="half"), replaced_file(tmp_path / "a", "the file") as file:
        _write_half(file)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def _write_half(file: BinaryIO) -> None:
    file.write(b"new")
    raise ValueError("half")


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    """Not a pipe, nor a folder."""
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path / "pipe", "named pipe"), (tmp_path, "folder"), (tmp_path / "no" / "a", "No such")):
        with (
            pytest.raises(StorageError, match=f"the file '{path}' cannot be written: .*{why}"),
            replaced_file(path, "the file"),
        ):
            pass
    assert (tmp_path / "pipe").is_fifo()

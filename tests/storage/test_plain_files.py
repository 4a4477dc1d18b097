"""Only regular files are opened: reading a pipe without a writer would block forever."""

import os
import socket
from pathlib import Path

import pytest
from scoreline.pipeline.storage.plain_files import kind_of, read_plain, require_plain


def test_what_is_at_a_path(tmp_path: Path) -> None:
    """Links are followed; a dangling link is missing."""
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    for link, target in (("link", "file"), ("to folder", "."), ("dangling", "nowhere"), ("to pipe", "pipe")):
        (tmp_path / link).symlink_to(target)
    kinds = {
        "file": "file", "link": "file", ".": "folder", "to folder": "folder", "pipe": "other", "to pipe": "other",
        "dangling": "missing", "nowhere": "missing", "file/below": "missing",
    }  # fmt: skip
    assert {name: kind_of(tmp_path / name) for name in kinds} == kinds
    assert kind_of("/dev/null") == "other"


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    """It neither exists nor is missing."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        kind_of(tmp_path / "loop")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """The message says what it is; reading a pipe without a writer fails at once."""
    (tmp_path / "file").write_bytes(b"held")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has at most 107 bytes
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        assert read_plain(tmp_path / "file") == b"held"
        require_plain(tmp_path / "file")
        for name, what in (("pipe", "a named pipe"), ("socket", "a socket"), (".", "a folder")):
            for call in (read_plain, require_plain):
                with pytest.raises(OSError, match=f"it is {what}, not a regular file"):
                    call(tmp_path / name)
    with pytest.raises(OSError, match="it is a device"):
        read_plain("/dev/zero")


def test_a_name_with_a_nul_byte_is_an_oserror(tmp_path: Path) -> None:
    """Like other invalid names, although Python raises ValueError."""
    with pytest.raises(OSError, match="NUL"):
        read_plain(f"{tmp_path}/a\0b")

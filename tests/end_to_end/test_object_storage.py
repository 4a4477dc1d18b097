"""Inputs and bundles in object storage: the same predictions as from local files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conftest import Example, Result
from object_storage import Storage

Score = Callable[..., Result]


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of every part, without its footer, which says where the input is, and of every rejects file."""
    found = {}
    for path in sorted(out.rglob("*")):
        name, data = path.relative_to(out).as_posix(), path.read_bytes() if path.is_file() else b""
        if name.endswith(".parquet"):
            found[name] = data[: -8 - int.from_bytes(data[-8:-4], "little")]
        elif name.endswith(".arrow"):
            found[name] = data
    assert found
    return found


def test_parquet(storage: Storage, scoreline: Score, iris: Example, four_files: Path, tmp_path: Path) -> None:
    """Input and bundle by URI."""
    words = ["--max-rejects", 9, "--split-rows", 50]
    local = scoreline("score", "--bundle", iris.bundle, "--input", four_files, "--output", tmp_path / "a", *words)
    data, bundle = storage.upload(four_files, "in/"), storage.upload(iris.bundle, "models/iris/")
    remote = scoreline("score", "--bundle", bundle, "--input", data, "--output", tmp_path / "b", *words)
    assert (local.code, remote.code) == (0, 0), remote.err
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    again = scoreline("score", "--bundle", bundle, "--input", data, "--output", tmp_path / "b", *words)
    assert again.code == 0
    assert "nothing" in again.err

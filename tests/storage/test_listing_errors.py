"""A folder that cannot be listed ends every command: its files must not be treated as absent."""

import errno
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Example, Result

Command = Callable[..., Result]
GLOB = "/**/*.parquet"


class Listing:
    """Counts calls of `os.scandir` below a folder; call `fails_at` fails when opening, reading, or examining an
    entry."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
        self._real, self._below = os.scandir, str(below)
        self.calls, self.fails_at, self.how, self.number = 0, 0, "open", errno.EIO
        monkeypatch.setattr(os, "scandir", self)

    def arm(self, at: int, how: str, number: int) -> None:
        self.calls, self.fails_at, self.how, self.number = 0, at, how, number

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))

    def __call__(self, path: Any = ".") -> Any:
        if not str(path).startswith(self._below):
            return self._real(path)
        self.calls += 1
        fails = self.calls == self.fails_at
        if fails and self.how == "open":
            raise self.error()
        return OpenFolder(self._real(path), self if fails else None)


class OpenFolder:
    """A folder that is being read."""

    def __init__(self, real: Any, failing: Listing | None) -> None:
        self._real, self._failing = real, failing

    def __enter__(self) -> "OpenFolder":
        return self

    def __exit__(self, *raised: object) -> None:
        self._real.close()

    def __iter__(self) -> Iterator[Any]:
        for entry in self._real:
            if self._failing is None:
                yield entry
            elif self._failing.how == "read":
                raise self._failing.error()
            else:
                yield UnknownEntry(entry, self._failing)
        if self._failing is not None and self._failing.how == "read":
            raise self._failing.error()


class UnknownEntry:
    """An entry whose type is unknown, as when the file system does not report it and `stat` fails."""

    def __init__(self, real: "os.DirEntry[str]", failing: Listing) -> None:
        self.name, self.path, self._failing, self.is_symlink = real.name, real.path, failing, real.is_symlink

    def is_dir(self) -> bool:
        raise self._failing.error()


@pytest.fixture
def data(tmp_path: Path, iris: Example) -> Path:
    """Three folders, one of them behind a link, and a rejected row in each file."""
    frame = iris.frame.head(20).copy()
    frame.loc[3, iris.features[0]] = np.nan
    for name in ("in/a.parquet", "in/day=1/b.parquet", "else/c.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(tmp_path / name, index=False)
    (tmp_path / "in" / "day=2").symlink_to(tmp_path / "else")
    return tmp_path / "in"


def parts(out: Path) -> dict[str, bytes]:
    """The parts that readers see, and the rejects."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".parquet", ".arrow")
    }


SHORT = {("", "open", errno.EIO), ("", "read", errno.EACCES), (GLOB, "look", errno.EIO)}


@pytest.mark.parametrize(
    ("pattern", "how", "number"),
    [
        pytest.param(*case, marks=() if case in SHORT else pytest.mark.long)
        for case in product(("", GLOB), ("open", "read", "look"), (errno.EIO, errno.EACCES))
    ],
)
def test_every_listing_of_a_run_that_prunes(
    scoreline: Command,
    iris: Example,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    how: str,
    number: int,
) -> None:
    """With a complete output but one missing part: whichever listing fails, no part is removed, and a successful run
    has all of them."""
    out = tmp_path / "out"
    words = ["score", "--bundle", iris.bundle, "--input", f"{data}{pattern}", "--output", out, "--prune"]
    words += ["--max-rejects", "9"]
    assert scoreline(*words).code == 0
    wanted = parts(out)
    listing = Listing(monkeypatch, tmp_path)
    (out / "a.parquet").unlink()
    listing.arm(0, "open", 0)
    assert scoreline(*words).code == 0
    calls, seen = listing.calls, set[int]()
    assert calls > 12
    for at in range(1, calls + 1):
        (out / "a.parquet").unlink(missing_ok=True)
        listing.arm(at, how, number)
        result = scoreline(*words)
        seen.add(result.code)
        assert "Traceback" not in result.err
        left = parts(out)
        assert left.items() <= wanted.items()
        assert set(wanted) - set(left) <= {"a.parquet"}
        if result.code == 0:  # the last listing only reports inputs that were added meanwhile
            assert left == wanted
            assert (out / "_SUCCESS").exists()
        else:
            assert (os.strerror(number) in result.message) == (result.code in (66, 73, 74)), result.message
            assert str(tmp_path) in result.message
    assert seen - {0} == ({74} if number == errno.EIO else {66, 73})
    listing.arm(0, "open", 0)
    assert scoreline(*words).code == 0
    assert parts(out) == wanted


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 74), (errno.ESTALE, 74), (errno.EACCES, 66)])
def test_every_listing_of_the_other_commands(
    scoreline: Command,
    iris: Example,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
) -> None:
    """For check, calibrate, bench and verify."""
    out = tmp_path / "out"
    bundle = ["--bundle", iris.bundle, "--input", data]
    assert scoreline("score", *bundle, "--output", out, "--max-rejects", "9").code == 0
    commands = {
        "check": ["check", *bundle],
        "calibrate": ["calibrate", *bundle, "--label", "truth", tmp_path / "new"],
        "bench": ["bench", *bundle, "--rounds", "1"],
        "verify": ["verify", out],
    }
    listing = Listing(monkeypatch, tmp_path)
    for name, words in commands.items():
        listing.arm(0, "open", 0)
        assert scoreline(*words).code in (0, 65), name  # too few rows to calibrate
        calls = listing.calls
        for at in range(1, calls + 1):
            listing.arm(at, "open", number)
            result = scoreline(*words)
            if name == "bench" and at > 2 * calls // 3:
                assert result.code == 0  # it lists them three times, at last to report inputs that were added meanwhile
                continue
            assert (result.code, "Traceback" in result.err) == (code, False), (name, at, result.err)
            assert os.strerror(number) in result.message
        assert at >= 3, name

"""Every command × every path it takes × everything that may be wrong with a path: one line, the right exit code, no
traceback, and nothing that waits for ever."""

import ctypes
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import Example, Result

Command = Callable[..., Result]
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: for root, modes are no more than a hint.
CAPABILITIES = 1 << 1 | 1 << 2


class Words(NamedTuple):
    """A command with PATH where a path is to stand, and what it ends with where that is bad."""

    words: str
    code: int
    writes: bool = False


COMMANDS = {
    "score --bundle": Words("score --bundle PATH --input IN --output NEW", 78),
    "score --input": Words("score --bundle BUNDLE --input PATH --output NEW", 66),
    "score --output": Words("score --bundle BUNDLE --input IN --output PATH", 73, writes=True),
    "score --job": Words("score --bundle BUNDLE --input IN --output NEW --job PATH", 78),
    "check --bundle": Words("check --bundle PATH", 78),
    "check --input": Words("check --bundle BUNDLE --input PATH", 66),
    "check --job": Words("check --bundle BUNDLE --job PATH", 78),
    "verify OUT": Words("verify PATH", 66),
    "evaluate OUT": Words("evaluate PATH --label truth", 66),
    "evaluate --labels": Words("evaluate OUT --label truth --on row_id --labels PATH", 66),
    "importance OUT": Words("importance PATH", 66),
    "importance --picture": Words("importance OUT --picture PATH", 74, writes=True),
    "calibrate --bundle": Words("calibrate --bundle PATH --input IN --label truth NEW", 78),
    "calibrate --input": Words("calibrate --bundle BUNDLE --input PATH --label truth NEW", 66),
    "calibrate NEW_BUNDLE": Words("calibrate --bundle BUNDLE --input IN --label truth PATH", 73, writes=True),
    "layers BUNDLE": Words("layers PATH", 78),
    "bench --bundle": Words("bench --bundle PATH", 78),
    "bench --input": Words("bench --bundle BUNDLE --input PATH", 66),
    "pack SPEC": Words("pack PATH NEW", 78),
    "pack OUT": Words("pack SPEC PATH", 73, writes=True),
    "pack --from-mlflow": Words("pack --from-mlflow PATH NEW", 78),
    "demo --dir": Words("demo --dir PATH", 73, writes=True),
}


def _pipe(place: Path) -> Path:
    os.mkfifo(place / "pipe")
    return place / "pipe"


def _socket(place: Path) -> Path:
    before = Path.cwd()
    os.chdir(place)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    os.chdir(before)
    return place / "socket"


def _file(place: Path) -> Path:
    (place / "file").write_text("x")
    return place / "file"


def _loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


def _dangling(place: Path) -> Path:
    (place / "dangling").symlink_to("nowhere")
    return place / "dangling"


def _below_forbidden(place: Path) -> Path:
    (place / "forbidden").mkdir(mode=0)
    return place / "forbidden" / "x"


def _forbidden(place: Path) -> Path:
    (place / "forbidden").mkdir(mode=0)
    return place / "forbidden"


BAD = {
    "a name too long": lambda place: place / ("x" * 300),
    "a path too long": lambda place: place / ("x/" * 3000),
    "below a name too long": lambda place: place / ("é" * 128) / "x",
    "a pipe": _pipe,
    "a socket": _socket,
    "a device": lambda _: Path("/dev/zero"),
    "below a file": lambda place: _file(place) / "x",
    "a link to itself": _loop,
    "below a forbidden folder": _below_forbidden,
    "a forbidden folder": _forbidden,
}
MISSING = {
    "missing": lambda place: place / "nowhere",
    "missing folders": lambda place: place / "no" / "where",
    "a dangling link": _dangling,
}


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@pytest.fixture
def as_a_user(tmp_path: Path) -> Iterator[None]:
    """Modes of files count, for root too: without the capabilities that pass them by, in this thread and those that it
    starts."""
    libc, header, sets = ctypes.CDLL(None), _Header(0x20080522, 0), (_Sets * 2)()
    libc.capget(ctypes.byref(header), sets)
    before = sets[0].effective
    sets[0].effective &= ~CAPABILITIES
    libc.capset(ctypes.byref(header), sets)
    (tmp_path / "closed").mkdir(mode=0)
    try:
        (tmp_path / "closed" / "x").stat()
    except PermissionError:
        yield
    except FileNotFoundError:
        pytest.skip("modes of files do not count here")
    finally:
        sets[0].effective = before
        libc.capset(ctypes.byref(header), sets)
        for folder in ("closed", "forbidden"):
            if (tmp_path / folder).exists():
                (tmp_path / folder).chmod(0o700)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> dict[str, str]:
    """What stands for the other words."""
    from scoreline.jobs import cli

    folder = tmp_path_factory.mktemp("good")
    iris.frame.to_parquet(folder / "in.parquet", index=False)
    words = ["--bundle", str(iris.bundle), "--input", str(folder / "in.parquet"), "--output", str(folder / "out")]
    assert cli.run(["score", *words, "--explain", "occlusion", "--log-level", "error"]) == 0
    (folder / "wine.toml").write_text(
        'features = ["a"]\ntask = {kind = "regression"}\nsample = "s.csv"\n'
        '[model]\nweights = "w.pt"\nlayers = [{type = "Linear", in_features = 1, out_features = 1}]\n'
    )
    return {
        "SPEC": str(folder / "wine.toml"),
        "BUNDLE": str(iris.bundle),
        "IN": str(folder / "in.parquet"),
        "OUT": str(folder / "out"),
    }


def ends(result: Result, code: int) -> None:
    """With this code and one line."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert len(result.message.strip().splitlines()) == 1


def filled(words: str, path: str, good: dict[str, str], tmp_path: Path) -> list[str]:
    """The words of a command."""
    known = {**good, "PATH": path, "NEW": str(tmp_path / "new")}
    return [known.get(word, word) for word in words.split()]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("wrong", [*BAD, *MISSING])
@pytest.mark.parametrize("which", COMMANDS)
def test_what_may_be_wrong_with_a_path(
    scoreline: Command, good: dict[str, str], tmp_path: Path, which: str, wrong: str
) -> None:
    command = COMMANDS[which]
    if command.writes and wrong in MISSING:
        return  # where it would be made
    bad = (BAD | MISSING)[wrong](tmp_path)
    result = scoreline(*filled(command.words, str(bad), good, tmp_path))
    ends(result, command.code)
    assert not (tmp_path / "new").exists()
    if wrong == "a pipe":
        assert bad.is_fifo()


@pytest.mark.parametrize("which", COMMANDS)
def test_bytes_that_are_no_text(scoreline: Command, good: dict[str, str], tmp_path: Path, which: str) -> None:
    """Of a path that is there, too."""
    bad = os.fsencode(tmp_path) + b"/caf\xe9"
    shutil.copytree(os.fsencode(good["BUNDLE"]), bad)
    result = scoreline(*filled(COMMANDS[which].words, os.fsdecode(bad), good, tmp_path))
    ends(result, 2)
    assert "caf\\xe9' is not UTF-8" in result.message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--prefix", "\udce9_"),
        ("--run-id", "\udcff"),
        ("--keys", "row_id,\udcff"),
        ("--hidden", "\udcff"),
        ("--threshold", "\udcff=0.5"),
        ("--log-format", "\udcff"),
    ],
)
def test_other_words_that_are_no_text(
    scoreline: Command, good: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    """On the command line and in the environment."""
    command = filled(COMMANDS["score --bundle"].words, good["BUNDLE"], good, tmp_path)
    ends(scoreline(*command, *words), 2)
    monkeypatch.setenv(f"SCORELINE_{words[0].strip('-').replace('-', '_').upper()}", words[1])
    ends(scoreline(*command), 2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["bundle", "input", "output", "prefix", "run_id", "keys", "trust"])
def test_a_nul_from_a_job_file(scoreline: Command, good: dict[str, str], tmp_path: Path, name: str) -> None:
    """Which no command line can hold."""
    said = {"bundle": good["BUNDLE"], "input": good["IN"], "output": str(tmp_path / "new"), name: "a\\u0000b"}
    lines = [
        f'{key} = ["{value}"]' if key in ("keys", "trust") else f'{key} = "{value}"' for key, value in said.items()
    ]
    (tmp_path / "job.toml").write_text("\n".join(lines))
    ends(scoreline("score", "--job", tmp_path / "job.toml"), 78)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["out/in.parquet", "out/_rejects/in.arrow", "out/_SUCCESS"])
@pytest.mark.parametrize("what", [_pipe, _socket], ids=["pipe", "socket"])
def test_what_is_no_file_in_an_output(
    scoreline: Command,
    iris: Example,
    good: dict[str, str],
    tmp_path: Path,
    place: str,
    what: Callable[[Path], Path],
) -> None:
    """In place of a part, its rejects, or a file of every run: neither opened nor replaced."""
    frame = iris.frame.copy()
    frame.loc[3, iris.features[0]] = None
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", good["BUNDLE"], "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline(*words, "--max-rejects", "1").code == 0
    (tmp_path / place).unlink()
    what(tmp_path).rename(tmp_path / place)
    result = scoreline(*words, "--max-rejects", "1")
    ends(result, 73)
    assert str(tmp_path / place) in result.message
    ends(scoreline("verify", tmp_path / "out"), 65)
    for command in (["evaluate", tmp_path / "out", "--label", "truth"], ["importance", tmp_path / "out"]):
        result = scoreline(*command)
        assert "Traceback" not in result.err
    assert not (tmp_path / place).is_file()


@pytest.mark.parametrize("name", ["run.json", "lock"])
def test_what_is_no_file_among_a_runs_accounts(
    scoreline: Command, good: dict[str, str], tmp_path: Path, name: str
) -> None:
    shutil.copytree(good["OUT"], tmp_path / "out")
    (tmp_path / "out" / "_scoreline" / name).unlink()
    os.mkfifo(tmp_path / "out" / "_scoreline" / name)
    ends(scoreline("score", "--bundle", good["BUNDLE"], "--input", good["IN"], "--output", tmp_path / "out"), 73)
    codes = {"run.json": (65, 65, 65), "lock": (0, 0, 0)}[name]
    for words, code in zip((["verify"], ["evaluate", "--label", "truth"], ["importance"]), codes, strict=True):
        assert scoreline(*words, tmp_path / "out").code == code


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_a_pipe_in_a_bundle(scoreline: Command, good: dict[str, str], tmp_path: Path, name: str) -> None:
    shutil.copytree(good["BUNDLE"], tmp_path / "b")
    (tmp_path / "b" / name).unlink()
    os.mkfifo(tmp_path / "b" / name)
    for words in (["check", "--bundle"], ["layers"]):
        ends(scoreline(*words, tmp_path / "b"), 78)


def test_an_explicit_folder_of_pipes(scoreline: Command, good: dict[str, str], tmp_path: Path) -> None:
    """Nothing in it is a file, whatever the format is said to be."""
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "a.csv")
    for words in ((), ("--format", "csv")):
        result = scoreline("check", "--bundle", good["BUNDLE"], "--input", tmp_path / "in", *words)
        ends(result, 66)

"""Every command × every path it takes × every problem of a path: one line, the right exit code, no traceback, and no
hang."""

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
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which root bypasses file modes.
CAPABILITIES = 1 << 1 | 1 << 2


class Words(NamedTuple):
    """The arguments of a command, with PATH for the path to test, and the exit code if it is bad."""

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
    "runs OUT": Words("runs PATH", 66),
    "rejects OUT": Words("rejects PATH", 66),
    "rejects --csv": Words("rejects OUT --csv PATH", 74, writes=True),
    "evaluate OUT": Words("evaluate PATH --label truth", 66),
    "evaluate --labels": Words("evaluate OUT --label truth --on row_id --labels PATH", 66),
    "diff A": Words("diff PATH OUT", 66),
    "diff B": Words("diff OUT PATH", 66),
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


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _socket(folder: Path) -> Path:
    before = Path.cwd()
    os.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    os.chdir(before)
    return folder / "socket"


def _file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file"


def _loop(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def _dangling(folder: Path) -> Path:
    (folder / "dangling").symlink_to("nowhere")
    return folder / "dangling"


def _below_forbidden(folder: Path) -> Path:
    (folder / "forbidden").mkdir(mode=0)
    return folder / "forbidden" / "x"


def _forbidden(folder: Path) -> Path:
    (folder / "forbidden").mkdir(mode=0)
    return folder / "forbidden"


BAD = {
    "a name too long": lambda folder: folder / ("x" * 300),
    "a path too long": lambda folder: folder / ("x/" * 3000),
    "below a name too long": lambda folder: folder / ("é" * 128) / "x",
    "a pipe": _pipe,
    "a socket": _socket,
    "a device": lambda _: Path("/dev/zero"),
    "below a file": lambda folder: _file(folder) / "x",
    "a link to itself": _loop,
    "below a forbidden folder": _below_forbidden,
    "a forbidden folder": _forbidden,
}
MISSING = {
    "missing": lambda folder: folder / "nowhere",
    "missing folders": lambda folder: folder / "no" / "where",
    "a dangling link": _dangling,
}


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@pytest.fixture
def as_a_user(tmp_path: Path) -> Iterator[None]:
    """Make file modes count, also for root, by dropping the capabilities that bypass them, in this thread and those
    that it starts."""
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
    """Valid values for the other arguments."""
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
    """Check the exit code, and that there is one line."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert len(result.message.strip().splitlines()) == 1


def filled(words: str, path: str, good: dict[str, str], tmp_path: Path) -> list[str]:
    """The arguments of a command, with paths filled in."""
    known = {**good, "PATH": path, "NEW": str(tmp_path / "new")}
    return [known.get(word, word) for word in words.split()]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("wrong", [*BAD, *MISSING])
@pytest.mark.parametrize("which", COMMANDS)
def test_bad_paths(scoreline: Command, good: dict[str, str], tmp_path: Path, which: str, wrong: str) -> None:
    command = COMMANDS[which]
    if command.writes and wrong in MISSING:
        return  # a path where the output is created
    bad = (BAD | MISSING)[wrong](tmp_path)
    result = scoreline(*filled(command.words, str(bad), good, tmp_path))
    ends(result, command.code)
    assert not (tmp_path / "new").exists()
    if wrong == "a pipe":
        assert bad.is_fifo()


@pytest.mark.parametrize("which", COMMANDS)
def test_paths_that_are_not_utf8(scoreline: Command, good: dict[str, str], tmp_path: Path, which: str) -> None:
    """Also if the path exists."""
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
def test_options_that_are_not_utf8(
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
    """A command line cannot contain one."""
    options = {"bundle": good["BUNDLE"], "input": good["IN"], "output": str(tmp_path / "new"), name: "a\\u0000b"}
    lines = [
        f'{key} = ["{value}"]' if key in ("keys", "trust") else f'{key} = "{value}"' for key, value in options.items()
    ]
    (tmp_path / "job.toml").write_text("\n".join(lines))
    ends(scoreline("score", "--job", tmp_path / "job.toml"), 78)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["out/in.parquet", "out/_rejects/in.arrow", "out/_SUCCESS"])
@pytest.mark.parametrize("what", [_pipe, _socket], ids=["pipe", "socket"])
def test_pipes_and_sockets_in_an_output(
    scoreline: Command,
    iris: Example,
    good: dict[str, str],
    tmp_path: Path,
    name: str,
    what: Callable[[Path], Path],
) -> None:
    """In place of a part, its rejects, or a file of every run: neither opened nor replaced."""
    frame = iris.frame.copy()
    frame.loc[3, iris.features[0]] = None
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", good["BUNDLE"], "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert scoreline(*words, "--max-rejects", "1").code == 0
    (tmp_path / name).unlink()
    what(tmp_path).rename(tmp_path / name)
    result = scoreline(*words, "--max-rejects", "1")
    ends(result, 73)
    assert str(tmp_path / name) in result.message
    ends(scoreline("verify", tmp_path / "out"), 65)
    for command in (["evaluate", tmp_path / "out", "--label", "truth"], ["importance", tmp_path / "out"]):
        result = scoreline(*command)
        assert "Traceback" not in result.err
    assert not (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["run.json", "lock", "history.jsonl", "report.html"])
@pytest.mark.parametrize("what", [os.mkfifo, lambda path: path.symlink_to(path.name)], ids=["pipe", "link to itself"])
def test_pipes_and_loops_in_place_of_a_runs_records(
    scoreline: Command, good: dict[str, str], tmp_path: Path, name: str, what: Callable[[Path], None]
) -> None:
    shutil.copytree(good["OUT"], tmp_path / "out")
    (tmp_path / "out" / "_scoreline" / name).unlink()
    what(tmp_path / "out" / "_scoreline" / name)
    ends(scoreline("score", "--bundle", good["BUNDLE"], "--input", good["IN"], "--output", tmp_path / "out"), 73)
    unreadable = 65 if what is os.mkfifo else 66
    codes = (unreadable,) * 3 if name == "run.json" else (0, 0, 0)
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
    """It contains no files, whatever the format."""
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "a.csv")
    for words in ((), ("--format", "csv")):
        result = scoreline("check", "--bundle", good["BUNDLE"], "--input", tmp_path / "in", *words)
        ends(result, 66)


@pytest.mark.parametrize("words", ["score --bundle b --input i --output o", "verify o", "pack a.toml b"])
def test_a_removed_working_directory(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Command
) -> None:
    """torch would end the process without a word of ours."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = scoreline(*words.split())
    assert result.code == 2
    assert "the working directory has been removed; cd to one that exists" in result.err
    assert "Traceback" not in result.err

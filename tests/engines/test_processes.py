"""Scoring in several processes: the same bytes as in one, whatever happens to them."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.engines import processes, worker_engine
from scoreline.pipeline.engines.processes import ProcessEngine, WorkerDiedError, _Process
from scoreline.pipeline.engines.workers import WorkerLost, WorkersStarted
from scoreline.pipeline.errors import ClusterError, PartitionError
from scoreline.pipeline.events import Event
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.running.events import BlockWritten, BundleLoaded, RunStarted, SplitPublished
from scoreline.pipeline.running.run import run

from conftest import Example, Result
from outcomes import closed, equal_records, parts, visible

Command = Callable[..., Result]


@pytest.fixture
def words(iris: Example, data: Path) -> list[object]:
    """The job, without an output."""
    return ["score", "--bundle", iris.bundle, "--input", data, "--max-rejects", "2", "--split-rows", "100"]


@pytest.fixture
def in_processes(scoreline: Command, words: list[object], tmp_path: Path) -> Command:
    """Score in two processes."""
    engine = ["--engine", "processes", "--workers", "2"]
    return lambda *more: scoreline(*words, "--output", tmp_path / "out", *engine, *more)


@pytest.fixture
def whole(scoreline: Command, words: list[object], tmp_path: Path) -> dict[str, bytes]:
    """The output of one process."""
    assert scoreline(*words, "--output", tmp_path / "whole").code == 0
    return parts(tmp_path / "whole")


def job(iris: Example, data: Path, out: Path) -> ScoreJob:
    """The same job in Python."""
    return ScoreJob(
        bundle=str(iris.bundle), input=str(data), output=str(out), run_id="one", split_rows=100,
        max_rejects=RejectBudget(count=2), engine="processes", workers=2,
    )  # fmt: skip


def workers(parent: int) -> list[psutil.Process]:
    """The processes of the workers of a run."""
    children = psutil.Process(parent).children()
    servers = [child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())]
    return [worker for server in servers for worker in server.children()]


@contextmanager
def started(words: list[object], out: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A command whose two workers have just started."""
    given = [*words, "--output", out, "--split-rows", "10", "--engine", "processes", "--workers", "2"]
    command = [sys.executable, "-m", "scoreline", *map(str, given)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"workers_started"' in line:
                yield process, workers(process.pid)
                return


def test_the_same_bytes_as_in_one_process(
    in_processes: Command, whole: dict[str, bytes], words: list[object], scoreline: Command, tmp_path: Path
) -> None:
    """With the same records; stage times are those of all processes. Then there is nothing left to do in one process
    either, and a part that is lost is scored again."""
    result = in_processes()
    assert result.code == 0, result.err
    out = tmp_path / "out"
    assert parts(out) == whole
    equal_records(out, tmp_path / "whole")
    assert result.event("workers_started")["workers"] == 2
    assert "nothing_to_do" in scoreline(*words, "--output", out).err
    (out / "big-00003.parquet").unlink()
    assert in_processes().event("run_started")["to_score"] == {"missing": 1}
    assert parts(out) == whole
    assert workers(os.getpid()) == []


def test_keys_that_are_maps(scoreline: Command, iris: Example, tmp_path: Path) -> None:
    """Parquet files name their entries otherwise than Arrow, and a type that is sent to a process loses that name."""
    frame = iris.frame[iris.features].astype("float64")
    frame.loc[3, iris.features[0]] = float("nan")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    map_type = pa.map_(pa.string(), pa.int64())
    for name, arrow_type, value in [
        ("map", map_type, [("a", 1)]),
        ("maps", pa.list_(map_type), [[("a", 1)], []]),
        ("within", pa.struct([("inner", map_type)]), {"inner": [("b", 2)]}),
    ]:
        table = table.append_column(name, pa.array([value] * len(frame), arrow_type))
    pq.write_table(table, tmp_path / "in.parquet")
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--max-rejects", "1"]
    assert scoreline(*words, "--output", tmp_path / "one").code == 0
    assert scoreline(*words, "--output", tmp_path / "two", "--engine", "processes", "--workers", "1").code == 0
    assert parts(tmp_path / "one") == parts(tmp_path / "two")
    found = pq.read_table(tmp_path / "two" / "in.parquet")
    assert found["maps"].to_pylist() == [[[("a", 1)], []]] * (len(frame) - 1)


def test_a_killed_process(iris: Example, data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Costs what it was scoring: another one scores it again."""
    events: list[Event] = []

    def kill_one(event: Event) -> None:
        events.append(event)
        if isinstance(event, WorkersStarted):
            workers(os.getpid())[0].kill()

    run(job(iris, data, tmp_path / "out"), [kill_one], ProcessEngine())
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert lost.reason == "its process was killed by SIGKILL, as when memory runs out"
    assert parts(tmp_path / "out") == whole
    assert not [name for name in visible(tmp_path / "out") if ".tmp" in name]


def test_processes_that_always_die(iris: Example, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run, with the reason."""

    def begin(self: _Process, setup: Any) -> None:
        plain(self, setup)
        self._process.kill()

    plain = _Process.__init__
    monkeypatch.setattr(processes._Process, "__init__", begin)
    with pytest.raises(
        ClusterError, match=r"^3 workers in a row could not start, the last one because its process was"
    ):
        run(job(iris, data, tmp_path / "out"), [], ProcessEngine())
    assert visible(tmp_path / "out") == []
    assert workers(os.getpid()) == []


def test_a_killed_server(iris: Example, data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Is started again for the process that replaces another one."""
    events: list[Event] = []

    def kill_both(event: Event) -> None:
        events.append(event)
        if isinstance(event, WorkersStarted):
            worker = workers(os.getpid())[0]
            worker.parent().kill()
            worker.kill()

    run(job(iris, data, tmp_path / "out"), [kill_both], ProcessEngine())
    assert [event for event in events if isinstance(event, WorkerLost)]
    assert parts(tmp_path / "out") == whole
    assert workers(os.getpid()) == []


def test_a_server_that_always_dies(iris: Example, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the run, with the reason."""

    def start(self: Any) -> None:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(processes._PROCESSES.Process, "start", start)
    with pytest.raises(ClusterError, match=r"because the server that starts its process was killed$"):
        run(job(iris, data, tmp_path / "out"), [], ProcessEngine())
    assert visible(tmp_path / "out") == []


def test_a_killed_process_without_work(iris: Example, data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Before it gets some, and after there is none left."""
    events: list[Event] = []

    def kill_all(event: Event) -> None:
        events.append(event)
        if isinstance(event, BundleLoaded | BlockWritten) and not any(isinstance(one, WorkerLost) for one in events):
            for worker in workers(os.getpid()):
                worker.kill()
                worker.wait()

    run(job(iris, data, tmp_path / "out"), [kill_all], ProcessEngine())
    assert len([event for event in events if isinstance(event, WorkerLost)]) == 2
    assert parts(tmp_path / "out") == whole

    def kill_at_the_end(event: Event) -> None:
        if isinstance(event, SplitPublished):
            published.append(event)
        if len(published) == splits and isinstance(event, BlockWritten):
            kill_all(event)

    splits, published = len([name for name in whole if name.endswith(".parquet")]), list[Event]()
    events.clear()
    run(job(iris, data, tmp_path / "again"), [kill_at_the_end], ProcessEngine())
    assert parts(tmp_path / "again") == whole


class _OddError(Exception):
    """An exception that can be sent, but not received."""

    def __init__(self, *, needed: int) -> None:
        super().__init__(f"odd {needed}")


def fail(error: BaseException) -> NoReturn:
    """Raise it."""
    raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (_OddError(needed=3), "_OddError: odd 3"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_what_a_call_raises(error: BaseException, message: str) -> None:
    """Is known as text, with the traceback of the worker, whatever class it has."""
    ours, theirs = multiprocessing.Pipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_end_with_parent", lambda: None)
        patch.setattr(processes.Worker, "load", lambda _: fail(error))
        serving = threading.Thread(target=processes._serve, args=(theirs, None))
        serving.start()
        ours.send(("load", ()))
        failure = ours.recv()
        ours.close()
        serving.join()
    assert str(failure.error()).endswith(message)
    assert "in fail" in failure.error().__notes__[0]


def test_an_input_that_vanishes_while_workers_start(iris: Example, data: Path, tmp_path: Path) -> None:
    """Fails alone, as in one process."""

    def remove(event: Event) -> None:
        if isinstance(event, RunStarted):
            (data / "big.parquet").unlink()

    with pytest.raises(PartitionError, match=r"^big.parquet: .*1 of 5 inputs could not be read; the others are"):
        run(job(iris, data, tmp_path / "out"), [remove], ProcessEngine())
    assert json.loads((tmp_path / "out/_scoreline/run.json").read_text())["inputs"] == 5


def test_not_more_processes_than_splits(scoreline: Command, words: list[object], tmp_path: Path) -> None:
    """Five inputs of one split each."""
    given = [*words[:-2], "--output", tmp_path / "out", "--engine", "processes", "--workers", "40"]
    assert scoreline(*given).event("workers_started")["workers"] == 5


def test_ctrl_c_in_a_terminal(words: list[object], tmp_path: Path) -> None:
    """Goes to all processes, also while they start; only the run reports it."""
    given = [*words, "--output", tmp_path / "out", "--engine", "processes", "--workers", "2"]
    command = [sys.executable, "-m", "scoreline", *map(str, given)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        while not workers(process.pid):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "Traceback" not in said, said


def test_an_input_that_cannot_be_read(
    scoreline: Command, in_processes: Command, words: list[object], data: Path, tmp_path: Path
) -> None:
    """Fails alone, as in one process."""
    big = (data / "big.parquet").read_bytes()
    middle = len(big) // 2
    (data / "big.parquet").write_bytes(big[:middle] + bytes(400) + big[middle + 400 :])
    plain, result = scoreline(*words, "--output", tmp_path / "whole"), in_processes()
    assert (result.code, plain.code) == (65, 65)
    assert result.event("partition_failed")["partition"] == "big.parquet"
    assert "(1 of 5 inputs could not be read; the others are published)" in result.message
    for name, content in parts(tmp_path / "whole").items():
        if not name.startswith(("big", "_rejects")):
            assert parts(tmp_path / "out")[name] == content


@pytest.mark.parametrize(("budget", "allowed"), [("1", "1 allowed"), ("0.05%", "0.05% of ")])
def test_too_many_rejects(in_processes: Command, budget: str, allowed: str) -> None:
    """Of all processes together."""
    closed(in_processes("--max-rejects", budget), 65, "big.parquet: row ", f"2 rows rejected, {allowed}")


def test_what_a_worker_raises(in_processes: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the run: here it has other versions than the process of the run claims."""
    monkeypatch.setattr(worker_engine, "versions", lambda _: {"numpy": "1.0"})
    closed(in_processes(), 69, "worker on host ", "numpy is version ", "and 1.0 where the run was started")
    assert visible(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("words_more", "message"),
    [
        (["--shard", "1/2"], "--shard and --engine processes both divide the work"),
        (["--address", "auto"], "--address is only for --engine ray"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker is only for --engine ray"),
        (["--trace", "t.json"], "--trace records one process, not the workers of --engine processes; leave it out"),
    ],
)
def test_options_of_other_engines(in_processes: Command, words_more: list[str], message: str) -> None:
    """Are refused: they would be ignored."""
    closed(in_processes(*words_more), 2, message)


def test_memory_is_divided(iris: Example, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has its share of --memory."""
    seen: list[int | None] = []

    def begin(_: _Process, setup: Any) -> None:
        seen.append(setup.job.memory_bytes)
        raise WorkerDiedError("it is only asked for")

    monkeypatch.setattr(processes._Process, "__init__", begin)
    given = ScoreJob(**{**vars_of(job(iris, data, tmp_path / "out")), "memory_bytes": 1 << 30})
    with pytest.raises(WorkerDiedError):
        run(given, [], ProcessEngine())
    assert seen == [1 << 29]


def vars_of(given: ScoreJob) -> dict[str, Any]:
    """The fields of a job."""
    return {name: getattr(given, name) for name in given.__dataclass_fields__}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_processes(words: list[object], tmp_path: Path, number: signal.Signals) -> None:
    """Without temporaries left; the same command in one process completes the output."""
    with started(words, tmp_path / "out") as (process, children):
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait() == 128 + number, said
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert not [name for name in visible(tmp_path / "out") if ".tmp" in name or name == "_SUCCESS"]


def test_the_workers_of_a_killed_run_end(words: list[object], scoreline: Command, tmp_path: Path) -> None:
    """At once, since the next run may begin; it completes the output."""
    with started(words, tmp_path / "out") as (process, children):
        process.kill()
        process.wait()
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert scoreline(*words, "--output", tmp_path / "out", "--split-rows", "10").code == 0
    assert not [name for name in visible(tmp_path / "out") if ".tmp" in name]


def test_a_script(words: list[object], whole: dict[str, bytes], tmp_path: Path) -> None:
    """Is not run again by the processes: it needs no guard."""
    given = [*map(str, words), "--output", str(tmp_path / "out"), "--engine", "processes", "--workers", "2"]
    script = tmp_path / "nightly.py"
    script.write_text(f"print('begun')\nfrom scoreline.jobs.cli import main\nmain({given!r})\n")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.count("begun")) == (0, 1), found.stderr
    assert parts(tmp_path / "out") == whole


@pytest.mark.parametrize("long", [False, True])
def test_an_unusual_place(words: list[object], whole: dict[str, bytes], tmp_path: Path, long: bool) -> None:
    """A folder with modules that Python itself would import, and a temporary folder whose path is longer than that of a
    socket may be."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("random", "string", "json", "torch", "scoreline", "pipeline", "tempfile"):
        (folder / f"{name}.py").write_text("open('imported', 'a').write(__name__)\nraise SystemExit(9)\n")
    temporary = tmp_path / "/".join(["a-job-of-a-cluster"] * (5 if long else 1))
    temporary.mkdir(parents=True)
    command = [Path(sys.executable).parent / "scoreline", *words, "--output", tmp_path / "out", "--engine", "processes"]
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / "imported").exists()
    assert parts(tmp_path / "out") == whole
    assert list(temporary.iterdir()) == []


def test_no_folder_for_sockets(in_processes: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container whose file system cannot be written to."""
    monkeypatch.setattr(processes, "_OTHER_FOLDERS", ())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 90)))
    closed(in_processes(), 2, "cannot start processes: there is no folder for their sockets; set TMPDIR to one that")


def test_a_working_directory_that_cannot_be_entered(in_processes: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of root, for another user that `sudo -u` chooses."""
    monkeypatch.setattr(os, "getcwd", lambda: "/of/somebody/else")
    closed(in_processes(), 2, "the working directory '/of/somebody/else' cannot be entered; cd to one that can")

"""Scores the splits of a run in several processes of this machine. Threads of one process share the GIL, which is what
limits a run on many cores, or over many small files. Does not import torch.

Processes are copies of a server that has imported torch, and does nothing else: they start at once, and share the
memory of its modules. Threads, of which there are many in a run, do not survive such a copy; the server has none.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from threading import Lock, Thread
from types import ModuleType
from typing import Any

from ..errors import UsageError, one_line
from ..planning.plan import Plan
from ..records import Partition
from ..running.execute import Execution
from .worker import Worker, WorkerSetup
from .worker_engine import WorkerEngine, worker_setup
from .workers import Launcher, Size, Workers

_PROCESSES = multiprocessing.get_context("forkserver")
#: What the server imports.
_PRELOADED = [f"{__name__.removesuffix('processes')}preloaded"]
_SAFE_PATH = "PYTHONSAFEPATH"
#: Signals that a terminal sends to the whole group: they are for the run, which ends its workers.
_FOR_THE_RUN = (signal.SIGINT, signal.SIGHUP)
#: How a worker ends whose run has ended without it.
ABANDONED = 70
#: The longest path of a socket on Linux, and what `multiprocessing` appends to the temporary folder. Other folders than
#: that of TMPDIR, for where it cannot be written to, or its path is too long.
_LONGEST_SOCKET, _SOCKET = 107, "/pymp-12345678/listener-12345678"
_OTHER_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run/shm")


class ProcessEngine(WorkerEngine):
    """Workers in processes of this machine."""

    def begin(self, execution: Execution, inputs: Sequence[Partition]) -> None:  # noqa: ARG002 - for any inputs
        """Start the server: importing torch takes as long as planning thousands of files. Raises UsageError where
        processes cannot be started."""
        if (reason := cannot_start()) is not None:
            raise UsageError(f"--engine processes cannot start processes: {reason}")
        _unsignalled(_serve_processes)

    def workers(self, execution: Execution, plan: Plan) -> Workers:
        """As many as the job says, or one for each core, but not more than there are splits; cores and memory are
        divided among them."""
        job, cores = execution.job, execution.cores.count
        workers = min(job.workers or cores, sum(planned.num_splits or 1 for planned in plan.partitions))
        size = Size(workers=workers, cores=max(1, cores // workers))
        memory = None if job.memory_bytes is None else max(1, job.memory_bytes // size.workers)
        setup = worker_setup(execution, plan, replace(job, memory_bytes=memory), size.cores)
        # An input that changes meanwhile fails alone: that workers see it needs no proof on one machine.
        return Workers(ProcessLauncher(), replace(setup, sample=None), size, execution.emit)


class WorkerDiedError(Exception):
    """The process of a worker has ended before it returned."""


class WorkerFailedError(Exception):
    """A worker raised what it should not; its traceback is added as a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    """What a call of a worker has raised, as text: not every exception can be sent."""

    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> _Failure:
        """Of an exception that is being handled."""
        message = one_line(RuntimeError(traceback.format_exception_only(error)[-1]))
        return cls(message=message, traceback="".join(traceback.format_exception(error)))

    def error(self) -> WorkerFailedError:
        """An exception with the same text."""
        made = WorkerFailedError(self.message)
        made.add_note(f"In a worker:\n{self.traceback}")
        return made


class ProcessLauncher(Launcher):
    """Workers as processes, which end with this one."""

    def start(self, setup: WorkerSetup, size: Size) -> _Process:  # noqa: ARG002 - nobody reserves cores
        """A new process."""
        return _Process(setup)

    def call(self, worker: _Process, method: str, *arguments: Any) -> Future[Any]:
        """The result comes through a pipe."""
        return worker.call(method, arguments)

    def kill(self, worker: _Process) -> None:
        """End a process, and wait for its end."""
        worker.kill()

    def lost(self, error: BaseException) -> str | None:
        """The process has ended."""
        return str(error) if isinstance(error, WorkerDiedError) else None

    def no_room(self, size: Size) -> str:
        """It takes that long to load the bundle."""
        return f"{size.workers} processes load the bundle at once; pass fewer --workers"


class _Process:
    """A process with a worker, and a thread that waits for what it returns."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._connection, theirs = _PROCESSES.Pipe()
        self._calls: deque[Future[Any]] = deque()
        self._lock, self._ended = Lock(), False
        self._process = _PROCESSES.Process(target=_serve, args=(theirs, setup), daemon=True)
        _unsignalled(self._start)
        theirs.close()
        self._thread = Thread(target=self._receive, name="worker", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        """Start the process, unless the server dies meanwhile: then there is none, which its first call reports."""
        _serve_processes()
        with _without_main(), suppress(OSError, EOFError):
            self._process.start()

    def call(self, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Call a method of the worker. If its process has ended, the future has that as its exception."""
        future = Future[Any]()
        future.set_running_or_notify_cancel()
        with self._lock:
            ended = self._ended
            if not ended:
                self._calls.append(future)
        if ended:
            future.set_exception(self._died())
        else:
            with suppress(OSError):  # it has ended, which the thread finds out
                self._connection.send((method, arguments))
        return future

    def kill(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            pid = None if self._ended else self._process.pid
        if pid is not None:  # `Process.kill` does nothing once the server has died
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._thread.join()  # it waits for the process
        self._connection.close()

    def _receive(self) -> None:
        """Complete the calls in their order, until the process ends."""
        while (answer := self._next()) is not None:
            with self._lock:
                future = self._calls.popleft()
            if isinstance(answer, _Failure):
                future.set_exception(answer.error())
            else:
                future.set_result(answer[0])
        if self._process.pid is not None:
            self._process.join()
        with self._lock:
            self._ended, calls = True, [*self._calls]
        for future in calls:
            future.set_exception(self._died())

    def _next(self) -> tuple[Any] | _Failure | None:
        """What the worker returned; None once its process has ended."""
        try:
            answer: tuple[Any] | _Failure = self._connection.recv()
        except (EOFError, OSError):
            return None
        except Exception as error:  # whatever the class of a returned object raises
            return _Failure.of(error)
        return answer

    def _died(self) -> WorkerDiedError:
        code = self._process.exitcode
        if code is None:
            return WorkerDiedError("the server that starts its process was killed")
        if code < 0:
            hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
            return WorkerDiedError(f"its process was killed by {signal.Signals(-code).name}{hint}")
        return WorkerDiedError(f"its process ended with code {code}")


def cannot_start() -> str | None:
    """Why no process can be started here; None where one can."""
    folder = os.getcwd()  # noqa: PTH109 - as `multiprocessing` does, which changes to it by this path
    if not os.access(folder, os.X_OK):
        return f"the working directory {folder!r} cannot be entered; cd to one that can"
    if _socket_folder() is None:
        return "there is no folder for their sockets; set TMPDIR to one that can be written to, with a short path"
    return None


def _socket_folder() -> str | None:
    """Where `multiprocessing` can make a socket."""
    try:
        folders = [tempfile.gettempdir(), *_OTHER_FOLDERS]
    except FileNotFoundError:  # there is no temporary folder
        folders = [*_OTHER_FOLDERS]
    fitting = (folder for folder in folders if len(os.fsencode(folder + _SOCKET)) <= _LONGEST_SOCKET)
    return next((folder for folder in fitting if os.access(folder, os.W_OK | os.X_OK)), None)


@contextmanager
def _starting() -> Iterator[None]:
    """What the processes of `multiprocessing` need where they are started: nothing is imported from the current folder,
    and their sockets have a folder."""
    temporary, known = tempfile.tempdir, os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = known or "1"
    tempfile.tempdir = _socket_folder()
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        if known is None:
            del os.environ[_SAFE_PATH]


def _unsignalled(call: Callable[[], None]) -> None:
    """Make a call in a thread that gets no signal of a terminal, nor do the processes that it starts. A signal
    interrupts the main thread, which does not wait any more then, but not a start halfway: a process that nobody calls
    ends."""

    def blocked() -> None:
        with _starting():
            resource_tracker.ensure_running()  # before: it unblocks signals where it starts
            signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_RUN)
            call()

    other = ThreadPoolExecutor(1)
    try:
        other.submit(blocked).result()
    finally:
        other.shutdown(wait=False)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module, which a new process would otherwise import: a script would be run again. What a worker is
    sent is not defined there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve_processes() -> None:
    """Start the server, if it does not run. Does not wait for it."""
    forkserver.set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    """Execute calls until the run closes the connection. If the run dies, the worker ends at once, since another run
    may take over the output."""
    Thread(target=_end_with_parent, daemon=True).start()
    worker = Worker(setup)
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Any] | _Failure
        try:
            answer = (getattr(worker, method)(*arguments),)
        except BaseException as error:  # even SystemExit, which a model raises, is for the run to report
            answer = _Failure.of(error)
        try:
            connection.send(answer)
        except OSError:
            return
        except Exception as error:  # it cannot be sent
            connection.send(_Failure.of(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"
    wait([parent.sentinel])
    os._exit(ABANDONED)

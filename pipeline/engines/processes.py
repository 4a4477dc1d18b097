"""Scores the splits of a run in several processes of this machine. Threads of one process share the GIL, which is what
limits a run on many cores. Does not import torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ..planning.plan import Plan
from ..running.execute import Execution
from .worker import Worker, WorkerSetup
from .worker_engine import WorkerEngine, worker_setup
from .workers import Launcher, Size, Workers

#: Processes start anew: threads, of which there are many in a run, do not survive a fork.
_PROCESSES = multiprocessing.get_context("spawn")
#: How a worker ends whose run has ended without it.
ABANDONED = 70


class ProcessEngine(WorkerEngine):
    """Workers in processes of this machine."""

    def workers(self, execution: Execution, plan: Plan) -> Workers:
        """As many as the job says, or one for each core; cores and memory are divided among them."""
        job, cores = execution.job, execution.cores.count
        size = Size(workers=job.workers or cores, cores=max(1, cores // (job.workers or cores)))
        memory = None if job.memory_bytes is None else max(1, job.memory_bytes // size.workers)
        setup = worker_setup(execution, plan, replace(job, memory_bytes=memory), size.cores)
        return Workers(ProcessLauncher(), setup, size, execution.emit)


class WorkerDiedError(Exception):
    """The process of a worker has ended before it returned."""


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
        self._calls: SimpleQueue[Future[Any]] = SimpleQueue()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs, setup), daemon=True)
        self._process.start()
        theirs.close()
        self._thread = Thread(target=self._receive, name="worker", daemon=True)
        self._thread.start()

    def call(self, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        future = Future[Any]()
        future.set_running_or_notify_cancel()
        self._calls.put(future)
        with suppress(OSError):  # it has ended, which the thread finds out
            self._connection.send((method, arguments))
        return future

    def kill(self) -> None:
        self._process.kill()
        self._thread.join()  # it waits for the process
        self._connection.close()

    def _receive(self) -> None:
        """Complete the calls in their order, until the process ends."""
        while True:
            try:
                result, error = self._connection.recv()
            except (EOFError, OSError):
                break
            future = self._calls.get()
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._process.join()
        while not self._calls.empty():
            self._calls.get().set_exception(WorkerDiedError(f"its process {_ended(self._process.exitcode)}"))


def _ended(code: int | None) -> str:
    """How a process has ended."""
    if code is not None and code < 0:
        hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-code).name}{hint}"
    return f"ended with code {code}"


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    """Execute calls until the run closes the connection. Signals of the terminal are for the run, which ends its
    workers; if it dies, they end at once, since another run may take over the output."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    worker = Worker(setup)
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = getattr(worker, method)(*arguments), None
        except Exception as error:  # is raised by the run
            answer = None, error
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"
    wait([parent.sentinel])
    os._exit(ABANDONED)

"""The workers of a run, in processes of any kind. Independent of what starts them: Ray, or this process.

A worker is never restarted: a lost one is replaced by a new one, which loads the bundle again, and its piece goes back
to the queue. Results arrive as futures, so that signals interrupt the waiting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ClusterError, ScorelineError
from ..events import Emitter, Event, Level
from .pieces import Piece, PieceQueue
from .worker import PieceResult, Ready, WorkerSetup

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..timing import StageTimes

#: How long a run waits for its first worker, and then for those that start at the same time.
FIRST_S, OTHERS_S = 600.0, 30.0
#: How many workers may be lost in a row before they are ready.
MAX_LOST_STARTS = 3
#: How long the workers may take to end.
END_S = 5.0


class WorkersStarted(Event):
    """Workers have loaded the bundle."""

    name: ClassVar[str] = "workers_started"
    workers: int
    hosts: list[str]
    #: Those that are still starting, or wait for room in the cluster.
    not_ready: int


class WorkerLost(Event):
    """A worker was lost; what it was scoring is scored again."""

    name: ClassVar[str] = "worker_lost"
    level: ClassVar[Level] = "warning"
    piece: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many workers there are, and what each of them reserves."""

    workers: int
    cores: int = 1
    gpus: int = 0


class Launcher(ABC):
    """Starts workers, and carries calls to them."""

    @abstractmethod
    def start(self, setup: WorkerSetup, size: Size) -> Any:
        """Start a process with a `Worker`, by which all other methods know it. Does not wait for it."""

    @abstractmethod
    def call(self, worker: Any, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of a worker, which executes its calls one after the other."""

    @abstractmethod
    def kill(self, worker: Any) -> None:
        """End a worker at once, whatever it does."""

    @abstractmethod
    def lost(self, error: BaseException) -> str | None:
        """Why a worker was lost, if the exception of a call says that; None if the call itself raised it."""

    @abstractmethod
    def no_room(self, size: Size) -> str:
        """Why no worker may have started, and what to do."""


@dataclass(eq=False, slots=True)
class _Call:
    """A call of a worker that has not returned. `piece`: None while it loads the bundle."""

    worker: Any
    piece: Piece | None = None


@dataclass(eq=False)
class Workers:
    """The workers of a run. Events are emitted in the calling thread.

    Args:
        setup: of each worker.
    """

    launcher: Launcher
    setup: WorkerSetup
    size: Size
    emit: Emitter
    num_lost: int = field(default=0, init=False)
    first: Ready | None = field(default=None, init=False)
    _idle: list[Any] = field(default_factory=list, init=False)
    _open: set[_Call] = field(default_factory=set, init=False)
    _returned: SimpleQueue[tuple[_Call, Future[Any]]] = field(default_factory=SimpleQueue, init=False)
    _lost_starts: int = field(default=0, init=False)

    def start(self) -> Ready:
        """Start all workers, and wait until they have loaded the bundle, but not long for the last ones. Returns what
        the first of them found.

        Raises:
            ScorelineError: a worker cannot load the bundle, or differs from the others.
            ClusterError: no worker can be started.
        """
        hosts = list[str]()
        for _ in range(self.size.workers):
            self._start_one()
        end = monotonic() + FIRST_S
        while self._open:
            try:
                call, future = self._returned.get(timeout=max(0.0, end - monotonic()))
            except Empty:
                break
            if (ready := self._loaded(call, future)) is not None:
                hosts.append(ready.host)
                if len(hosts) == 1:
                    end = monotonic() + OTHERS_S
        if self.first is None:
            raise self._no_worker()
        self.emit(WorkersStarted(workers=len(hosts), hosts=sorted(set(hosts)), not_ready=len(self._open)))
        return self.first

    def score(self, queue: PieceQueue) -> Iterator[PieceResult]:
        """Score all pieces, and yield what was done, in any order. Pieces of lost workers are scored again.

        Raises:
            ScorelineError: a new worker cannot load the bundle, or differs from the others.
            ClusterError: workers are lost again and again.
        """
        while True:
            while self._idle and (piece := queue.take()) is not None:
                self._call(_Call(self._idle.pop(), piece), "score", piece)
            scoring = sum(call.piece is not None for call in self._open)
            if self._idle and not scoring:
                return
            try:
                call, future = self._returned.get(timeout=None if scoring else FIRST_S)
            except Empty:
                raise self._no_worker() from None
            if call.piece is None:
                self._loaded(call, future)
            elif (error := self._failure(call, future)) is None:
                self._idle.append(call.worker)
                yield future.result()
            else:
                self._replace(call, error)
                queue.put_back(call.piece, error)

    def summary(self, times: StageTimes) -> list[Event]:
        """What the stages report at the end, on any worker; those that agree report it once."""
        found = list[Event]()
        futures = [self.launcher.call(worker, "summary", times) for worker in self._idle]
        for future in futures:
            if future.exception() is None:
                found += [event for event in future.result() if event not in found]
        return found

    def close(self) -> None:
        """End all workers, and wait until none of them writes."""
        for worker in [*self._idle, *(call.worker for call in self._open)]:
            self.launcher.kill(worker)
        end = monotonic() + END_S
        with suppress(Empty):
            while self._open:
                call, _ = self._returned.get(timeout=max(0.0, end - monotonic()))
                self._open.discard(call)
        self._idle.clear()
        self._open.clear()

    def _start_one(self) -> None:
        self._call(_Call(self.launcher.start(self.setup, self.size)), "load")

    def _call(self, call: _Call, method: str, *arguments: Any) -> None:
        self._open.add(call)
        future = self.launcher.call(call.worker, method, *arguments)
        future.add_done_callback(partial(_put, self._returned, call))

    def _loaded(self, call: _Call, future: Future[Any]) -> Ready | None:
        """A worker has loaded the bundle, or was lost before (None)."""
        if (error := self._failure(call, future)) is not None:
            self._lost_starts += 1
            if self._lost_starts == MAX_LOST_STARTS:
                raise ClusterError(f"{MAX_LOST_STARTS} workers in a row could not start, the last one because {error}")
            self._replace(call, error)
            return None
        ready: Ready | ScorelineError = future.result()
        if isinstance(ready, ScorelineError):
            raise ready
        self.first = ready if self.first is None else self.first
        _refuse_difference(self.first, ready)
        self._lost_starts = 0
        self._idle.append(call.worker)
        return ready

    def _failure(self, call: _Call, future: Future[Any]) -> str | None:
        """Why a worker was lost during a call; None if the call has returned. Raises what the call raised."""
        self._open.discard(call)
        if (error := future.exception()) is None:
            return None
        if (reason := self.launcher.lost(error)) is None:
            raise error
        return reason

    def _replace(self, call: _Call, reason: str) -> None:
        self.launcher.kill(call.worker)  # which may be out of reach, but alive
        self.num_lost += 1
        self.emit(WorkerLost(piece=None if call.piece is None else str(call.piece), reason=reason))
        self._start_one()

    def _no_worker(self) -> ClusterError:
        return ClusterError(f"no worker could start within {FIRST_S:.0f} s: {self.launcher.no_room(self.size)}")


def _put(returned: SimpleQueue[tuple[_Call, Future[Any]]], call: _Call, future: Future[Any]) -> None:
    returned.put((call, future))


def _refuse_difference(first: Ready, other: Ready) -> None:
    """Raise ClusterError for workers that would not write the same bytes."""
    names: Sequence[str] = sorted({*first.made_with, *other.made_with})
    for name in names:
        one, another = first.made_with.get(name), other.made_with.get(name)
        if one != another:
            raise ClusterError(
                f"workers differ: {name} is {one} on host {first.host!r} and {another} on host {other.host!r}; choose"
                " machines of one kind, or pass --device and --batch-size"
            )

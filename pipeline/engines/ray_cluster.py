"""The workers of a run as actors of Ray Core. The only module that imports Ray, and only when a run needs it.

An actor is not restarted (`max_restarts=0`): a lost one is replaced by a new one, which loads the bundle again, and its
piece goes back to the queue. Results arrive as futures, since a signal does not interrupt `ray.wait`.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from ..cores import available_cores
from ..errors import ClusterError, ScorelineError, UsageError, one_line
from ..events import Emitter, Event, Level
from ..options import ScoreJob
from .pieces import Piece, PieceQueue
from .worker import PieceResult, Ready, Worker, WorkerSetup

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..timing import StageTimes

#: How long a run waits for its first worker, and then for those that start at the same time.
FIRST_S, OTHERS_S = 600.0, 30.0
#: How many workers may be lost in a row before they are ready.
MAX_LOST_STARTS = 3
#: How long the head of a cluster may take to accept a connection.
REACH_S = 10.0
#: How long the workers may take to end.
END_S = 5.0
#: Memory for objects of a local Ray; results are small.
STORE_BYTES = 100 << 20
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class WorkersStarted(Event):
    """Workers on Ray have loaded the bundle."""

    name: ClassVar[str] = "workers_started"
    workers: int
    hosts: list[str]
    #: Those that are still starting, or wait for room in the cluster.
    not_ready: int


class WorkerLost(Event):
    """A worker on Ray was lost; what it was scoring is scored again."""

    name: ClassVar[str] = "worker_lost"
    level: ClassVar[Level] = "warning"
    piece: str | None
    reason: str


@contextmanager
def connected(job: ScoreJob) -> Iterator[None]:
    """Connect to the cluster of a job, or start a local Ray, which ends with the block. A connection that exists
    already is used.

    Raises:
        UsageError: Ray is not installed, or the job has an address, but a connection exists.
        ClusterError: the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray; install it with: pip install 'scoreline[ray]'") from error
    if ray.is_initialized():
        if job.address is not None:
            raise UsageError(
                f"this process is connected to Ray already, so the address {job.address!r} cannot be used; leave it out"
            )
        yield
        return
    address = job.address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local Ray does not report its use
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address == "local":
        options |= {"num_cpus": job.workers or available_cores().count, "include_dashboard": False}
        options |= {"object_store_memory": STORE_BYTES}
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _check_reachable(address)
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {address!r} cannot be used: {one_line(error)}; check --address") from error
    finally:
        for number, handler in handlers.items():  # Ray has replaced some
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at an address: Ray itself would wait for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many workers there are, and what each of them reserves."""

    workers: int
    cores: int = 1
    gpus: int = 0


def cluster_size(job: ScoreJob) -> Size:
    """As many workers as the job says, or as the connected cluster has cores or GPUs for. A worker without a GPU has
    one core; one with GPUs its share of the cores beside them.

    Raises:
        ClusterError: no machine of the cluster has room for a worker.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = job.gpus_per_worker
    if gpus is None:
        return Size(workers=job.workers or max(1, int(sum(node.get("CPU", 0) for node in nodes))))
    rooms = [(int(node.get("GPU", 0)) // gpus, int(node.get("CPU", 0))) for node in nodes]
    rooms = [(workers, cores) for workers, cores in rooms if workers]
    if not rooms:
        raise ClusterError(f"no machine of the Ray cluster has {gpus} GPUs; pass fewer with --gpus-per-worker")
    cores = min(cores // workers for workers, cores in rooms)
    return Size(workers=job.workers or sum(workers for workers, _ in rooms), cores=max(1, cores), gpus=gpus)


@dataclass(eq=False, slots=True)
class _Call:
    """A call of an actor that has not returned. `piece`: None while it loads the bundle."""

    actor: Any
    piece: Piece | None = None


@dataclass(eq=False)
class Workers:
    """The actors of a run. Events are emitted in the calling thread.

    Args:
        setup: of each worker.
    """

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
                actor = self._idle.pop()
                self._call(_Call(actor, piece), actor.score.remote(piece))
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
                self._idle.append(call.actor)
                yield future.result()
            else:
                self._replace(call, error)
                queue.put_back(call.piece, error)

    def summary(self, times: StageTimes) -> list[Event]:
        """What the stages report at the end, on any worker; those that agree report it once."""
        found = list[Event]()
        futures = [actor.summary.remote(times).future() for actor in self._idle]
        for future in futures:
            if future.exception() is None:
                found += [event for event in future.result() if event not in found]
        return found

    def close(self) -> None:
        """End all workers, and wait until none of them writes."""
        import ray

        for actor in [*self._idle, *(call.actor for call in self._open)]:
            ray.kill(actor)
        end = monotonic() + END_S
        with suppress(Empty):
            while self._open:
                call, _ = self._returned.get(timeout=max(0.0, end - monotonic()))
                self._open.discard(call)
        self._idle.clear()
        self._open.clear()

    def _start_one(self) -> None:
        import ray

        kind = ray.remote(
            num_cpus=self.size.cores, num_gpus=self.size.gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(Worker)  # fmt: skip
        actor = kind.remote(self.setup)
        self._call(_Call(actor), actor.load.remote())

    def _call(self, call: _Call, result: Any) -> None:
        self._open.add(call)
        result.future().add_done_callback(partial(_put, self._returned, call))

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
        self._idle.append(call.actor)
        return ready

    def _failure(self, call: _Call, future: Future[Any]) -> str | None:
        """Why a worker was lost during a call; None if the call has returned. Raises what the call raised."""
        from ray.exceptions import RayError, RayTaskError

        self._open.discard(call)
        error = future.exception()
        if error is None:
            return None
        if isinstance(error, RayTaskError) or not isinstance(error, RayError):
            raise error
        return _reason(error)

    def _replace(self, call: _Call, reason: str) -> None:
        import ray

        ray.kill(call.actor)  # which may be out of reach, but alive
        self.num_lost += 1
        self.emit(WorkerLost(piece=None if call.piece is None else str(call.piece), reason=reason))
        self._start_one()

    def _no_worker(self) -> ClusterError:
        return ClusterError(
            f"no worker could start within {FIRST_S:.0f} s: the Ray cluster has no room for"
            f" {self.size.cores} CPUs and {self.size.gpus} GPUs; wait for other jobs, or add machines"
        )


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


def _reason(error: Exception) -> str:
    """The cause in a message of Ray, without its advice."""
    text = one_line(error)
    begin = text.find("The actor is dead because")
    return text[max(0, begin) :].partition(" Some common causes")[0].rstrip(".")

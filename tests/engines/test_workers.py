"""Workers that are lost and replaced, with a launcher whose workers are in the test's own hands."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from scoreline.pipeline.engines import workers as workers_module
from scoreline.pipeline.engines.pieces import MAX_LOSSES, Piece, PieceQueue
from scoreline.pipeline.engines.workers import MAX_LOST_STARTS, Launcher, Size, WorkerLost, Workers, WorkersStarted
from scoreline.pipeline.errors import BundleError, ClusterError
from scoreline.pipeline.events import Emitter, Event


class LostError(Exception):
    """A worker was lost."""


@dataclass
class Answers(Launcher):
    """Workers are numbers. `load`, `score`: what the calls of each return or raise, in order; then `otherwise`."""

    load: list[Any] = field(default_factory=list)
    score: list[Any] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    started: int = 0

    def start(self, setup: Any, size: Size) -> int:
        self.started += 1
        return self.started

    def call(self, worker: int, method: str, *arguments: Any) -> Future[Any]:
        future = Future[Any]()
        if method == "summary":
            answer: Any = ["summed up"]
        else:
            rest = self.load if method == "load" else self.score
            answer = rest.pop(0) if rest else ready() if method == "load" else arguments[0].num_rows
        if isinstance(answer, Exception) and not isinstance(answer, BundleError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def kill(self, worker: int) -> None:
        self.killed.append(worker)

    def lost(self, error: BaseException) -> str | None:
        return "it was lost" if isinstance(error, LostError) else None

    def no_room(self, size: Size) -> str:
        return f"no room for {size.workers}"


def ready(**made_with: str) -> Any:
    """What a worker answers that has loaded the bundle."""
    return SimpleNamespace(host="h", made_with={"device": "cpu"} | made_with)


def pieces(*rows: int) -> PieceQueue:
    """Pieces with these rows."""
    partition = SimpleNamespace(name="a")
    return PieceQueue([Piece(planned=(SimpleNamespace(partition=partition, own=None),), num_rows=n) for n in rows])  # type: ignore[arg-type]


def workers_of(launcher: Answers, number: int = 2) -> tuple[Workers, list[Event]]:
    """Workers, and the events that they emit."""
    events: list[Event] = []
    setup: Any = None
    return Workers(launcher, setup, Size(workers=number), Emitter([events.append])), events


def test_all_pieces_are_scored() -> None:
    """The summary, on which they agree, is given once; then all are killed."""
    launcher = Answers()
    workers, events = workers_of(launcher)
    assert workers.start().host == "h"
    assert [(event.workers, event.not_ready) for event in events if isinstance(event, WorkersStarted)] == [(2, 0)]
    assert sorted(workers.score(pieces(3, 1, 2))) == [1, 2, 3]  # type: ignore[type-var]
    times: Any = None
    assert workers.summary(times) == ["summed up"]
    workers.close()
    assert sorted(launcher.killed) == [1, 2]
    assert workers.num_lost == 0


def test_the_piece_of_a_lost_worker_is_scored_again() -> None:
    """By a new one or another."""
    launcher = Answers(score=[LostError()])
    workers, events = workers_of(launcher)
    workers.start()
    assert sorted(workers.score(pieces(3, 1, 2))) == [1, 2, 3]  # type: ignore[type-var]
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert (lost.piece, lost.reason) == ("'a'", "it was lost")
    assert (launcher.started, workers.num_lost) == (3, 1)


def test_a_piece_that_is_lost_too_often() -> None:
    """Ends the run."""
    workers, _ = workers_of(Answers(score=[LostError()] * MAX_LOSSES), 1)
    workers.start()
    with pytest.raises(ClusterError, match="workers were lost 3 times while they scored this"):
        list(workers.score(pieces(1)))


def test_workers_that_are_lost_before_they_are_ready() -> None:
    """Are replaced, unless too many in a row are."""
    workers, _ = workers_of(Answers(load=[LostError()] * (MAX_LOST_STARTS - 1)), 1)
    workers.start()
    assert workers.num_lost == MAX_LOST_STARTS - 1
    workers, _ = workers_of(Answers(load=[LostError()] * MAX_LOST_STARTS), 1)
    with pytest.raises(ClusterError, match="3 workers in a row could not start, the last one because it was lost"):
        workers.start()


def test_what_ends_the_run() -> None:
    """A bundle that cannot be loaded, workers that differ, what a call raises itself, no worker in time."""
    workers, _ = workers_of(Answers(load=[BundleError("broken")]))
    with pytest.raises(BundleError, match="broken"):
        workers.start()
    workers, _ = workers_of(Answers(load=[ready(), ready(device="cuda")]))
    with pytest.raises(ClusterError, match="workers differ: device is cpu on host 'h' and cuda on host 'h'"):
        workers.start()
    workers, _ = workers_of(Answers(score=[KeyError("bug")]), 1)
    workers.start()
    with pytest.raises(KeyError, match="bug"):
        list(workers.score(pieces(1)))


def test_no_worker_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher says why that may be."""
    monkeypatch.setattr(workers_module, "FIRST_S", 0.0)
    monkeypatch.setattr(Answers, "call", lambda *_: Future())
    workers, _ = workers_of(Answers())
    with pytest.raises(ClusterError, match="no worker could start within 0 s: no room for 2"):
        workers.start()

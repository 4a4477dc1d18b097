"""A lock in an object store, against a real S3 server on the loopback interface."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from scoreline.pipeline.storage import lease as module
from scoreline.pipeline.storage.lease import Lease, LeaseHeldError, LeaseLostError, described, has_ended, this_process
from scoreline.pipeline.storage.remote import Bucket

from object_storage import LOSE, RESET, Request, Storage, every_service

PREFIX = "out/_scoreline/lock/"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats and lifetimes short enough for a test."""
    monkeypatch.setattr(module, "LIFETIME_S", 0.8)
    monkeypatch.setattr(module, "BEAT_S", 0.05)


@pytest.fixture
def lease(storage: Storage) -> Callable[..., Lease]:
    """A new lease of this process."""
    return lambda run="run-1", **more: Lease(storage.bucket, PREFIX, described(run), **more)


def leave_behind(storage: Storage, process: object) -> None:
    """The objects of a process that was killed."""
    record = {**described("dead"), "process": process, "nonce": "1"}
    storage.put(f"{PREFIX}00000003.held", json.dumps(record).encode())
    storage.put(f"{PREFIX}00000003.beat", b"1")


@every_service
def test_only_one_has_it(lease: Callable[..., Lease], storage: Storage) -> None:
    """Another is told who has it; once it is released, it is taken at once. Objects of earlier epochs are removed."""
    first, second = lease("run-1"), lease("run-2")
    first.take()
    with pytest.raises(LeaseHeldError, match=r"^process \d+ on .+, run run-1$"):
        second.take()
    first.check()
    first.release()
    start = time.monotonic()
    third = lease("run-3")
    third.take()
    assert time.monotonic() - start < 0.5
    third.release()
    assert {one.key.removeprefix(PREFIX)[:8] for one in storage.bucket.list(PREFIX[:-1])} == {"00000002"}


@every_service
def test_one_of_many_gets_it(lease: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten that start at the same moment."""
    monkeypatch.setattr(module, "LIFETIME_S", 30.0)  # nobody may seem dead because the machine is slow
    leases, start = [lease(f"run-{number}") for number in range(10)], Barrier(10)

    def take(one: Lease) -> bool:
        start.wait()
        try:
            one.take()
        except LeaseHeldError:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        took = list(pool.map(take, leases))
    assert took.count(True) == 1
    for one in leases:
        one.release()


@every_service
def test_a_dead_process_of_another_machine_is_waited_for(lease: Callable[..., Lease], storage: Storage) -> None:
    """For the whole lifetime, since it may be slow; the caller is told."""
    told: list[tuple[str, float]] = []
    leave_behind(storage, {"pid": 1, "boot": "another", "namespace": "pid:[1]", "started": "1"})
    start = time.monotonic()
    taken = lease(waiting=lambda holder, seconds: told.append((holder, seconds)))
    taken.take()
    assert time.monotonic() - start >= module.LIFETIME_S
    assert [(holder[-8:], seconds) for holder, seconds in told] == [("run dead", module.LIFETIME_S)]
    taken.release()


@every_service
def test_a_dead_process_of_this_machine_is_known(lease: Callable[..., Lease], storage: Storage) -> None:
    """Its lock is taken at once."""
    code = "from scoreline.pipeline.storage.lease import this_process; import json; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    process = json.loads(done.stdout)
    if process is None:
        pytest.skip("this system has no /proc")
    leave_behind(storage, process)
    start = time.monotonic()
    taken = lease()
    taken.take()
    assert time.monotonic() - start < module.LIFETIME_S
    taken.release()


def test_which_processes_have_ended() -> None:
    """Only one of this machine, whose number is free or belongs to another one now."""
    here = this_process()
    if here is None:
        pytest.skip("this system has no /proc")
    assert not has_ended(here)
    assert has_ended({**here, "started": "1"})
    assert has_ended({**here, "pid": 2**22 + 1})
    assert not has_ended({**here, "boot": "another"})
    assert not has_ended({**here, "namespace": "pid:[1]"})
    assert not any(map(has_ended, (None, {}, "x", {"pid": "1"})))


@every_service
def test_a_holder_that_cannot_renew_it_stops_in_time(
    lease: Callable[..., Lease], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops after half of the lifetime, before another may take over."""
    held = lease()
    held.take()

    def fail(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(Bucket, "write", fail)
    held.check()
    time.sleep(0.65 * module.LIFETIME_S)
    with pytest.raises(LeaseLostError, match="was not renewed for 1 s"):
        held.check()
    held.release()


@every_service
def test_a_holder_whose_clock_stood_still_sees_that_it_was_replaced(
    lease: Callable[..., Lease], storage: Storage
) -> None:
    """By the object of the next epoch."""
    held = lease()
    held.take()
    storage.put(f"{PREFIX}00000002.held", b"{}")
    deadline = time.monotonic() + 10
    while not held._lost and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(LeaseLostError, match="another run has taken over"):
        held.check()
    held.release()
    assert not any(one.key.endswith(".released") for one in storage.bucket.list(PREFIX[:-1]))


@every_service
def test_a_holder_that_was_frozen_does_not_renew_what_it_has_lost(
    lease: Callable[..., Lease], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next beat is late, so it looks whether another has taken over before it sends it."""
    monkeypatch.setattr(module, "BEATS_PER_CHECK", 10**6)
    held, other, thawed = lease("frozen"), lease("other"), Event()

    def freeze(request: Request) -> None:
        if request.path.endswith("00000001.beat") and request.method == "PUT":
            thawed.wait()

    held.take()
    with storage.answering(freeze):
        other.take()
        thawed.set()
        time.sleep(6 * module.BEAT_S)
        with pytest.raises(LeaseLostError, match="another run has taken over"):
            held.check()
    other.check()
    held.release()
    other.release()


@every_service
def test_an_answer_that_is_lost(lease: Callable[..., Lease], storage: Storage) -> None:
    """The object was created, and is recognised by what is in it."""
    lost: list[Request] = []

    def lose_first(request: Request) -> object:
        if request.method == "PUT" and request.path.endswith(".held") and not lost:
            lost.append(request)
            return LOSE
        return None

    held = lease()
    with storage.answering(lose_first):
        held.take()
    assert lost
    held.check()
    held.release()


@every_service
def test_a_creator_that_was_paused(lease: Callable[..., Lease], storage: Storage) -> None:
    """Between its look and its request others have had the lock and removed the epoch that it creates: it looks
    again."""
    paused = lease("paused")
    others: list[Lease] = []

    def meanwhile(request: Request) -> None:
        if request.method == "PUT" and request.path.endswith("00000001.held") and not others:
            for number in range(3):
                others.append(lease(f"run-{number}"))
                others[-1].take()
                if number < 2:
                    others[-1].release()

    with storage.answering(meanwhile), pytest.raises(LeaseHeldError, match="run run-2"):
        paused.take()
    others[-1].check()
    others[-1].release()


@every_service
def test_one_that_was_too_late_does_not_release_it(lease: Callable[..., Lease], storage: Storage) -> None:
    """It tried to create the same epoch."""
    late, first = lease("late"), lease("first")
    seen: list[Request] = []

    def meanwhile(request: Request) -> None:
        if request.method == "PUT" and request.path.endswith("00000001.held"):
            seen.append(request)
            if len(seen) == 1:
                first.take()

    with storage.answering(meanwhile), pytest.raises(LeaseHeldError, match="run first"):
        late.take()
    late.release()
    with pytest.raises(LeaseHeldError, match="run first"):
        lease("another").take()
    first.check()
    first.release()


def test_a_service_that_is_gone_is_not_asked_to_release_it(lease: Callable[..., Lease], storage: Storage) -> None:
    """Once others may take over: requests are tried for two minutes."""
    held = lease()
    held.take()
    with storage.answering(lambda _: RESET):
        time.sleep(0.65 * module.LIFETIME_S)
        with storage.requests() as requests:
            held.release()
    assert not [one for one in requests if one.path.endswith("released")]

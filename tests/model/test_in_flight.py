"""Tensors that a GPU may still be working with are kept until it has finished, and after a failure forever."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
import torch
from scoreline.pipeline.model.in_flight import InFlight, new_event

import fakecuda_clocks

pytestmark = [
    pytest.mark.usefixtures("cuda"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU does not fail on purpose"),
]


class Tensors:
    """What is in place of the tensors of a block: it can be observed, and counts those that are freed."""


@pytest.fixture
def in_flight() -> Iterator[InFlight]:
    yield InFlight()
    gc.collect()


def recorded() -> torch.cuda.Event:
    """An event that has been recorded, and has not passed."""
    event = new_event()
    event.record()
    return event


def test_tensors_are_kept_until_their_event_has_passed(in_flight: InFlight) -> None:
    """At least until the next release, in order."""
    first, second = Tensors(), Tensors()
    alive = [ref(first), ref(second)]
    event, later = recorded(), recorded()
    in_flight.add(event, first)
    in_flight.add(later, [second])
    del first, second
    in_flight.release()
    assert [one() is not None for one in alive] == [True, True]
    event.synchronize()
    assert alive[0]() is not None
    in_flight.release()
    assert [one() is not None for one in alive] == [False, True]
    later.synchronize()
    in_flight.release()
    assert alive[1]() is None


def test_a_failed_call_is_kept_until_its_stream_has_passed(in_flight: InFlight) -> None:
    """By an event of that stream."""
    stream, tensors = fakecuda_clocks.Stream(), Tensors()
    alive = ref(tensors)
    in_flight.add_failed(stream, tensors)
    del tensors
    in_flight.release()
    assert alive() is not None
    stream.synchronize()
    in_flight.release()
    assert alive() is None


def test_the_rest_is_waited_for_at_the_end(in_flight: InFlight) -> None:
    """Before it is freed."""
    event, tensors = recorded(), Tensors()
    alive = ref(tensors)
    kept = InFlight()
    kept.add(event, tensors)
    del tensors
    assert not event.query()
    del kept
    assert event.query()
    assert alive() is None


def broken(event: torch.cuda.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an event raise what a driver raises after a failure."""

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name in ("record", "synchronize", "query"):
        monkeypatch.setattr(event, name, fail)


def test_after_a_failure_tensors_are_kept_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """To free them would end the process."""
    event, tensors = recorded(), Tensors()
    alive = ref(tensors)
    kept = InFlight()
    kept.add(event, tensors)
    broken(event, monkeypatch)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        kept.release()
    del kept, tensors
    gc.collect()
    assert alive() is not None


def test_a_failed_call_on_a_failed_device_is_kept_forever(in_flight: InFlight, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event can be recorded."""

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(fakecuda_clocks.Event, "record", fail)
    tensors = Tensors()
    alive = ref(tensors)
    in_flight.add_failed(fakecuda_clocks.Stream(), tensors)
    del tensors
    in_flight.release()
    gc.collect()
    assert alive() is not None

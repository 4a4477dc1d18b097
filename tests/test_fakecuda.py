"""The emulated GPU finds what a real one would get wrong."""

from collections.abc import Callable, Iterator
from time import perf_counter

import pytest
import torch
from torch import Tensor

import fakecuda
from fakecuda_clocks import problems, reset, waits
from fakecuda_devices import Limits, fail_device
from fakecuda_time import spans, union_s


@pytest.fixture(autouse=True)
def emulated() -> Iterator[None]:
    """The emulation, without the check at the end of a test."""
    with fakecuda.installed():
        yield
    reset()


def test_a_read_without_waiting_is_found() -> None:
    """Another stream must wait for an event behind the write."""
    writer, reader = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(writer):
        value = torch.ones(3, device="cuda") * 2
        written = torch.cuda.Event()
        written.record()
    with torch.cuda.stream(reader):
        value + 1
        assert len(problems) == 1
        assert "may not have written yet" in problems.pop()
        reader.wait_event(written)
        value + 1
    assert problems == []
    torch.cuda.synchronize()


def test_memory_that_another_stream_uses_is_not_freed() -> None:
    """Unless the host has waited for that stream."""
    stream = torch.cuda.Stream()
    for waited in (False, True):
        value = torch.ones(3, device="cuda")
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            value + 1
        if waited:
            stream.synchronize()
        del value
        assert len(problems) == (not waited)
        problems.clear()


def test_copies_to_the_host_arrive_when_they_are_waited_for() -> None:
    """Until then they hold poison."""
    host = torch.empty(3, pin_memory=True)
    host.copy_(torch.ones(3, device="cuda"), non_blocking=True)
    assert host.isnan().all()
    torch.cuda.synchronize()
    assert host.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda x: x[x > 0], True),
        (lambda x: x[torch.tensor([0, 1])], True),
        (lambda x: x[[0, 1]], True),
        (lambda x: x.sum().item(), True),
        (lambda x: int(x[0]), True),
        (lambda x: x.tolist(), True),
        (lambda x: x.cpu(), True),
        (lambda x: x.nonzero(), True),
        (lambda x: torch.unique(x), True),
        (lambda x: torch.repeat_interleave(x, x.long()), True),
        (lambda _: torch.tensor([1, 2], device="cuda"), True),
        (lambda _: torch.ones(3).to("cuda", non_blocking=True), True),
        (lambda x: torch.repeat_interleave(x, x.long(), output_size=3), False),
        (lambda x: x[torch.arange(2, device="cuda")], False),
        (lambda x: torch.where(x > 0, x, 0), False),
        (lambda x: x[1:].argsort().cumsum(0), False),
        (lambda _: torch.ones(3).pin_memory().to("cuda", non_blocking=True), False),
    ],
)
def test_waits_are_counted(operation: Callable[[Tensor], object], expected: bool) -> None:
    """For values that the host reads, for sizes that depend on values, and for copies of memory that is not pinned."""
    given = torch.ones(3, device="cuda")
    waits.clear()
    operation(given)
    assert (waits.total() > 0) == expected


def test_devices_do_not_mix() -> None:
    """Nor do tensors of the device become arrays."""
    there = torch.ones(3, device="cuda")
    assert there.is_cuda
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert there.to("cpu").numpy().tolist() == [1, 1, 1]


class TestSeveralDevices:
    """Each has streams, events, memory and failures of its own."""

    def test_their_tensors_do_not_mix(self) -> None:
        """They are copied from one to the other; without a number, it is the current device."""
        first, second = torch.ones(2, device="cuda"), torch.ones(2, device="cuda:1")
        assert (first.device, second.device, second.get_device()) == (
            torch.device("cuda", 0),
            torch.device("cuda", 1),
            1,
        )
        with pytest.raises(RuntimeError, match=r"same device, but found cuda:0 and cuda:1: add|__add__"):
            first + second
        assert (first.to("cuda:1") + second).device.index == (second + 1).device.index == 1
        with torch.cuda.device(1):
            assert torch.ones(2).to("cuda").device.index == torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            torch.ones(2, device="cuda:2")

    def test_a_stream_makes_its_device_the_current_one(self) -> None:
        """Kernels run on the current stream of the device of their tensors, whichever device is current."""
        stream, value = torch.cuda.Stream("cuda:1"), torch.ones(2, device="cuda:1")
        torch.cuda.synchronize(1)
        with torch.cuda.stream(stream):
            assert (torch.cuda.current_device(), torch.cuda.current_stream()) == (1, stream)
            made = value * 2
        assert torch.cuda.current_stream(1) is not stream
        made + 1
        assert "may not have written yet" in problems.pop()

    def test_an_event_belongs_to_a_device(self) -> None:
        """It is recorded on the current device's stream unless one is named, and waiting for one device is not waiting
        for the other."""
        stream, event = torch.cuda.Stream("cuda:1"), torch.cuda.Event(enable_timing=True)
        event.record(stream)
        with pytest.raises(RuntimeError, match="does not match"):
            event.record()
        torch.cuda.synchronize(0)
        assert not event.query()
        torch.cuda.synchronize(1)
        assert event.query()

    def test_one_fails_alone(self) -> None:
        """Calls that concern the other succeed."""
        first, second = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:1")
        Limits.fail = lambda name, _: fail_device("assert") if name in ("mul", "__mul__") else None
        with pytest.raises(RuntimeError, match="CUDA error: assert"):
            second * 2
        Limits.fail = None
        with pytest.raises(RuntimeError, match="CUDA error: assert"):
            torch.cuda.synchronize(1)
        first + 1
        torch.cuda.synchronize(0)

    def test_memory_is_counted(self) -> None:
        """By device, with its peak; too much of it is refused."""
        more = torch.ones(torch.cuda.memory_allocated(0) // 4 + 1000, device="cuda:1")  # than is left on the other
        before = torch.cuda.memory_allocated(1)
        torch.cuda.reset_peak_memory_stats(1)
        value = torch.ones(1000, device="cuda:1")
        value + 1
        assert torch.cuda.memory_allocated(1) == before + 4000
        assert torch.cuda.max_memory_allocated(1) == before + 8000
        assert torch.cuda.mem_get_info(1)[0] == Limits.memory - before - 4000
        Limits.memory = before + 7999
        with pytest.raises(torch.OutOfMemoryError):
            value + 1
        torch.ones(1000, device="cuda:0")
        del more


class TestTime:
    """With `Limits.kernel_s` and `Limits.copy_s`, the device works while the host goes on."""

    def test_a_stream_is_in_order_and_engines_work_at_once(self) -> None:
        """Events have the times of the device, and waiting for one takes until then."""
        Limits.kernel_s, Limits.copy_s = 0.02, 0.03
        host, streams, ends = torch.ones(4).pin_memory(), [torch.cuda.Stream() for _ in range(2)], []
        begin = torch.cuda.Event(enable_timing=True)
        begin.record(streams[0])
        for stream in streams:
            with torch.cuda.stream(stream):
                made = host.to("cuda", non_blocking=True) * 2
                ends.append(torch.cuda.Event(enable_timing=True))
                ends[-1].record()
        for end in ends:
            end.synchronize()
        assert perf_counter() >= spans[3].end
        assert [(span.stream, span.engine) for span in spans] == [
            (stream.id, engine) for stream in streams for engine in ("in", "compute")
        ]
        assert spans[2].start < spans[1].end <= spans[2].end <= spans[3].start
        ended = [spans[1].end, spans[3].end]
        assert [begin.elapsed_time(end) for end in ends] == pytest.approx([(end - begin.at) * 1000 for end in ended])
        assert 0.05 <= union_s(0) < sum(span.end - span.start for span in spans) == pytest.approx(0.1)
        del made

    def test_nothing_takes_time_by_default(self) -> None:
        """Not even in the records."""
        (torch.ones(4, device="cuda") * 2).cpu()
        assert spans == []

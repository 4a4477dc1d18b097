"""The emulated GPU finds what a real one would get wrong."""

from collections.abc import Iterator

import pytest
import torch

import fakecuda
from fakecuda_clocks import problems, reset


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
    for waits in (False, True):
        value = torch.ones(3, device="cuda")
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            value + 1
        if waits:
            stream.synchronize()
        del value
        assert len(problems) == (not waits)
        problems.clear()


def test_copies_to_the_host_arrive_when_they_are_waited_for() -> None:
    """Until then they hold poison."""
    host = torch.empty(3, pin_memory=True)
    host.copy_(torch.ones(3, device="cuda"), non_blocking=True)
    assert host.isnan().all()
    torch.cuda.synchronize()
    assert host.tolist() == [1, 1, 1]


def test_devices_do_not_mix() -> None:
    """Nor do tensors of the device become arrays."""
    there = torch.ones(3, device="cuda")
    assert there.is_cuda
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert there.to("cpu").numpy().tolist() == [1, 1, 1]

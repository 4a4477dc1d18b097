"""The clock of a GPU, on an emulated one, beside a host whose time passes only where a test says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scoreline.pipeline.graph import interpreter
from scoreline.pipeline.model.cuda import Cuda
from scoreline.pipeline.model.event_clock import EVERY, NEAR_MS, EventClock, Gaps, Timeline
from scoreline.pipeline.model.in_flight import new_event

import fakecuda_time
from both_devices import small_bundle
from fakecuda_devices import Limits
from fakecuda_time import spans, union_s
from scoreline import Scorer

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU takes the time it takes")
KERNEL_S, LAUNCH_S = 0.02, 0.06


class Host:
    """The clock of the host."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def host(cuda: None, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host for which nothing takes any time."""
    found = Host()
    monkeypatch.setattr(fakecuda_time, "perf_counter", lambda: found.now)
    monkeypatch.setattr(fakecuda_time, "sleep", found.sleep)
    return found


@pytest.fixture
def busy_device(host: Host) -> Iterator[None]:
    """Kernels and copies take 20 ms on the device."""
    Limits.kernel_s = Limits.copy_s = KERNEL_S
    yield
    Limits.kernel_s = Limits.copy_s = 0.0


def test_the_forward_pass_is_measured_without_launch_gaps(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host takes three times as long to prepare a node as the device to compute it: in passes that are measured
    node by node, and in the others."""
    scorer = Scorer.load(small_bundle(tmp_path), device="cuda:1", batch_rows=500)
    (loaded,), resolved = scorer.loaded.on_lanes(1), interpreter.resolved
    inputs = {scorer.manifest.inputs[0].name: torch.zeros(500, 6)}

    def slowly(*given: Any) -> Any:
        host.sleep(LAUNCH_S)
        return resolved(*given)

    monkeypatch.setattr(interpreter, "resolved", slowly)
    monkeypatch.setattr(Limits, "kernel_s", KERNEL_S)
    monkeypatch.setattr(Limits, "copy_s", KERNEL_S)
    for _ in range(3):
        spans.clear()
        before, start = loaded.device.busy_s, host.now
        measured = loaded.run(loaded.device.send(inputs)).device_s
        computed = [span for span in spans if span.engine == "compute"]
        assert measured["forward"] == pytest.approx(KERNEL_S * len(computed))
        assert measured["transfer"] == pytest.approx(KERNEL_S)
        assert before is not None
        assert loaded.device.busy_s == pytest.approx(before + union_s(1))
        assert host.now - start > 2 * union_s(1)


@pytest.mark.usefixtures("busy_device")
def test_streams_that_are_busy_at_once_count_once(host: Host) -> None:
    """Copies of one, beside a kernel and copies of the other; on both devices."""
    for index in range(2):
        first = Cuda(torch.device("cuda", index))
        lanes = [first, first.lane()]
        sent = [lane.send({"x": torch.ones(4).pin_memory()}) for lane in lanes]
        for lane, one in zip(lanes, sent, strict=True):
            lane.work(one, lambda inputs: {"y": inputs["x"] * 2})
        total = sum(span.end - span.start for span in spans if span.device == index)
        assert first.busy_s == lanes[1].busy_s == pytest.approx(union_s(index))
        assert first.busy_s < total
        host.sleep(1)
        assert first.busy_s == pytest.approx(union_s(index))


def test_long_runs_are_measured_as_exactly(host: Host) -> None:
    """The origin of the times follows, since torch has them as float32 milliseconds."""
    stream = torch.cuda.Stream("cuda:0")

    def event(moment: float) -> torch.cuda.Event:
        host.now = moment
        found = new_event()
        found.record(stream)
        found.synchronize()
        return found

    timeline, origin = Timeline(event(0.0)), []
    for hour in range(1, 4):
        start, end = event(hour * 3600.0), event(hour * 3600.0 + 0.001)
        assert timeline.add(start, end) == pytest.approx(0.001)
        origin.append(timeline._origin)
        early = event(hour * 3600.0 + 0.0005)  # of another stream, and collected later
        timeline.add(early, end)
    assert len(set(map(id, origin))) == 3
    assert NEAR_MS < 3_600_000
    assert timeline.busy_s == pytest.approx(0.003)


def test_one_pass_of_a_lane_in_so_many_is_measured_node_by_node() -> None:
    """The first, so that there is a share for the others."""
    gaps = Gaps()
    assert gaps.share == 1
    due = [gaps.is_due() for _ in range(2 * EVERY + 1)]
    assert [number for number, one in enumerate(due) if one] == [0, EVERY, 2 * EVERY]
    gaps.add(0.25, 1.0)
    gaps.add(0.75, 1.0)
    assert gaps.share == 0.5
    gaps.add(9.0, 1.0)
    assert gaps.share == 1


@pytest.mark.usefixtures("busy_device")
def test_models_that_are_no_graphs_are_measured_as_a_whole(host: Host) -> None:
    """Nothing is known about their gaps, and a pass that fails is not measured."""
    origin = new_event()
    origin.record()
    clock = EventClock(Timeline(origin), gaps := Gaps())
    value = torch.ones(2, device="cuda")
    with clock.measure("forward", nodes=True):
        value * 2
        host.sleep(1)
        value * 3
    with pytest.raises(ValueError, match="broken"), clock.measure("forward", nodes=True):
        raise ValueError("broken")
    torch.cuda.synchronize()
    clock.collect()
    assert clock.seconds == {"forward": pytest.approx(1 + KERNEL_S)}
    assert gaps.share == 1

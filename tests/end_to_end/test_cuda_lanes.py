"""Blocks in flight on a GPU: each on a stream of its own, as many as the device has memory for. On an emulated GPU."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import Any

import pytest
import torch
from scoreline.pipeline.model.cuda import Cuda
from scoreline.pipeline.scoring.scorer import Scorer

import fakecuda
import fakecuda_devices
from both_devices import explaining, network, rows, save, small_bundle
from conftest import Result
from fakecuda_time import Span, spans, union_s

pytestmark = [
    pytest.mark.usefixtures("cuda"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the streams of a real GPU are not recorded"),
]
Words = list[object]
BLOCK_ROWS = 1000


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """`scoreline score` of four files in blocks of 1000 rows, on one GPU beside one core."""
    monkeypatch.setattr(fakecuda.Limits, "devices", 1)
    bundle = small_bundle(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(4):
        rows(6000, number).to_parquet(tmp_path / "in" / f"{number}.parquet", index=False)
    words = ["score", "--bundle", bundle, "--input", tmp_path / "in", "--output", tmp_path / "out"]
    return [*words, "--device", "cuda", "--batch-size", str(BLOCK_ROWS)]


def overlap(left: Span, right: Span) -> bool:
    """Whether something was done at the same time, on two streams."""
    return left.stream != right.stream and left.start < right.end and right.start < left.end


def test_copies_overlap_with_the_forward_passes_of_other_blocks(
    words: Words, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """Copies in and out, by the clock of the device; the blocks of a stream follow one another."""
    monkeypatch.setattr(fakecuda.Limits, "kernel_s", 0.002)
    monkeypatch.setattr(fakecuda.Limits, "copy_s", 0.004)
    assert scoreline(*words).code == 0
    computing = [span for span in spans if span.engine == "compute"]
    for engine in ("in", "out"):
        copies = [span for span in spans if span.engine == engine]
        assert any(overlap(copy, kernel) for copy in copies for kernel in computing), engine
    for stream in {span.stream for span in spans}:
        own = [span for span in spans if span.stream == stream]
        assert all(before.end <= after.start for before, after in pairwise(own))


class _Scoring:
    """Counts the blocks that are scored at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: Counter[int] = Counter()
        self.now = self.most = 0
        real = Cuda.work

        def work(device: Cuda, *given: Any, **more: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            self.streams[device._stream.id] += 1
            try:
                return real(device, *given, **more)
            finally:
                self.now -= 1

        monkeypatch.setattr(Cuda, "work", work)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_no_more_blocks_than_the_memory_holds(
    words: Words, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], blocks: int
) -> None:
    """Nothing runs out of memory, and no block is halved."""
    scorer = Scorer.load(words[2], device="cuda", batch_rows=BLOCK_ROWS)  # type: ignore[arg-type]
    scorer.add_devices("cuda")
    block_bytes = scorer.loaded.block_bytes
    weights = torch.cuda.memory_allocated()
    del scorer
    before = torch.cuda.memory_allocated()
    limit = weights + int(block_bytes * (blocks + 0.5) / 0.8)
    monkeypatch.setattr(fakecuda.Limits, "memory", limit)
    monkeypatch.setattr(fakecuda.Limits, "kernel_s", 0.002)
    torch.cuda.reset_peak_memory_stats()
    scoring = _Scoring(monkeypatch)
    done = scoreline(*words)
    assert done.code == 0, done.err
    assert not [event for event in done.events if event["event"] == "out_of_memory"]
    assert scoring.most == blocks
    assert before < torch.cuda.max_memory_allocated() <= limit
    assert len(scoring.streams) == blocks + 1  # one for the golden rows


def test_each_flow_has_a_stream_where_there_is_memory(
    words: Words, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """As many as there are flows: cores, and what the device has in hand."""
    monkeypatch.setattr("scoreline.pipeline.cores.os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(fakecuda.Limits, "kernel_s", 0.003)
    scoring = _Scoring(monkeypatch)
    assert scoreline(*words).code == 0
    assert 3 < scoring.most <= 5


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("size", [1000, 4000])
def test_the_bytes_of_a_block(tmp_path: Path, size: int, hidden: bool) -> None:
    """Between what its tensors take and half as much again, as measured while one is scored."""
    bundle = save(tmp_path / "b", network(40), labels=[f"l{n}" for n in range(40)])
    scorer = Scorer.load(bundle, device="cuda:1", batch_rows=size, hidden=["0"] if hidden else [])
    scorer.add_devices("cuda:1")
    device = scorer.loaded.device
    inputs = {scorer.manifest.inputs[0].name: torch.zeros(size, 6)}

    def two_blocks() -> None:
        for _ in range(2):
            sent = device.send(inputs)
            scorer.loaded.run(sent)
            if scorer.loaded.hidden is not None:
                device.work(sent, scorer.loaded.hidden.run)

    taken = device.peak_bytes(two_blocks)
    assert taken <= scorer.loaded.block_bytes <= 1.5 * taken


def test_explanations_take_more(tmp_path: Path) -> None:
    """Their gradients are kept: fewer blocks fit."""
    bundle, sizes = small_bundle(tmp_path), []
    for columns in ({}, explaining("integrated-gradients"), explaining("shapley")):
        scorer = Scorer.load(bundle, device="cuda", **columns)
        scorer.add_devices("cuda")
        sizes.append(scorer.loaded.block_bytes)
    assert sizes[1] > 1.3 * sizes[0]
    assert sizes[2] >= sizes[0]


def test_a_cpu_measures_nothing(tmp_path: Path) -> None:
    """Its memory is limited elsewhere."""
    scorer = Scorer.load(small_bundle(tmp_path), device="cpu")
    scorer.add_devices("cpu")
    assert scorer.loaded.block_bytes == 0
    (lane,) = scorer.loaded.on_lanes(1)
    assert lane.device is scorer.loaded.device


def test_lanes_are_kept_for_the_next_work(tmp_path: Path) -> None:
    """A worker scores one piece after the other: neither streams nor memory of the device become more."""
    scorer = Scorer.load(small_bundle(tmp_path), device="cuda")
    device, taken, lanes = scorer.loaded.device, [], set()
    for number in (3, 1, 2, 3):
        device.room(1)  # what the last blocks took can be used again
        taken.append(fakecuda_devices.memory_allocated(0))
        for loaded in scorer.loaded.on_lanes(number):
            lanes.add(id(loaded))
            loaded.device.work(loaded.device.send({"x": torch.ones(1000)}), lambda inputs: {"y": inputs["x"] * 2})
    assert len(lanes) == 3
    assert taken == taken[:1] * 4


def test_tensors_of_the_last_block_are_kept() -> None:
    """Until the next one on the same lane: those of other lanes do not matter."""
    first = Cuda(torch.device("cuda:0"))
    second = first.lane()
    for _ in range(3):
        sent = first.send({"x": torch.ones(1000)})
        first.work(sent, lambda inputs: {"y": inputs["x"]})
        del sent
        before = fakecuda_devices.memory_allocated(0)
        for _ in range(5):
            second.work(second.send({"x": torch.ones(4)}), lambda inputs: {"y": inputs["x"]})
        assert abs(fakecuda_devices.memory_allocated(0) - before) < 100
    assert before >= 4000


def test_the_table_shows_how_long_the_device_was_busy(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """As run.json does: at most the whole time, although several streams were busy at once."""
    monkeypatch.setattr(fakecuda.Limits, "kernel_s", 0.01)
    monkeypatch.setattr(fakecuda.Limits, "copy_s", 0.01)
    done = scoreline(*words, "--log-format", "text")
    assert done.code == 0
    recorded = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    (device,) = recorded["devices"]
    assert 0.5 * union_s(0) < device["busy_s"] < recorded["wall_s"]
    assert device["busy_share"] == pytest.approx(device["busy_s"] / recorded["wall_s"])
    (row,) = [line.split() for line in done.out.splitlines() if line.startswith("device busy")]
    assert row[:3] == ["device", "busy", f"{device['busy_s']:.3f}"]
    assert 0 < int(row[3].rstrip("%")) <= round(100 * device["busy_share"])  # the table was made a little later


@pytest.mark.parametrize(("waits", "most"), [(False, 1), (True, 3)])
def test_one_thread_launches_at_a_time(waits: bool, most: int) -> None:
    """Threads that launch take the GIL from one another at every kernel; those of models that wait for the device take
    turns anyway."""
    first = Cuda(torch.device("cuda", 0))
    now, largest = [0], [0]
    together = Barrier(3, timeout=20)

    def compute(inputs: Any) -> Any:
        now[0] += 1
        largest[0] = max(largest[0], now[0])
        if waits:
            together.wait()
        sleep(0.01)
        now[0] -= 1
        return inputs

    def work(lane: Any) -> torch.Tensor:
        return lane.work(lane.send({"x": torch.ones(4, 2)}), compute, waits=waits).tensors["x"]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, [first, first.lane(), first.lane()]))
    assert [one.sum().item() for one in found] == [8.0] * 3
    assert largest == [most]

"""What the machine can do: copies, arithmetic, memory, decoding; and what small things cost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq
import torch
from by_hand import decoded, ready, text_batches
from settings import CORES, CUDA, DEVICE, FULL, ROWS
from workloads import network


def timed(work: Callable[[], object], seconds: float = 1.0, warm: int = 3) -> float:
    """Seconds of one call, by events on a GPU; the median of many."""

    for _ in range(warm):
        work()
    if not CUDA:
        start, n = perf_counter(), 0
        while perf_counter() - start < min(seconds, 0.3) or n == 0:
            work()
            n += 1
        return (perf_counter() - start) / n
    torch.cuda.synchronize()
    taken, begun = [], perf_counter()
    while perf_counter() - begun < seconds and len(taken) < 200:
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        work()
        b.record()
        b.synchronize()
        taken.append(a.elapsed_time(b) / 1000)
    return sorted(taken)[len(taken) // 2]


def reading_s(work: str, folder: Path) -> float:
    """Seconds in which all cores only read the input, with one thread for each file, and decode its images."""

    def one(path: Path) -> None:
        for batch in pq.ParquetFile(path).iter_batches(
            batch_size=64 if work == "images" else 1 << 17, use_threads=False
        ):
            if work == "images":
                for value in batch.column("photo"):
                    decoded(value.as_py())

    files = sorted((folder / "in").iterdir())
    with ThreadPoolExecutor(min(CORES, len(files))) as pool:
        start = perf_counter()
        list(pool.map(one, files))
        return perf_counter() - start


def _decode_file(path: str) -> None:
    """Read and decode the images of a file."""

    for batch in pq.ParquetFile(path).iter_batches(batch_size=64, use_threads=False):
        for value in batch.column("photo"):
            decoded(value.as_py())


def decoding_by_processes_s(folder: Path) -> float:
    """Seconds in which processes read and decode the images."""

    files = [str(path) for path in sorted((folder / "in").iterdir())]
    with get_context("forkserver").Pool(min(CORES, len(files))) as pool:
        pool.map(abs, range(64))
        start = perf_counter()
        pool.map(_decode_file, files, chunksize=1)
        return perf_counter() - start


def arithmetic_s(work: str, folder: Path, how: str) -> float:
    """Seconds of all forward passes alone, with inputs on the device. `how`: fp32, tf32, bf16."""

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = how == "tf32"
    half = how.startswith("bf16")
    net = ready(work, folder, half)
    kind = torch.bfloat16 if half else torch.float32
    with torch.inference_mode():
        if work in ("tabular", "deep"):
            rows = (1 << 17 if work == "tabular" else 1 << 15) if FULL else 512
            x = torch.randn(rows, 30 if work == "tabular" else 64, device=DEVICE, dtype=kind)
            return timed(lambda: torch.softmax(net(x).float(), 1), 0.6) / rows * ROWS[work]
        if work == "images":
            rows = 256 if FULL else 8
            x = torch.randn(rows, 3, 224, 224, device=DEVICE, dtype=kind)
            x = x.to(memory_format=torch.channels_last) if half else x
            return timed(lambda: net(x), 1.0) / rows * ROWS[work]
        _, batches = text_batches(sorted((folder / "in").iterdir())[0], 1 << 16 if FULL else 2048)
        batches = batches[:: max(1, len(batches) // 12)]
        moved = [(torch.from_numpy(t).to(DEVICE), torch.from_numpy(m).to(DEVICE)) for _, t, m in batches]
        rows = sum(len(t) for t, _ in moved)

        def once() -> None:
            for tokens, padding in moved:
                net(tokens, padding)

        return timed(once, 1.0, warm=1) / rows * ROWS[work]


def copies() -> dict[str, float]:
    """Bytes copied between the host and a GPU."""
    size = 256 << 20 if FULL else 4 << 20
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    device, pageable = torch.empty(size, dtype=torch.uint8, device=DEVICE), torch.empty(size, dtype=torch.uint8)
    return {
        "h2d_pinned_gb_s": size / timed(lambda: device.copy_(pinned, non_blocking=True), 0.4) / 1e9,
        "d2h_pinned_gb_s": size / timed(lambda: pinned.copy_(device, non_blocking=True), 0.4) / 1e9,
        "h2d_pageable_gb_s": size / timed(lambda: device.copy_(pageable), 0.4) / 1e9,
    }


def products() -> dict[str, float]:
    """Operations of large matrix products."""
    n = 8192 if FULL else 256
    found, a = {}, torch.randn(n, n, device=DEVICE)
    for how in ("fp32", "tf32") if CUDA else ("fp32",):
        torch.backends.cuda.matmul.allow_tf32 = how == "tf32"
        found[f"matmul_{how}_tflops"] = 2 * n**3 / timed(lambda: a @ a, 0.6) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    b = a.bfloat16()
    return found | {"matmul_bf16_tflops": 2 * n**3 / timed(lambda: b @ b, 0.6) / 1e12}


def memory() -> dict[str, float]:
    """Bytes copied within the device."""
    big = torch.empty((1 << 30 if FULL else 1 << 20) // 4, device=DEVICE)
    other = torch.empty_like(big)
    return {"device_copy_gb_s": 2 * big.nbytes / timed(lambda: other.copy_(big), 0.4) / 1e9}


def small_model() -> dict[str, float]:
    """The forward pass of a small model, which may be bound by its launches."""
    found, net = {}, network("tabular").to(DEVICE)
    with torch.inference_mode():
        for rows in (4096, 1 << 17) if FULL else (64,):
            given = torch.randn(30, rows, device=DEVICE).T
            found[f"small_mlp_us_{rows}"] = timed(lambda given=given: net(given), 0.3) * 1e6
    return found


def limits() -> dict[str, Any]:
    """All of them; the reason where one fails."""
    found: dict[str, Any] = {}
    for one in (*((copies,) if CUDA else ()), products, memory, small_model):
        try:
            found |= {name: round(value, 3) for name, value in one().items()}
        except Exception as error:  # the others are still of use
            found[f"{one.__name__}_failed"] = str(error)[:300]
    return found

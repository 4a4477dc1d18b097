"""The workloads scored by loops written by hand, as fast as we know how to write them: a thread and a stream for each
file, scaling and the softmax on the device, a writer for each file."""

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from settings import CORES, CUDA, DEVICE, FILES, FULL, LABELS, MEAN, ROWS, STD
from torch import Tensor, nn
from workloads import network

One = Callable[[Path], None]


class Lane:
    """A stream of one thread, and its pinned buffers."""

    def __init__(self) -> None:
        import torch

        self.stream = torch.cuda.Stream() if CUDA else None
        self.buffers: dict[str, Tensor] = {}

    def on(self) -> AbstractContextManager[Any]:
        """Use its stream."""
        return torch.cuda.stream(self.stream) if CUDA else nullcontext()

    def pinned(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A contiguous buffer, which grows as needed."""
        size = int(np.prod(shape))
        before = self.buffers.get(name)
        if before is None or before.numel() < size:
            before = self.buffers[name] = torch.empty(max(1, size), dtype=dtype, pin_memory=CUDA)
        return before[:size].view(shape)

    def back(self, name: str, tensor: Tensor) -> Tensor:
        """Start copying to the host."""
        tensor = tensor.contiguous()
        host = self.pinned(name, tuple(tensor.shape), tensor.dtype)
        host.copy_(tensor, non_blocking=CUDA)
        return host

    def wait(self) -> None:
        """Wait for its stream."""
        if self.stream is not None:
            self.stream.synchronize()


def ready(work: str, folder: Path, half: bool) -> nn.Module:
    """The model on its device."""

    net = network(work)
    net.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    net = net.to(DEVICE)
    if half:
        net = net.to(torch.bfloat16)
        if work == "images":
            net = net.to(memory_format=torch.channels_last)
    return net


def write(writer: Any, path: Path, ids: Any, probabilities: np.ndarray, index: np.ndarray) -> Any:
    """Write rows as scoreline does."""

    columns = {"row_id": ids, "prediction": pa.array(LABELS).take(pa.array(index))}
    columns |= {f"probability_{label}": pa.array(probabilities[n]) for n, label in enumerate(LABELS)}
    table = pa.table(columns)
    if writer is None:
        writer = pq.ParquetWriter(
            str(path), table.schema, use_dictionary=["prediction"], write_statistics=["row_id", "prediction"],
            write_page_checksum=True, compression="snappy",
        )  # fmt: skip
    writer.write_table(table, 1 << 17)
    return writer


def by_hand(work: str, folder: Path, half: bool = False) -> dict:
    """Score a workload. Returns the seconds, without the first file, which is scored once before."""

    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    out = folder / "hand"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    net = ready(work, folder, half)
    if work in ("tabular", "deep"):
        one = table_file(net, folder, out, half)
    else:
        one = photo_file(net, out, half=half) if work == "images" else text_file(net, out)
    files = sorted((folder / "in").iterdir())
    with ThreadPoolExecutor(min(CORES, len(files))) as pool:
        one(files[0])  # warms up
        start = perf_counter()
        list(pool.map(one, files))
        seconds = perf_counter() - start
    return {"seconds": round(seconds, 4), "rows_per_s": round(ROWS[work] // FILES * FILES / seconds)}


def table_file(net: nn.Module, folder: Path, out: Path, half: bool) -> One:
    """A function that scores one file of numbers."""

    with np.load(folder / "scaler.npz") as given:
        mean, scale = (torch.from_numpy(given[name]).to(DEVICE)[:, None] for name in ("mean", "scale"))
    names, rows = [f"f{n}" for n in range(len(mean))], 1 << 17

    def one(path: Path) -> None:
        lane, writer = Lane(), None
        for batch in pq.ParquetFile(path).iter_batches(batch_size=rows, use_threads=False):
            host = lane.pinned("in", (len(names), batch.num_rows), torch.float64)
            filled = host.numpy()
            for index, name in enumerate(names):
                filled[index] = batch.column(name).to_numpy()
            if not np.isfinite(filled).all():
                raise ValueError("a row that cannot be scored")
            with lane.on(), torch.inference_mode():
                x = ((host.to(DEVICE, non_blocking=CUDA) - mean) / scale).float().T
                p = torch.softmax(net(x.bfloat16() if half else x).float(), dim=1)
                probabilities, classes = lane.back("p", p.T), lane.back("l", p.argmax(dim=1))
            lane.wait()
            writer = write(writer, out / path.name, batch.column("row_id"), probabilities.numpy(), classes.numpy())
        writer.close()

    return one


def decoded(data: bytes) -> np.ndarray:
    """A photo, uint8 `[224, 224, 3]`, decoded as scoreline does."""

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def photo_file(net: nn.Module, out: Path, *, half: bool) -> One:
    """A function that scores one file of photos."""

    mean, std = (torch.tensor(given, device=DEVICE).view(1, 3, 1, 1) for given in (MEAN, STD))
    at_once = 64

    def one(path: Path) -> None:
        lane, writer = Lane(), None
        for batch in pq.ParquetFile(path).iter_batches(batch_size=at_once, use_threads=False):
            host = lane.pinned("in", (batch.num_rows, 224, 224, 3), torch.uint8)
            filled = host.numpy()
            for index, value in enumerate(batch.column("photo")):
                filled[index] = decoded(value.as_py())
            with lane.on(), torch.inference_mode():
                x = host.to(DEVICE, non_blocking=CUDA).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
                x = x.bfloat16() if half else x.contiguous()
                p = torch.softmax(net(x).float(), dim=1)
                probabilities, classes = lane.back("p", p.T), lane.back("l", p.argmax(dim=1))
            lane.wait()
            ids = pa.array(batch.column("row_id").to_numpy().copy())
            writer = write(writer, out / path.name, ids, probabilities.numpy(), classes.numpy())
        writer.close()

    return one


def text_batches(path: Path, steps: int) -> tuple[Any, list[Any]]:
    """The ids of a file, and batches of rows of about the same length, of at most `steps` steps each: indices,
    tokens, padding."""

    table = pq.read_table(path, use_threads=False).combine_chunks()
    lists = table["text"].chunk(0)
    offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= steps:
            stop += 1
        rows = order[start:stop]
        width = lengths[rows[-1]]
        spread = np.arange(width)[None, :]
        real = spread < lengths[rows][:, None]
        at = np.where(real, offsets[rows][:, None] + spread, 0)
        batches.append((rows, np.where(real, values[at], 0), ~real))
        start = stop
    return table["row_id"], batches


def text_file(net: nn.Module, out: Path) -> One:
    """A function that scores one file of texts."""

    steps = 1 << 16 if FULL else 2048

    def one(path: Path) -> None:
        lane = Lane()
        ids, batches = text_batches(path, steps)
        probabilities, classes = np.empty((len(LABELS), len(ids)), np.float32), np.empty(len(ids), np.int64)
        for rows, tokens, padding in batches:
            host, hidden = lane.pinned("t", tokens.shape, torch.int64), lane.pinned("m", padding.shape, torch.bool)
            host.numpy()[:], hidden.numpy()[:] = tokens, padding
            with lane.on(), torch.inference_mode():
                raw = net(host.to(DEVICE, non_blocking=CUDA), hidden.to(DEVICE, non_blocking=CUDA))
                p = torch.softmax(raw.float(), dim=1)
                a, b = lane.back("p", p.T), lane.back("l", p.argmax(dim=1))
            lane.wait()
            probabilities[:, rows], classes[rows] = a.numpy(), b.numpy()
        write(None, out / path.name, ids.chunk(0), probabilities, classes).close()

    return one
